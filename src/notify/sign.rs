//! Signatures of the Standard Webhooks specification 1.0.0, symmetric: `v1,` and the base64 of HMAC-SHA256
//! over `id.timestamp.body`.

use super::encoding::{from_base64, to_base64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What secrets begin with.
const PREFIX: &str = "whsec_";

/// The key behind a secret such as `whsec_...`; the error says what is wrong with it.
pub(super) fn key_of(secret: &str) -> Result<Vec<u8>, String> {
    let Some(text) = secret.trim().strip_prefix(PREFIX) else {
        return Err(format!("a secret begins with {PREFIX}"));
    };
    let key = from_base64(text).ok_or_else(|| format!("behind {PREFIX} stands base64"))?;
    if (24..=64).contains(&key.len()) {
        Ok(key)
    } else {
        Err(format!("a secret has 24 to 64 bytes, this one has {}", key.len()))
    }
}

/// The value of the `webhook-signature` header. `at` is seconds since 1970, as in `webhook-timestamp`.
pub fn signature(key: &[u8], id: &str, at: i64, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    format!("v1,{}", to_base64(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_specification_s_libraries() {
        let key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_that_are_none() {
        for bad in ["", "secret", "whsec_", "whsec_!!!!", "whsec_Zm9v"] {
            assert!(key_of(bad).is_err(), "{bad}");
        }
    }
}
