//! What the worker tells the rest of a partition about reviews and locks, once it is durable: to watchers,
//! to whoever waits for one review, and when the next deadline comes. And the way past the queue, for
//! locks and deadlines.

use super::overseer::Oversight;
use crate::domain::position::Position;
use crate::domain::time::Timestamp;
use crate::policy::{Book, Policy};
use crate::projection::{KnownLock, Review};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{Notify, broadcast};

/// Changes that a watcher may be behind before it has to look at everything anew.
const BEHIND_MAX: usize = 4_096;
/// Commands that may wait on the way past the queue.
const URGENT_MAX: usize = 1_024;

/// What changed.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A review, as it is now.
    Review(Arc<Review>),
    /// A lock, as it is now.
    Lock(Arc<KnownLock>),
}

/// One partition's hub.
pub struct Hub {
    changes: broadcast::Sender<Notice>,
    waits: Mutex<HashMap<Position, Weak<Notify>>>,
    next_deadline: AtomicI64,
    urgent: Mutex<VecDeque<Oversight>>,
    is_urgent: AtomicBool,
    policies: Mutex<Option<Book>>,
    /// Whether a tick is on its way.
    ticking: AtomicBool,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            changes: broadcast::channel(BEHIND_MAX).0,
            waits: Mutex::default(),
            next_deadline: AtomicI64::new(i64::MAX),
            urgent: Mutex::default(),
            is_urgent: AtomicBool::new(false),
            policies: Mutex::default(),
            ticking: AtomicBool::new(false),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Follows changes from now on.
    pub fn follow(&self) -> broadcast::Receiver<Notice> {
        self.changes.subscribe()
    }

    /// Told whenever this review changes. Take it before looking at the review.
    pub fn wait(&self, review: Position) -> Arc<Notify> {
        let mut waits = lock(&self.waits);
        if let Some(known) = waits.get(&review).and_then(Weak::upgrade) {
            return known;
        }
        waits.retain(|_, waiting| waiting.strong_count() > 0);
        let notify = Arc::new(Notify::new());
        waits.insert(review, Arc::downgrade(&notify));
        notify
    }

    /// Tells what changed. On the committer's thread.
    pub(super) fn publish(&self, changes: Vec<Notice>) {
        let waits = lock(&self.waits);
        for change in &changes {
            if let Notice::Review(review) = change
                && let Some(waiting) = waits.get(&review.id).and_then(Weak::upgrade)
            {
                waiting.notify_waiters();
            }
        }
        drop(waits);
        for change in changes {
            // Nobody may be watching.
            let _watchers = self.changes.send(change);
        }
    }

    /// When the next thing happens by itself.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let at = self.next_deadline.load(Ordering::Relaxed);
        (at != i64::MAX).then(|| Timestamp::from_micros(at))
    }

    pub(super) fn set_next_deadline(&self, at: Option<Timestamp>) {
        self.next_deadline.store(at.map_or(i64::MAX, Timestamp::as_micros), Ordering::Relaxed);
    }

    /// The policy by which a tenant's votes count.
    pub fn policy(&self, tenant: &str) -> Option<Arc<Policy>> {
        lock(&self.policies).as_ref().map(|book| Arc::clone(book.of(tenant)))
    }

    pub(super) fn set_policies(&self, book: Book) {
        *lock(&self.policies) = Some(book);
    }

    /// Puts a command on the way past the queue; hands it back if there are too many.
    pub(super) fn push_urgent(&self, command: Oversight) -> Result<(), Box<Oversight>> {
        let mut urgent = lock(&self.urgent);
        if urgent.len() >= URGENT_MAX {
            return Err(Box::new(command));
        }
        urgent.push_back(command);
        self.is_urgent.store(true, Ordering::Release);
        Ok(())
    }

    /// What is on the way past the queue.
    pub(super) fn take_urgent(&self) -> VecDeque<Oversight> {
        if !self.is_urgent.load(Ordering::Acquire) {
            return VecDeque::new();
        }
        let mut urgent = lock(&self.urgent);
        self.is_urgent.store(false, Ordering::Release);
        std::mem::take(&mut urgent)
    }

    /// Whether a tick may be sent: none is on its way.
    pub(super) fn begin_tick(&self) -> bool {
        !self.ticking.swap(true, Ordering::AcqRel)
    }

    /// The tick has come.
    pub(super) fn end_tick(&self) {
        self.ticking.store(false, Ordering::Release);
    }
}
