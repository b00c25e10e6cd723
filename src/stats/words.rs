//! Words of a text as keyed fingerprints: enough to know a word again, not to read it.
//!
//! # The function, scheme 1
//!
//! 1. Words are the longest runs of letters and digits (Unicode alphanumerics). A full stop between digits
//!    belongs to a run that so far has digits only, so that `50.25` is one word.
//! 2. Each word is lower-cased. A number with one full stop loses its trailing zeros and then a trailing
//!    full stop: `50.0` is `50`.
//! 3. A word without a digit 0-9 is stemmed: of more than five letters the first five stay; one of three to
//!    five letters loses a final `s`.
//! 4. Its fingerprint is SipHash-1-3 of the UTF-8 bytes under a 16-byte key; both halves xored give 32 bits;
//!    zero becomes one.
//!
//! The list of a text holds them in order, repeats included, so that neighbours can be told.

use super::fingerprint::FingerprintKey;

/// Letters a stem keeps.
const STEM_LETTERS: usize = 5;
/// Bytes of one word that count; longer ones are cut.
const WORD_BYTES_MAX: usize = 128;

/// A word of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its fingerprint, never 0.
    pub print: u32,
    /// Letters and digits before stemming, at most 255.
    pub letters: u8,
}

/// Calls `visit` with each word of `text`, in order, until it says false.
pub fn each_word(text: &str, key: &FingerprintKey, mut visit: impl FnMut(Word) -> bool) {
    let mut word = String::with_capacity(32);
    let mut rest = text.char_indices().peekable();
    while let Some((_, letter)) = rest.next() {
        if !letter.is_alphanumeric() {
            continue;
        }
        word.clear();
        let (mut digits_only, mut digits, mut letters, mut stops) = (true, false, 0u32, 0u32);
        let mut next = Some(letter);
        while let Some(letter) = next {
            digits_only &= letter.is_ascii_digit() || letter == '.';
            digits |= letter.is_ascii_digit();
            letters += u32::from(letter != '.');
            stops += u32::from(letter == '.');
            if letter.is_ascii() {
                word.push(letter.to_ascii_lowercase());
            } else {
                word.extend(letter.to_lowercase());
            }
            next = match rest.peek() {
                Some((_, letter)) if letter.is_alphanumeric() => rest.next().map(|(_, letter)| letter),
                Some((at, '.')) if digits_only && digit_after(text, *at) => rest.next().map(|(_, stop)| stop),
                _ => None,
            };
        }
        if digits_only && stops == 1 {
            let kept = word.trim_end_matches('0').trim_end_matches('.').len();
            word.truncate(kept.max(1));
        } else if !digits {
            stem(&mut word);
        }
        let bytes = &word.as_bytes()[..word.len().min(WORD_BYTES_MAX)];
        if !visit(Word { print: fold(key.bytes(bytes)), letters: u8::try_from(letters).unwrap_or(u8::MAX) }) {
            return;
        }
    }
}

/// The words of `text`, in order, at most `most`.
pub fn words(text: &str, key: &FingerprintKey, most: usize) -> Vec<u32> {
    let mut found = Vec::with_capacity((text.len() / 6).min(most));
    each_word(text, key, |word| {
        if found.len() < most {
            found.push(word.print);
        }
        found.len() < most
    });
    found
}

/// 32 bits of a 64-bit fingerprint; never 0, which separates runs.
pub const fn fold(print: u64) -> u32 {
    match (print ^ (print >> 32)) as u32 {
        0 => 1,
        other => other,
    }
}

fn digit_after(text: &str, stop: usize) -> bool {
    text.as_bytes().get(stop + 1).is_some_and(u8::is_ascii_digit)
}

fn stem(word: &mut String) {
    let letters = word.chars().count();
    if letters > STEM_LETTERS {
        let end = word.char_indices().nth(STEM_LETTERS).map_or(word.len(), |(at, _)| at);
        word.truncate(end);
    } else if letters > 2 && word.ends_with('s') {
        word.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> FingerprintKey {
        FingerprintKey::new([5; 16])
    }

    fn same(one: &str, other: &str) {
        assert_eq!(words(one, &key(), 100), words(other, &key(), 100), "{one} | {other}");
    }

    #[test]
    fn the_published_function() {
        same("Send MONEY, now!", "send money now");
        same("transactions: 50.0", "transaction 50");
        same("50.250", "50.25");
        same("items", "item");
        same("a@b.com", "a b com");
        same("1.2.30", "1.2.30");
        assert_ne!(words("50.25", &key(), 9), words("50 25", &key(), 9));
        assert_ne!(words("id12345", &key(), 9), words("id123", &key(), 9), "digits are never cut off");
        assert_eq!(words("one two three", &key(), 2).len(), 2);
        // By hand: SipHash-1-3 of "send" under sixteen fives, folded.
        assert_eq!(words("send", &key(), 1), [fold(key().text("send"))]);
        assert_eq!(fold(0), 1);
    }

    proptest! {
        #[test]
        fn any_text_has_words(text in "\\PC{0,80}") {
            let found = words(&text, &key(), 1_000);
            prop_assert!(found.iter().all(|print| *print != 0));
            prop_assert_eq!(found.is_empty(), !text.chars().any(char::is_alphanumeric));
        }
    }
}
