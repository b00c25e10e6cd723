//! Fixed-size keys under which the log finds records again: streams and calls.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

/// A stream of events: one session, or (all zero) the partition itself.
/// 128 bits of a keyed hash over tenant, outermost principal, session source and session id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId([u8; 16]);

/// A call: 128 bits of a keyed hash over tenant and the client's `call_id`. All zero: no call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallKey([u8; 16]);

const HEX: &[u8; 16] = b"0123456789abcdef";

macro_rules! key {
    ($name:ident) => {
        impl $name {
            /// The all-zero key, which stands for "none".
            pub const NONE: Self = Self([0; 16]);

            /// The key of these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The key's bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Whether the key stands for "none".
            pub fn is_none(&self) -> bool {
                self.0 == [0; 16]
            }
        }

        impl fmt::Display for $name {
            /// 32 hex digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut digits = [0; 32];
                for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
                    pair[0] = HEX[usize::from(byte >> 4)];
                    pair[1] = HEX[usize::from(byte & 15)];
                }
                f.write_str(str::from_utf8(&digits).map_err(|_| fmt::Error)?)
            }
        }
    };
}

key!(StreamId);
key!(CallKey);

/// Hashes a [`StreamId`] or [`CallKey`] by its own bytes: they are keyed hashes already, which nobody outside
/// can steer. For maps in memory only.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHasher(u64);

/// Builds a [`KeyHasher`].
pub type BuildKeyHasher = BuildHasherDefault<KeyHasher>;

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    /// The length of an array, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
