//! The handle that everyone but the writer has: the tail, and waiting for it to move.

use super::Error;
use super::anchor::{self, AnchorFile};
use super::frame::Hash;
use super::index::Pending;
use super::keys::Family;
use super::space::{Space, SpaceGuard};
use super::store::Store;
use crate::domain::Position;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// What is called after every append with the new tail.
type Hook = Box<dyn Fn(Position) + Send + Sync>;

/// An open event log, for reading and following. Cheap to clone, for any thread.
#[derive(Clone)]
pub struct Log {
    pub(super) shared: Arc<Shared>,
}

/// What the writer and all handles share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) dir: PathBuf,
    pub(super) log_id: [u8; 16],
    pub(super) partition: u32,
    /// The newest record that is durable, and its hash.
    pub(super) tail: Mutex<(Position, Hash)>,
    /// The same position, to be read without a lock. Stored with `Release` after the records can be read.
    pub(super) position: AtomicU64,
    pub(super) grown: Condvar,
    pub(super) on_append: RwLock<Option<Hook>>,
    pub(super) pending: RwLock<Pending>,
    /// Set for good by the first failed write.
    pub(super) failed: OnceLock<String>,
    /// None if the log is open for reading only.
    pub(super) anchor: Option<AnchorFile>,
    /// What the anchor said before the log was opened.
    pub(super) opened_with: anchor::Reading,
    pub(super) space: SpaceGuard,
    /// Serialises snapshot writers.
    pub(super) snapshots: Mutex<()>,
    /// Held while the log is open for writing; declared last so that it is released last.
    pub(super) _lock: Option<File>,
}

impl Shared {
    pub(super) fn pending(&self) -> RwLockReadGuard<'_, Pending> {
        self.pending.read().expect("no one panics while holding the pending index")
    }

    pub(super) fn pending_mut(&self) -> RwLockWriteGuard<'_, Pending> {
        self.pending.write().expect("no one panics while holding the pending index")
    }

    /// Moves the tail and wakes those who wait for it.
    pub(super) fn publish(&self, position: Position, hash: Hash) {
        *self.tail.lock().expect("no one panics while holding the tail") = (position, hash);
        self.position.store(position.get(), Ordering::Release);
        self.grown.notify_all();
        if let Some(hook) = self.on_append.read().expect("a hook does not panic").as_ref() {
            hook(position);
        }
    }

    pub(super) fn check_writable(&self) -> Result<(), Error> {
        if self.anchor.is_none() {
            return Err(Error::ReadOnly);
        }
        self.failed.get().map_or(Ok(()), |cause| Err(Error::WritesOff { cause: cause.clone() }))
    }
}

impl Log {
    /// The newest durable record's position and hash; [`Position::ZERO`] and zeros for an empty log.
    pub fn tail(&self) -> (Position, Hash) {
        *self.shared.tail.lock().expect("no one panics while holding the tail")
    }

    /// The newest durable record's position, without a lock.
    pub fn position(&self) -> Position {
        Position::new(self.shared.position.load(Ordering::Acquire))
    }

    /// Waits until the tail is past `position` or `timeout` is over; returns the tail's position either way.
    pub fn wait_past(&self, position: Position, timeout: Duration) -> Position {
        let tail = self.shared.tail.lock().expect("no one panics while holding the tail");
        let waited = self.shared.grown.wait_timeout_while(tail, timeout, |tail| tail.0 <= position);
        waited.expect("no one panics while holding the tail").0.0
    }

    /// Sets what is called after every append with the new tail, on the writer's thread: it must be quick and must not
    /// panic. It replaces the one set before.
    pub fn set_on_append(&self, hook: Box<dyn Fn(Position) + Send + Sync>) {
        *self.shared.on_append.write().expect("a hook does not panic") = Some(hook);
    }

    /// 16 random bytes that tell this log from all others.
    pub fn log_id(&self) -> [u8; 16] {
        self.shared.log_id
    }

    /// Number of the partition.
    pub fn partition(&self) -> u32 {
        self.shared.partition
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Why appends are off, if they are.
    pub fn writes_off(&self) -> Option<&str> {
        self.shared.failed.get().map(String::as_str)
    }

    /// How much room the disk has. Appends are refused when it is [`Space::Full`].
    pub fn space(&self) -> Result<Space, Error> {
        self.shared.space.check()
    }

    /// Bytes of the log's files of one column family, without what is still in memory and in the write-ahead log.
    pub fn file_bytes(&self, family: Family) -> u64 {
        self.shared.store.number(family, "rocksdb.total-sst-files-size")
    }

    /// Merges all table files now, as happens over time by itself. Blocks for long; reads and writes go on.
    pub fn compact(&self) {
        for family in Family::ALL {
            self.shared.store.compact(family, &[], &[u8::MAX; 64]);
        }
    }

    /// What a housekeeping thread should do about once a second: makes the anchor durable, puts the ballast back once
    /// there is room, and says how much room there is.
    pub fn housekeep(&self) -> Result<Space, Error> {
        self.sync_anchor()?;
        if self.shared.anchor.is_some() {
            self.shared.space.ensure_ballast()?;
        }
        self.space()
    }

    /// Makes the anchor durable.
    pub fn sync_anchor(&self) -> Result<(), Error> {
        self.shared.anchor.as_ref().map_or(Ok(()), AnchorFile::sync)
    }
}
