//! Keyed 64-bit fingerprints: what tables are keyed by, and what stands for a value that is not kept.
//!
//! SipHash-1-3 under a 16-byte key that the tenant's first event carries: stable under replay, and
//! an outsider cannot choose texts that collide (detection.md 8).

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// The key of one tenant's fingerprints.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FingerprintKey([u8; 16]);

impl std::fmt::Debug for FingerprintKey {
    /// Hides the key: whoever knows it can forge collisions.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintKey(..)")
    }
}

/// Bytes of texts and their lengths that are hashed at once.
const SHORT_TEXTS_BYTES: usize = 256;

impl FingerprintKey {
    /// A key of these 16 bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key of the published function of `words`: derived from this one, which it does not tell.
    pub fn for_words(&self) -> Self {
        Self(self.told_for_words())
    }

    /// The bytes of that key, which gateways are told.
    pub fn told_for_words(&self) -> [u8; 16] {
        let half = |n: u64| self.numbers(&[0x776f_7264_7331, n]).to_le_bytes();
        let mut key = [0; 16];
        key[..8].copy_from_slice(&half(0));
        key[8..].copy_from_slice(&half(1));
        key
    }

    /// The name of that key.
    pub fn words_id(&self) -> String {
        format!("w{:016x}", self.numbers(&[0x776f_7264_7331, 2]))
    }

    /// Fingerprint of bytes.
    pub fn bytes(&self, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_key(&self.0).hash(bytes)
    }

    /// Fingerprint of a text: that of its UTF-8 bytes.
    pub fn text(&self, text: &str) -> u64 {
        self.bytes(text.as_bytes())
    }

    /// Fingerprint of a sequence of texts. Each is preceded by its length, so ("ab", "c") and
    /// ("a", "bc") differ.
    pub fn texts(&self, parts: &[&str]) -> u64 {
        // Short texts are laid out first and hashed at once, which gives the same and costs half.
        let mut text = [0; SHORT_TEXTS_BYTES];
        let mut length = 0;
        for part in parts {
            let (size, bytes) = ((part.len() as u64).to_le_bytes(), part.as_bytes());
            let end = length + size.len() + bytes.len();
            let Some(place) = text.get_mut(length..end) else { return self.long_texts(parts) };
            place[..8].copy_from_slice(&size);
            place[8..].copy_from_slice(bytes);
            length = end;
        }
        self.bytes(&text[..length])
    }

    fn long_texts(&self, parts: &[&str]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        for part in parts {
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part.as_bytes());
        }
        hasher.finish()
    }

    /// Fingerprint of a sequence of numbers, such as other fingerprints.
    pub fn numbers(&self, parts: &[u64]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        for part in parts {
            hasher.write(&part.to_le_bytes());
        }
        hasher.finish()
    }
}

/// One fingerprint of two, about 1 ns; order counts.
///
/// A folded 64x64-bit multiplication: as hard to steer as its inputs, which must be keyed
/// fingerprints already.
pub const fn mix(a: u64, b: u64) -> u64 {
    let left = (a ^ 0x9e37_79b9_7f4a_7c15) as u128;
    let right = (b.rotate_left(32) ^ 0xd1b5_4a32_d192_ed03) as u128;
    let product = left.wrapping_mul(right);
    // The inputs are folded in once more, so that a zero factor does not wipe out the other.
    (product as u64) ^ ((product >> 64) as u64) ^ a.rotate_left(17) ^ b.rotate_left(47)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn stable_and_keyed() {
        // The reference test vector of SipHash-1-3 for an empty input under the key 00..0f.
        let key = FingerprintKey::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(key.bytes(&[]), 0xabac_0158_050f_c4dc);
        let other = FingerprintKey::new([7; 16]);
        assert_ne!(key.text("k8s.scale"), other.text("k8s.scale"));
        assert_ne!(key.texts(&["ab", "c"]), key.texts(&["a", "bc"]));
        assert_ne!(key.numbers(&[1, 2]), key.numbers(&[2, 1]));
        assert!(!format!("{key:?}").contains('1'));
    }

    #[test]
    fn short_and_long_texts_are_hashed_alike() {
        let key = FingerprintKey::new([7; 16]);
        for length in (0..40).chain([100, 231, 232, 233, 400]) {
            let text = "x".repeat(length);
            for parts in [&[text.as_str()][..], &["a", &text], &[&text, "", "b"]] {
                assert_eq!(key.texts(parts), key.long_texts(parts), "{length}");
            }
        }
    }

    #[test]
    fn mix_spreads_small_numbers() {
        let all: BTreeSet<u64> = (0..200).flat_map(|a| (0..200).map(move |b| mix(a, b))).collect();
        assert_eq!(all.len(), 40_000);
        let top_bytes: BTreeSet<u64> = all.iter().map(|x| x >> 56).collect();
        assert!(top_bytes.len() > 200);
    }
}
