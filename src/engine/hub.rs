//! What the worker tells the rest of a partition about reviews and locks, once it is durable: to watchers,
//! to whoever waits for one review, and when the next deadline comes. And the way past the queue, for
//! locks and deadlines.
//!
//! Watchers are told by the partition's ticker, every 20 ms what was published since, locks at once: a watcher is woken
//! once for many changes, and only for those of the tenant that it follows.

use super::overseer::Oversight;
use crate::domain::position::Position;
use crate::domain::time::Timestamp;
use crate::policy::{Book, Policy};
use crate::projection::{KnownLock, Locks, Review};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use tokio::sync::{Notify, broadcast};

/// Batches of changes that a watcher may be behind before it has to look at everything anew: 5 seconds and more.
const BEHIND_MAX: usize = 256;
/// Changes that may wait to be told; with more, whoever brings one tells them all.
const OUTGOING_MAX: usize = 16_384;
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

/// Changes that were told at once, in order, each with the position of the state that it was taken from.
pub type Batch = Arc<[(Position, Notice)]>;

/// What a watcher follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Locks of all tenants.
    Locks,
    /// Reviews of a tenant, and all locks.
    Reviews(String),
    /// Reviews of all tenants, and all locks.
    AllReviews,
}

/// Watchers by what they follow; a tenant is here while somebody follows it.
#[derive(Default)]
struct Topics {
    locks: Option<broadcast::Sender<Batch>>,
    all: Option<broadcast::Sender<Batch>>,
    tenants: BTreeMap<String, broadcast::Sender<Batch>>,
}

impl Topics {
    fn follow(&mut self, interest: Interest) -> broadcast::Receiver<Batch> {
        let make = || broadcast::channel(BEHIND_MAX).0;
        let topic = match interest {
            Interest::Locks => self.locks.get_or_insert_with(make),
            Interest::AllReviews => self.all.get_or_insert_with(make),
            Interest::Reviews(tenant) => self.tenants.entry(tenant).or_insert_with(make),
        };
        topic.subscribe()
    }

    /// Tells everyone what concerns them, each once.
    fn tell(&mut self, batch: &[(Position, Notice)]) {
        let of = |wanted: &dyn Fn(&Notice) -> bool| -> Batch {
            batch.iter().filter(|(_, notice)| wanted(notice)).cloned().collect()
        };
        let tell = |topic: &broadcast::Sender<Batch>, batch: Batch| {
            if !batch.is_empty() {
                // Whoever followed may just have gone.
                let _followers = topic.send(batch);
            }
        };
        self.tenants.retain(|_, topic| topic.receiver_count() > 0);
        for (tenant, topic) in &self.tenants {
            tell(
                topic,
                of(&|notice| match notice {
                    Notice::Review(review) => review.tenant == *tenant,
                    Notice::Lock(_) => true,
                }),
            );
        }
        self.locks = self.locks.take().filter(|topic| topic.receiver_count() > 0);
        if let Some(topic) = &self.locks {
            tell(topic, of(&|notice| matches!(notice, Notice::Lock(_))));
        }
        self.all = self.all.take().filter(|topic| topic.receiver_count() > 0);
        if let Some(topic) = &self.all {
            tell(topic, batch.into());
        }
    }
}

/// One partition's hub.
pub struct Hub {
    topics: Mutex<Topics>,
    /// What is durable and not told yet.
    outgoing: Mutex<Vec<(Position, Notice)>>,
    /// Tells what is outgoing, and at once what cannot wait.
    teller: OnceLock<Thread>,
    waits: Mutex<HashMap<Position, Weak<Notify>>>,
    next_deadline: AtomicI64,
    urgent: Mutex<VecDeque<Oversight>>,
    is_urgent: AtomicBool,
    policies: Mutex<Option<Book>>,
    /// As of the last change of locks that was told.
    locks: Mutex<Arc<Locks>>,
    /// Whether a tick is on its way.
    ticking: AtomicBool,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            topics: Mutex::default(),
            outgoing: Mutex::default(),
            teller: OnceLock::new(),
            waits: Mutex::default(),
            next_deadline: AtomicI64::new(i64::MAX),
            urgent: Mutex::default(),
            is_urgent: AtomicBool::new(false),
            policies: Mutex::default(),
            locks: Mutex::default(),
            ticking: AtomicBool::new(false),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Follows changes from now on, and some from a moment before.
    pub fn follow(&self, interest: Interest) -> broadcast::Receiver<Batch> {
        lock(&self.topics).follow(interest)
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

    /// Takes what changed, with the position of the state that it was taken from. On the committer's thread, and
    /// therefore not dearer for many watchers: they are told by the [`Hub::tell`] that follows. Who waits for a review
    /// is woken at once.
    pub(super) fn publish(&self, as_of: Position, changes: Vec<Notice>) {
        let waits = lock(&self.waits);
        for change in &changes {
            if let Notice::Review(review) = change
                && let Some(waiting) = waits.get(&review.id).and_then(Weak::upgrade)
            {
                waiting.notify_waiters();
            }
        }
        drop(waits);
        let cannot_wait = changes.iter().any(|change| matches!(change, Notice::Lock(_)));
        let mut outgoing = lock(&self.outgoing);
        outgoing.extend(changes.into_iter().map(|change| (as_of, change)));
        let too_many = outgoing.len() > OUTGOING_MAX;
        drop(outgoing);
        if too_many {
            self.tell();
        } else if cannot_wait && let Some(teller) = self.teller.get() {
            teller.unpark();
        }
    }

    /// From now on this thread tells what is published, within the time between two of its looks.
    pub(super) fn tell_here(&self) {
        let _set_before = self.teller.set(std::thread::current());
    }

    /// Tells watchers what was published.
    pub(super) fn tell(&self) {
        // Held together, so that of two who tell none overtakes the other.
        let mut topics = lock(&self.topics);
        let batch = std::mem::take(&mut *lock(&self.outgoing));
        if !batch.is_empty() {
            topics.tell(&batch);
        }
    }

    /// The locks, for whoever judges a change by them.
    pub fn locks(&self) -> Arc<Locks> {
        Arc::clone(&lock(&self.locks))
    }

    pub(super) fn set_locks(&self, locks: Locks) {
        *lock(&self.locks) = Arc::new(locks);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lock::{Lock, LockOrigin, LockScope, LockTarget};

    fn placed(id: &str) -> Notice {
        let on = LockTarget {
            tenant: String::new(),
            scope: LockScope::Everything,
            target: String::new(),
            server: String::new(),
        };
        let (reason, actor) = (String::new(), String::new());
        let lock = Lock { id: id.to_owned(), on, reason, actor, origin: LockOrigin::Rpc, expires: None };
        let placed = Timestamp::from_micros(0);
        Notice::Lock(Arc::new(KnownLock { lock, placed, position: Position::FIRST, ended: None }))
    }

    #[test]
    fn many_changes_are_told_at_once_and_only_while_somebody_follows() {
        let hub = Hub::default();
        let mut locks = hub.follow(Interest::Locks);
        let mut of_tenant = hub.follow(Interest::Reviews("acme".to_owned()));
        hub.publish(Position::FIRST, vec![placed("one")]);
        hub.publish(Position::FIRST, vec![placed("two"), placed("three")]);
        assert!(locks.try_recv().is_err(), "nothing is told on the committer's thread");
        hub.tell();
        assert_eq!((locks.try_recv().unwrap().len(), of_tenant.try_recv().unwrap().len()), (3, 3));
        hub.tell();
        assert!(locks.try_recv().is_err(), "nothing is told twice");
        drop((locks, of_tenant));
        hub.publish(Position::FIRST, vec![placed("four")]);
        hub.tell();
        let topics = lock(&hub.topics);
        assert!(topics.tenants.is_empty() && topics.locks.is_none());
        assert!(lock(&hub.outgoing).is_empty());
    }

    #[test]
    fn what_waits_to_be_told_is_bounded() {
        let hub = Hub::default();
        let mut locks = hub.follow(Interest::Locks);
        (0..=OUTGOING_MAX).for_each(|_| hub.publish(Position::FIRST, vec![placed("one")]));
        assert_eq!(locks.try_recv().unwrap().len(), OUTGOING_MAX + 1);
    }
}
