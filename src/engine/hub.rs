//! What the worker tells the rest of a partition about reviews and locks, once it is durable: to watchers,
//! to whoever waits for one review, and when the next deadline comes. And the way past the queue, for
//! locks and deadlines.
//!
//! Watchers are told by the partition's ticker, every 20 ms what was published since, locks at once: a watcher is woken
//! once for many changes, and only for those of the tenant that it follows. What it was told is told to a few watchers
//! at a time, so that a call never waits behind a thousand of them.

use super::overseer::Oversight;
use crate::domain::position::Position;
use crate::domain::time::Timestamp;
use crate::policy::{Book, Policy};
use crate::projection::{KnownLock, Locks, Review};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;
use tokio::sync::{Notify, broadcast};

/// Batches of changes that a watcher may be behind before it has to look at everything anew: 5 seconds and more.
const BEHIND_MAX: usize = 256;
/// Watchers that are woken at once; the next ones a moment later, so that calls do not wait behind all of them.
const TOLD_AT_ONCE: usize = 8;
/// That moment.
const MOMENT: Duration = Duration::from_millis(1);
/// Moments that telling takes at most; a lock cuts them short.
const MOMENTS_MAX: usize = 125;
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

/// Those who follow the same, a few to a channel.
#[derive(Default)]
struct Topic(Vec<broadcast::Sender<Batch>>);

impl Topic {
    fn follow(&mut self) -> broadcast::Receiver<Batch> {
        if let Some(channel) = self.0.iter().find(|channel| channel.receiver_count() < TOLD_AT_ONCE) {
            return channel.subscribe();
        }
        let (channel, receiver) = broadcast::channel(BEHIND_MAX);
        self.0.push(channel);
        receiver
    }

    /// Forgets channels that nobody follows; whether any is left.
    fn is_followed(&mut self) -> bool {
        self.0.retain(|channel| channel.receiver_count() > 0);
        !self.0.is_empty()
    }
}

/// Watchers by what they follow; a tenant is here while somebody follows it.
#[derive(Default)]
struct Topics {
    locks: Topic,
    all: Topic,
    tenants: BTreeMap<String, Topic>,
}

impl Topics {
    fn of(&mut self, interest: Interest) -> &mut Topic {
        match interest {
            Interest::Locks => &mut self.locks,
            Interest::AllReviews => &mut self.all,
            Interest::Reviews(tenant) => self.tenants.entry(tenant).or_default(),
        }
    }

    /// Whom to tell what.
    fn shares(&mut self, batch: &[(Position, Notice)]) -> Vec<(broadcast::Sender<Batch>, Batch)> {
        let mut shares = Vec::new();
        let mut share = |topic: &Topic, wanted: &dyn Fn(&Notice) -> bool| {
            let batch: Batch = batch.iter().filter(|(_, notice)| wanted(notice)).cloned().collect();
            if !batch.is_empty() {
                shares.extend(topic.0.iter().map(|channel| (channel.clone(), Arc::clone(&batch))));
            }
        };
        self.tenants.retain(|_, topic| topic.is_followed());
        if self.locks.is_followed() {
            share(&self.locks, &|notice| matches!(notice, Notice::Lock(_)));
        }
        if self.all.is_followed() {
            share(&self.all, &|_| true);
        }
        for (tenant, topic) in &self.tenants {
            share(topic, &|notice| match notice {
                Notice::Review(review) => review.tenant == *tenant,
                Notice::Lock(_) => true,
            });
        }
        shares
    }
}

/// One partition's hub.
pub struct Hub {
    topics: Mutex<Topics>,
    /// What is durable and not told yet.
    outgoing: Mutex<Vec<(Position, Notice)>>,
    telling: Mutex<()>,
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
    /// Whether a lock waits to be told.
    hurry: AtomicBool,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            topics: Mutex::default(),
            outgoing: Mutex::default(),
            telling: Mutex::default(),
            teller: OnceLock::new(),
            waits: Mutex::default(),
            next_deadline: AtomicI64::new(i64::MAX),
            urgent: Mutex::default(),
            is_urgent: AtomicBool::new(false),
            policies: Mutex::default(),
            locks: Mutex::default(),
            ticking: AtomicBool::new(false),
            hurry: AtomicBool::new(false),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Follows changes from now on, and some from a moment before.
    pub fn follow(&self, interest: Interest) -> broadcast::Receiver<Batch> {
        lock(&self.topics).of(interest).follow()
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
        if cannot_wait {
            self.hurry.store(true, Ordering::Release);
        }
        let too_many = outgoing.len() > OUTGOING_MAX;
        drop(outgoing);
        if too_many {
            self.tell(false);
        } else if cannot_wait && let Some(teller) = self.teller.get() {
            teller.unpark();
        }
    }

    /// From now on this thread tells what is published, within the time between two of its looks.
    pub(super) fn tell_here(&self) {
        let _set_before = self.teller.set(std::thread::current());
    }

    /// Tells watchers what was published: what has no lock in it, with a moment between a few of them and the next if
    /// there is `time` for that, and no lock waits.
    pub(super) fn tell(&self, time: bool) {
        // Of two who tell none may overtake the other; whoever follows meanwhile does not wait for them.
        let _telling = lock(&self.telling);
        self.tell_batch(time);
        while self.hurry.load(Ordering::Acquire) {
            self.tell_batch(false);
        }
    }

    fn tell_batch(&self, time: bool) {
        let batch = {
            let mut outgoing = lock(&self.outgoing);
            self.hurry.store(false, Ordering::Release);
            std::mem::take(&mut *outgoing)
        };
        if batch.is_empty() {
            return;
        }
        let shares = lock(&self.topics).shares(&batch);
        let time = time && !batch.iter().any(|(_, notice)| matches!(notice, Notice::Lock(_)));
        let at_once = shares.len().div_ceil(MOMENTS_MAX).max(1);
        for (number, (channel, batch)) in shares.into_iter().enumerate() {
            let is_pause = time && number > 0 && number.is_multiple_of(at_once);
            if is_pause && !self.hurry.load(Ordering::Acquire) {
                std::thread::park_timeout(MOMENT);
            }
            // Whoever followed may just have gone.
            let _followers = channel.send(batch);
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
        hub.tell(true);
        assert_eq!((locks.try_recv().unwrap().len(), of_tenant.try_recv().unwrap().len()), (3, 3));
        hub.tell(true);
        assert!(locks.try_recv().is_err(), "nothing is told twice");
        drop((locks, of_tenant));
        hub.publish(Position::FIRST, vec![placed("four")]);
        hub.tell(true);
        let topics = lock(&hub.topics);
        assert!(topics.tenants.is_empty() && topics.locks.0.is_empty());
        assert!(lock(&hub.outgoing).is_empty());
    }

    #[test]
    fn many_followers_are_told_alike_and_places_of_those_who_left_are_taken_again() {
        let hub = Hub::default();
        let mut followers: Vec<_> = (0..100).map(|_| hub.follow(Interest::AllReviews)).collect();
        followers.drain(10..40);
        followers.push(hub.follow(Interest::AllReviews));
        assert_eq!(lock(&hub.topics).all.0.len(), 100_usize.div_ceil(TOLD_AT_ONCE));
        hub.publish(Position::FIRST, vec![placed("one")]);
        hub.tell(true);
        assert!(followers.iter_mut().all(|follower| follower.try_recv().is_ok_and(|batch| batch.len() == 1)));
    }

    #[test]
    fn what_waits_to_be_told_is_bounded() {
        let hub = Hub::default();
        let mut locks = hub.follow(Interest::Locks);
        (0..=OUTGOING_MAX).for_each(|_| hub.publish(Position::FIRST, vec![placed("one")]));
        assert_eq!(locks.try_recv().unwrap().len(), OUTGOING_MAX + 1);
    }
}
