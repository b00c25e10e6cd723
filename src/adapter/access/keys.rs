//! Which `Idempotency-Key`s came with which request. Losing them loses nothing but a complaint: the same evaluation has
//! the same task anyway.

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keys that are remembered at a time; the oldest goes first.
const KEYS_MAX: usize = 4_096;
/// How long one is remembered.
const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// A SHA-256: what is kept of keys and requests.
type Hash = [u8; 32];

#[derive(Debug, Default)]
struct Inside {
    bodies: BTreeMap<Hash, Hash>,
    order: VecDeque<(Instant, Hash)>,
}

/// The keys.
#[derive(Debug, Default)]
pub(super) struct Keys(Mutex<Inside>);

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing.
    New,
    /// It came with this very request.
    Same,
    /// It came with another request.
    Other,
}

/// A key of a caller and the request that it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keyed {
    key: Hash,
    body: Hash,
}

impl Keyed {
    /// `caller`: all that tells one caller from another.
    pub(super) fn new(caller: &[&[u8]], key: &[u8], body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        for part in caller.iter().copied().chain([key]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self { key: hash.finalize().into(), body: Sha256::digest(body).into() }
    }
}

impl Keys {
    /// What is known of a key at `now`.
    pub(super) fn known(&self, keyed: &Keyed, now: Instant) -> Known {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inside.forget(now);
        match inside.bodies.get(&keyed.key) {
            None => Known::New,
            Some(body) if *body == keyed.body => Known::Same,
            Some(_) => Known::Other,
        }
    }

    /// Remembers a key whose request was taken.
    pub(super) fn note(&self, keyed: &Keyed, now: Instant) {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inside.forget(now);
        if inside.bodies.contains_key(&keyed.key) {
            return;
        }
        inside.bodies.insert(keyed.key, keyed.body);
        inside.order.push_back((now, keyed.key));
        if inside.order.len() > KEYS_MAX {
            inside.drop_oldest();
        }
    }
}

impl Inside {
    fn forget(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= KEPT) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.bodies.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_a_callers_own_and_have_an_end() {
        let (keys, now) = (Keys::default(), Instant::now());
        let of = |caller: &str, key: &str, body: &str| {
            Keyed::new(&[caller.as_bytes()], key.as_bytes(), body.as_bytes())
        };
        assert_eq!(keys.known(&of("a", "1", "x"), now), Known::New);
        keys.note(&of("a", "1", "x"), now);
        assert_eq!(keys.known(&of("a", "1", "x"), now), Known::Same);
        assert_eq!(keys.known(&of("a", "1", "y"), now), Known::Other);
        assert_eq!(keys.known(&of("b", "1", "y"), now), Known::New);
        assert_eq!(keys.known(&of("a1", "", "y"), now), Known::New);
        assert_eq!(keys.known(&of("a", "1", "y"), now + KEPT), Known::New);
        for number in 0..=KEYS_MAX {
            keys.note(&of("c", &number.to_string(), "z"), now + KEPT);
        }
        assert_eq!(keys.known(&of("c", "0", "z"), now + KEPT), Known::New);
        assert_eq!(keys.known(&of("c", "1", "z"), now + KEPT), Known::Same);
    }
}
