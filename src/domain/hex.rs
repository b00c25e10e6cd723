//! Bytes as hexadecimal digits, for everything that shows or reads them.

/// Bytes as lower-case digits, two a byte.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The bytes of digits of either case; none if the text is not two digits a byte.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| byte(*high, *low)).collect())?
}

/// The byte of two digits.
pub fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_go_both_ways(bytes: Vec<u8>) {
            let text = hex(&bytes);
            prop_assert_eq!(unhex(&text.to_uppercase()), Some(bytes.clone()));
            prop_assert_eq!(unhex(&text), Some(bytes));
        }
    }

    #[test]
    fn what_is_no_hexadecimal() {
        for bad in ["0", "0g", "+1", " 1", "é", "00x", "0x00"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
