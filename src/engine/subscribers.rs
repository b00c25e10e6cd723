//! How whoever follows the log beside the engine stands, so that the API can tell.

use crate::domain::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How one follower of one partition stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Last position that it has done with.
    pub checkpoint: u64,
    /// What it failed with last; empty: nothing since it last went well.
    pub last_error: String,
    /// When it tries again; none: it is not waiting for that.
    pub retry: Option<Timestamp>,
    /// Entries that the other side took since the start.
    pub sent: u64,
    /// Entries that it did not want, and that were passed over.
    pub passed_over: u64,
}

/// All followers, by name and partition. As many as the configuration names.
#[derive(Clone, Debug, Default)]
pub struct Subscribers(Arc<Mutex<BTreeMap<(String, usize), Standing>>>);

impl Subscribers {
    /// Changes how one stands.
    pub fn note(&self, name: &str, partition: usize, change: impl FnOnce(&mut Standing)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry((name.to_owned(), partition)).or_default());
    }

    /// How all stand.
    pub fn all(&self) -> BTreeMap<(String, usize), Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
