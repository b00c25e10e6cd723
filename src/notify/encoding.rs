//! Base64, as RFC 4648 section 4 has it: signatures are written and secrets are read in it.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Writes padding; reads texts with and without it, as secrets are copied.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The text of these bytes, padded.
pub(super) fn to_base64(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

/// The bytes of a text; none if it is no base64.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_rfc_4648() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(to_base64(plain.as_bytes()), text);
            assert_eq!(from_base64(text).unwrap(), plain.as_bytes());
            assert_eq!(from_base64(text.trim_end_matches('=')).unwrap(), plain.as_bytes());
        }
        assert_eq!(from_base64("a"), None);
        assert_eq!(from_base64("a b="), None);
    }
}
