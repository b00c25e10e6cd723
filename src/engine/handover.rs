//! Where the worker leaves what it decided and the committer takes it all at once: what gathers here while
//! a batch is being synced becomes the next batch.
//!
//! Bounded by records: a worker far ahead of the disk waits.

use super::committer::Group;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Records that may wait for the committer; beyond it the worker waits.
const RECORDS_WAITING_MAX: usize = 8_192;

/// Emptied groups that lie ready to be filled again.
const SPARE_MAX: usize = 4;
/// Most records that a group has room for and is still kept: about half a megabyte.
const SPARE_RECORDS_MAX: usize = 512;

/// A place between two threads.
#[derive(Default)]
pub(super) struct Handover {
    inside: Mutex<Inside>,
    filled: Condvar,
    taken: Condvar,
    /// Set while the one who takes waits for something.
    awaited: AtomicBool,
}

#[derive(Default)]
struct Inside {
    groups: Vec<Group>,
    /// Empty ones, with their memory.
    spare: Vec<Group>,
    records: usize,
    closed: bool,
}

impl Handover {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("nobody panics while holding the handover")
    }

    /// Leaves a group; waits while too much lies here. Gives an empty one for it, or hands it back if nobody will take it.
    pub(super) fn put(&self, group: Group) -> Result<Group, Box<Group>> {
        let mut inside = self.inside();
        while inside.records >= RECORDS_WAITING_MAX && !inside.closed {
            inside = self.taken.wait(inside).expect("nobody panics while holding the handover");
        }
        if inside.closed {
            return Err(Box::new(group));
        }
        inside.records += group.records.len();
        inside.groups.push(group);
        if inside.groups.len() == 1 {
            self.filled.notify_one();
        }
        Ok(inside.spare.pop().unwrap_or_default())
    }

    /// Gives a group back that was emptied, for its memory.
    pub(super) fn give_back(&self, group: Group) {
        if group.is_empty() && group.records.capacity() <= SPARE_RECORDS_MAX {
            let mut inside = self.inside();
            if inside.spare.len() < SPARE_MAX {
                inside.spare.push(group);
            }
        }
    }

    /// Whether somebody waits for a group right now. A guess: it may be over when it is read.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    /// Waits so long for something to lie here; says whether nothing came and nothing was closed.
    pub(super) fn is_quiet_for(&self, time: Duration) -> bool {
        let inside = self.inside();
        let is_empty = |inside: &mut Inside| inside.groups.is_empty() && !inside.closed;
        self.awaited.store(true, Ordering::Relaxed);
        let (_inside, waited) = self
            .filled
            .wait_timeout_while(inside, time, is_empty)
            .expect("nobody panics while holding the handover");
        self.awaited.store(false, Ordering::Relaxed);
        waited.timed_out()
    }

    /// Takes all that lies here; waits for something. `None` once it is closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Group>> {
        let mut inside = self.inside();
        while inside.groups.is_empty() {
            if inside.closed {
                return None;
            }
            self.awaited.store(true, Ordering::Relaxed);
            inside = self.filled.wait(inside).expect("nobody panics while holding the handover");
        }
        self.awaited.store(false, Ordering::Relaxed);
        inside.records = 0;
        let groups = std::mem::take(&mut inside.groups);
        self.taken.notify_one();
        Some(groups)
    }

    /// Nothing more will come, or nothing more will be taken.
    pub(super) fn close(&self) {
        self.inside().closed = true;
        self.filled.notify_all();
        self.taken.notify_all();
    }
}

/// Closes the handover when its owner ends, however it ends.
pub(super) struct ClosesHandover(pub(super) std::sync::Arc<Handover>);

impl Drop for ClosesHandover {
    fn drop(&mut self) {
        self.0.close();
    }
}
