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
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let (word, end) = if byte.is_ascii() {
            if !byte.is_ascii_alphanumeric() {
                at += 1;
                continue;
            }
            match ascii_word(bytes, at, key) {
                Some((word, end)) => (Some(word), end),
                None => any_word(text, at, key),
            }
        } else {
            any_word(text, at, key)
        };
        at = end;
        if word.is_some_and(|word| !visit(word)) {
            return;
        }
    }
}

/// The word that begins at `start`, and where it ends: nearly all are of ASCII letters only. None if it may have others.
fn ascii_word(bytes: &[u8], start: usize, key: &FingerprintKey) -> Option<(Word, usize)> {
    let (mut digits_only, mut digits, mut stops) = (true, false, 0);
    let mut end = start;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'0'..=b'9' => digits = true,
            b'a'..=b'z' | b'A'..=b'Z' => digits_only = false,
            b'.' if digits_only && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) => stops += 1,
            0x80.. => return None,
            _ => break,
        }
        end += 1;
    }
    let text = &bytes[start..end];
    let letters = text.len() - stops;
    let kept = if digits_only && stops == 1 {
        trimmed(text).len()
    } else if digits {
        text.len()
    } else {
        stem_len(letters, text.ends_with(b"s") || text.ends_with(b"S"), STEM_LETTERS)
    };
    let mut lower = [0; WORD_BYTES_MAX];
    let lower = &mut lower[..kept.min(WORD_BYTES_MAX)];
    lower.copy_from_slice(&text[..lower.len()]);
    lower.make_ascii_lowercase();
    Some((Word::of(lower, letters, key), end))
}

/// The word, if any, whose first letter begins at `start`, and where it ends.
fn any_word(text: &str, start: usize, key: &FingerprintKey) -> (Option<Word>, usize) {
    let mut rest = text[start..].char_indices().peekable();
    let Some((_, first)) = rest.next() else { return (None, text.len()) };
    let end = |next: Option<&(usize, char)>| next.map_or(text.len(), |(at, _)| start + at);
    if !first.is_alphanumeric() {
        return (None, end(rest.peek()));
    }
    let mut word = String::with_capacity(32);
    let (mut digits_only, mut digits, mut letters, mut stops) = (true, false, 0, 0);
    let mut next = Some(first);
    while let Some(letter) = next {
        digits_only &= letter.is_ascii_digit() || letter == '.';
        digits |= letter.is_ascii_digit();
        letters += usize::from(letter != '.');
        stops += usize::from(letter == '.');
        if letter.is_ascii() {
            word.push(letter.to_ascii_lowercase());
        } else {
            word.extend(letter.to_lowercase());
        }
        next = match rest.peek() {
            Some((_, letter)) if letter.is_alphanumeric() => rest.next().map(|(_, letter)| letter),
            Some((at, '.')) if digits_only && digit_after(text, start + at) => {
                rest.next().map(|(_, stop)| stop)
            }
            _ => None,
        };
    }
    if digits_only && stops == 1 {
        word.truncate(trimmed(word.as_bytes()).len());
    } else if !digits {
        stem(&mut word);
    }
    let bytes = &word.as_bytes()[..word.len().min(WORD_BYTES_MAX)];
    (Some(Word::of(bytes, letters, key)), end(rest.peek()))
}

impl Word {
    fn of(bytes: &[u8], letters: usize, key: &FingerprintKey) -> Self {
        Self { print: fold(key.bytes(bytes)), letters: u8::try_from(letters).unwrap_or(u8::MAX) }
    }
}

/// A number with one full stop, without its trailing zeros and then a trailing full stop.
fn trimmed(number: &[u8]) -> &[u8] {
    let last = number.iter().rposition(|byte| *byte != b'0').map_or(0, |last| last + 1);
    let kept = if last > 0 && number[last - 1] == b'.' { last - 1 } else { last };
    &number[..kept.max(1)]
}

/// Letters that the stem of a word of so many letters keeps.
const fn stem_len(letters: usize, ends_with_s: bool, most: usize) -> usize {
    if letters > most {
        most
    } else if letters > 2 && ends_with_s {
        letters - 1
    } else {
        letters
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
    let kept = stem_len(letters, word.ends_with('s'), STEM_LETTERS);
    let end = word.char_indices().nth(kept).map_or(word.len(), |(at, _)| at);
    word.truncate(end);
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

    /// The words by the general way alone.
    fn slowly(text: &str) -> Vec<Word> {
        let (mut at, mut found) = (0, Vec::new());
        while at < text.len() {
            let (word, end) = any_word(text, at, &key());
            found.extend(word);
            at = end;
        }
        found
    }

    fn quickly(text: &str) -> Vec<Word> {
        let mut found = Vec::new();
        each_word(text, &key(), |word| {
            found.push(word);
            true
        });
        found
    }

    #[test]
    fn the_short_way_is_the_long_way() {
        let long = "x1".repeat(200);
        for text in
            ["0.0", "00.", ".5", "5.5.5", "7.é", "7é.5", "ÉTÉ s", "boss BOSS Items", "a.b", "12.3a", &long]
        {
            assert_eq!(quickly(text), slowly(text), "{text}");
        }
        assert_eq!(quickly(&long).len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_the_short_and_the_long_way(text in "[aS0195. éßİ\\-]{0,40}|\\PC{0,40}") {
            prop_assert_eq!(quickly(&text), slowly(&text));
        }

        #[test]
        fn any_text_has_words(text in "\\PC{0,80}") {
            let found = words(&text, &key(), 1_000);
            prop_assert!(found.iter().all(|print| *print != 0));
            prop_assert_eq!(found.is_empty(), !text.chars().any(char::is_alphanumeric));
        }
    }
}
