//! The engine as everyone else sees it: cheap to clone, for any thread.

use super::Error;
use super::committer::{self, Group, Press, Shared};
use super::counters::{CountersView, add};
use super::handover::{ClosesHandover, Handover};
use super::hub::Hub;
use super::overseer::Overseer;
use super::partition::{Command, Reply, Ruled};
use super::policies::book;
use super::recovery::{Recovered, recover};
use super::registry::Registry;
use super::relearn::Relearning;
use super::schemas::Schemas;
use super::snapshots;
use super::ticker;
use super::worker::{Worker, refuse};
use crate::clock::Clock;
use crate::decide::ingest::Ingest;
use crate::decide::ruling::{Ruling, policy_digest};
use crate::decide::{InferenceCache, Settings};
use crate::domain::decision::Mode;
use crate::domain::event::{Event, LogCreated, Payload, Pending, PolicyAdopted, Recorded};
use crate::domain::mask::Masker;
use crate::domain::position::{Position, Revision};
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use crate::eventlog::{self, Log, OpenReport, Writer};
use crate::projection::{STATE_VERSION, State};
use crate::stats::fingerprint::FingerprintKey;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, oneshot, watch};

/// How to run an engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the partitions live, one directory each.
    pub dir: PathBuf,
    /// Partitions; fixed when the directory is created. 1 to 64.
    pub partitions: u32,
    /// Commands that may wait in a partition's queue; beyond it callers are refused at once.
    pub queue_max: usize,
    /// Records between two snapshots.
    pub snapshot_every: u64,
    /// Text of the policy file; empty: the built-in policy.
    pub policy_text: String,
    /// Mode where the policy sets none.
    pub mode: Mode,
    /// Limits and times of decisions.
    pub settings: Settings,
    /// Settings of the logs.
    pub log: eventlog::Options,
    /// Keys the digests that stand in for masked secrets.
    pub mask_key: [u8; 32],
    /// Where the time comes from.
    pub clock: Clock,
}

/// A partition as its handle sees it.
pub(super) struct Partition {
    pub(super) commands: mpsc::Sender<Command>,
    log: Log,
    key: FingerprintKey,
    ingest: Ingest,
    shared: Arc<Shared>,
    tail: watch::Receiver<Position>,
    pub(super) hub: Arc<Hub>,
}

/// The engine.
#[derive(Clone)]
pub struct Engine {
    pub(super) partitions: Arc<Vec<Partition>>,
    pub(super) clock: Clock,
}

/// What opening a partition found.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Of the log.
    pub log: OpenReport,
    /// Of the state.
    pub state: Recovered,
}

impl Engine {
    /// Opens or creates the partitions, recovers their states, and starts their threads.
    pub fn open(options: &Options) -> Result<(Self, Vec<Opened>), Error> {
        let mut partitions = Vec::new();
        let mut reports = Vec::new();
        for number in 0..options.partitions {
            let (partition, report) = open_partition(options, number)?;
            partitions.push(partition);
            reports.push(report);
        }
        Ok((Self { partitions: Arc::new(partitions), clock: options.clock.clone() }, reports))
    }

    /// Now, by the engine's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn partition(&self, tenant: &str) -> &Partition {
        let hash = FingerprintKey::new([0; 16]).text(tenant);
        let index = hash % self.partitions.len() as u64;
        &self.partitions[index as usize]
    }

    /// Checks and masks the requests of a tenant.
    pub fn ingest(&self, tenant: &str) -> &Ingest {
        &self.partition(tenant).ingest
    }

    /// The log that a tenant's events are in.
    pub fn log(&self, tenant: &str) -> &Log {
        &self.partition(tenant).log
    }

    /// All logs.
    pub fn logs(&self) -> impl Iterator<Item = &Log> {
        self.partitions.iter().map(|partition| &partition.log)
    }

    /// The key of a tenant's hashes.
    pub fn key(&self, tenant: &str) -> FingerprintKey {
        self.partition(tenant).key
    }

    /// Follows the position up to which a tenant's log is durable.
    pub fn tail(&self, tenant: &str) -> watch::Receiver<Position> {
        self.partition(tenant).tail.clone()
    }

    /// Counters, summed over the partitions.
    pub fn counters(&self) -> Vec<CountersView> {
        self.partitions.iter().map(|partition| partition.shared.counters.view()).collect()
    }

    /// Counts what the callers of the engine see and it does not.
    pub fn count(&self, tenant: &str, counter: impl Fn(&super::Counters) -> &std::sync::atomic::AtomicU64) {
        add(counter(&self.partition(tenant).shared.counters), 1);
    }

    /// The mode of the policy in force for a tenant; single rules may set another one.
    pub fn mode(&self, tenant: &str) -> Mode {
        self.partition(tenant).shared.mode()
    }

    /// Whether every partition can write.
    pub fn is_writable(&self) -> bool {
        self.partitions.iter().all(|partition| {
            !partition.shared.failed.load(Ordering::Relaxed)
                && !partition.shared.disk_full.load(Ordering::Relaxed)
        })
    }

    /// For each partition the requests that wait, the most that may, and whether the disk is too full.
    pub(super) fn queues(&self) -> Vec<(usize, usize, bool)> {
        let queue = |partition: &Partition| {
            let most = partition.commands.max_capacity();
            let full = partition.shared.disk_full.load(Ordering::Relaxed);
            (most - partition.commands.capacity(), most, full)
        };
        self.partitions.iter().map(queue).collect()
    }

    /// Puts a command into the queue of a tenant's partition, or refuses it at once.
    pub fn submit(&self, tenant: &str, command: Command) {
        Self::submit_to(self.partition(tenant), command);
    }

    fn submit_to(partition: &Partition, command: Command) {
        match partition.commands.try_send(command) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(command)) => {
                add(&partition.shared.counters.requests_overloaded, 1);
                refuse(command, Error::Overloaded);
            }
            Err(mpsc::error::TrySendError::Closed(command)) => refuse(command, Error::Stopping),
        }
    }

    /// Puts a command into the queue and waits for a place there: for imports, which may wait.
    pub async fn submit_waiting(&self, tenant: &str, command: Command) {
        if let Err(mpsc::error::SendError(command)) = self.partition(tenant).commands.send(command).await {
            refuse(command, Error::Stopping);
        }
    }

    /// Submits a command that `make` builds around a reply, and waits for the answer.
    pub async fn call<T: Send + 'static>(
        &self,
        tenant: &str,
        make: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Error> {
        Self::call_to(self.partition(tenant), make).await
    }

    async fn call_to<T: Send + 'static>(
        partition: &Partition,
        make: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        let reply: Reply<T> = Box::new(move |answer| {
            let _gone = sender.send(answer);
        });
        Self::submit_to(partition, make(reply));
        receiver.await.unwrap_or(Err(Error::Stopping))
    }

    /// Asks about a tenant's state; the answer comes once everything it speaks of is durable.
    pub async fn ask<T: Send + 'static>(
        &self,
        tenant: &str,
        question: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, Error> {
        Self::ask_of(self.partition(tenant), question).await
    }

    /// Gives a partition a command and waits for the answer.
    pub(super) async fn call_numbered<T: Send + 'static>(
        &self,
        partition: usize,
        make: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Error> {
        let unknown = || Error::NotFound(format!("partition {partition}"));
        Self::call_to(self.partitions.get(partition).ok_or_else(unknown)?, make).await
    }

    /// Asks a partition's state.
    pub(super) async fn ask_partition<T: Send + 'static>(
        &self,
        partition: usize,
        question: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let unknown = || Error::NotFound(format!("partition {partition}"));
        Self::ask_of(self.partitions.get(partition).ok_or_else(unknown)?, question).await
    }

    async fn ask_of<T: Send + 'static>(
        partition: &Partition,
        question: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, Error> {
        Self::call_to(partition, |reply| {
            Command::Ask(Box::new(move |state| {
                let answer = state.map(question);
                Box::new(move |durable| reply(durable.and(answer)))
            }))
        })
        .await
    }

    /// Decides about rules for a tenant; answered once it is durable.
    pub async fn rule(&self, tenant: &str, ruling: Ruling) -> Result<Ruled, Error> {
        let now = self.now();
        self.call(tenant, |reply| Command::Rule(Box::new(ruling), now, reply)).await
    }

    /// Puts a policy into force for every tenant that has none of its own, in every partition. The first
    /// partition that refuses ends it; nothing has happened then, as all check the same text.
    pub async fn adopt_for_all(&self, text: &str, mode: Mode) -> Result<(), Error> {
        let now = self.now();
        let around = self.surroundings("").await?;
        for partition in self.partitions.iter() {
            let ruling = Ruling::Adopt {
                tenant: String::new(),
                text: text.to_owned(),
                mode,
                base: None,
                actor: String::new(),
                comment: String::new(),
                around: around.clone(),
            };
            Self::call_to(partition, |reply| Command::Rule(Box::new(ruling), now, reply)).await?;
        }
        Ok(())
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Number of the partition that a tenant lives in.
    pub fn partition_of(&self, tenant: &str) -> usize {
        self.log(tenant).partition() as usize
    }

    /// Follows the position up to which a partition's log is durable.
    pub fn partition_tail(&self, partition: usize) -> Option<watch::Receiver<Position>> {
        self.partitions.get(partition).map(|partition| partition.tail.clone())
    }

    /// Waits until a partition takes no more commands: it was stopped, or its thread died.
    pub async fn closed(&self) {
        let waiting = self.partitions.iter().map(|partition| Box::pin(partition.commands.closed()));
        let mut waiting: Vec<_> = waiting.collect();
        std::future::poll_fn(|context| {
            let over = waiting.iter_mut().any(|closed| closed.as_mut().poll(context).is_ready());
            if over { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }

    /// Folds the log of a tenant's partition anew, with a session that teaches nothing. Blocks for as long as
    /// that takes; give the outcome to [`Command::Unlearn`].
    pub fn relearning(
        &self,
        tenant: &str,
        session: StreamId,
        mut unlearned: BTreeSet<StreamId>,
    ) -> Result<Relearning, Error> {
        let log = self.log(tenant);
        if session.is_none() || log.stream_last(session)?.is_none() {
            return Err(Error::NotFound(format!("session {session}")));
        }
        unlearned.insert(session);
        let mut relearning = Relearning::new(tenant, unlearned);
        relearning.follow(log, log.position())?;
        Ok(relearning)
    }

    /// Finishes what is queued, writes a last snapshot, and stops every partition.
    pub async fn stop(&self) -> Result<(), Error> {
        for partition in self.partitions.iter() {
            let (sender, receiver) = oneshot::channel();
            let reply: Reply<Position> = Box::new(move |answer| {
                let _gone = sender.send(answer);
            });
            if partition.commands.send(Command::Stop(reply)).await.is_ok() {
                receiver.await.unwrap_or(Err(Error::Stopping))?;
            }
        }
        Ok(())
    }
}

/// The directory of a partition.
pub(super) fn partition_dir(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("p{number:03}"))
}

fn open_partition(options: &Options, number: u32) -> Result<(Partition, Opened), Error> {
    let dir = partition_dir(&options.dir, number);
    let log_options = eventlog::Options { partition: number, ..options.log.clone() };
    let (log, mut writer, log_report) = Log::open(&dir, &log_options)?;
    let (mut state, recovered) = recover(&log)?;
    begin(options, number, &log, &mut state, &mut writer)?;
    let book = book(&state, &log)?;

    let shared = Arc::new(Shared::default());
    add(&shared.counters.records_lost_accepted, log_report.records_lost());
    shared.set_mode(book.of("").mode);
    let (tail_sender, tail) = watch::channel(log.position());
    log.set_on_append(Box::new(move |position| {
        tail_sender.send_replace(position);
    }));
    let key = state.key();
    let ingest = Ingest {
        key,
        masker: Masker::new(options.mask_key),
        session_order: options.settings.session_order.clone(),
    };
    let (commands, receiver) = mpsc::channel(options.queue_max);
    let (handover, hub) = (Arc::new(Handover::default()), Arc::<Hub>::default());
    let worker = Worker {
        state,
        log: log.clone(),
        book,
        schemas: Schemas::default(),
        settings: options.settings.clone(),
        shared: Arc::clone(&shared),
        commands: receiver,
        handover: ClosesHandover(Arc::clone(&handover)),
        registry: Registry::default(),
        inferences: InferenceCache::default(),
        group: Group::default(),
        overseer: Overseer::new(options.clock.clone(), Arc::clone(&hub)),
    };
    let cannot = |fault| Error::Storage(format!("cannot start a thread: {fault}"));
    ticker::start(options.clock.clone(), &hub, commands.downgrade()).map_err(cannot)?;
    start(worker, writer, handover, options.snapshot_every)?;
    let partition = Partition { commands, log, key, ingest, shared, tail, hub };
    Ok((partition, Opened { log: log_report, state: recovered }))
}

/// Appends what a partition needs before its first call: its birth, and the policy if it changed.
fn begin(
    options: &Options,
    number: u32,
    log: &Log,
    state: &mut State,
    writer: &mut Writer,
) -> Result<(), Error> {
    let now = options.clock.now();
    let mut events = Vec::new();
    if state.position == Position::ZERO {
        let mut hash_key = [0; 16];
        getrandom::fill(&mut hash_key)
            .map_err(|fault| Error::Storage(format!("no random bytes: {fault}")))?;
        events.push(Event::LogCreated(LogCreated {
            log_id: log.log_id(),
            hash_key,
            partition: number,
            partitions: options.partitions,
        }));
    }
    let digest = policy_digest(&options.policy_text, options.mode);
    if state.policy_digest != digest {
        let text = options.policy_text.clone();
        let (tenant, actor, comment) = (String::new(), String::new(), String::new());
        let adopted = PolicyAdopted { text, mode: options.mode, digest, tenant, actor, comment };
        events.push(Event::PolicyAdopted(adopted));
    }
    for event in events {
        let recorded = Recorded {
            position: state.position.next(),
            record: Pending {
                stream: StreamId::NONE,
                revision: Revision::next(state.own_revision),
                event_time: now,
                receive_time: now,
                call: CallKey::NONE,
                causation: Position::ZERO,
                event,
                payload: Payload::default(),
            },
        };
        state.apply(&recorded);
        let mut group = Group::default();
        group.push(recorded);
        Press::default().commit(writer, &[group], &Shared::default())?;
    }
    Ok(())
}

/// Starts the three threads of a partition. The worker's outlives the others and says the last words.
fn start(worker: Worker, writer: Writer, handover: Arc<Handover>, snapshot_every: u64) -> Result<(), Error> {
    let name = |role: &str| format!("askance-{role}");
    let cannot = |fault: std::io::Error| Error::Storage(format!("cannot start a thread: {fault}"));
    let shared = Arc::clone(&worker.shared);
    let for_committer = Arc::clone(&shared);
    let committer = std::thread::Builder::new()
        .name(name("commit"))
        .spawn(move || {
            let handover = ClosesHandover(handover);
            committer::run(writer, &handover.0, &for_committer)
        })
        .map_err(cannot)?;
    let log = worker.log.clone();
    let for_keeper = Arc::clone(&shared);
    let keeper_log = log.clone();
    let keeper = std::thread::Builder::new()
        .name(name("keeper"))
        .spawn(move || snapshots::run(&keeper_log, &for_keeper, snapshot_every))
        .map_err(cannot)?;
    std::thread::Builder::new()
        .name(name("engine"))
        .spawn(move || {
            let (state, reply) = worker.run();
            shared.stopping.store(true, Ordering::Relaxed);
            keeper.thread().unpark();
            let outcome = committer
                .join()
                .map_err(|_| Error::Storage("the committer panicked".to_owned()))
                .and_then(|writer| farewell(&state, &log, writer, &shared));
            let _ended = keeper.join();
            // Let go of the log first: whoever waits may want to open it again.
            drop((state, log));
            if let Some(reply) = reply {
                reply(outcome);
            }
        })
        .map_err(cannot)?;
    Ok(())
}

/// The last snapshot, unless the state is ahead of the log.
fn farewell(state: &State, log: &Log, writer: Writer, shared: &Shared) -> Result<Position, Error> {
    if shared.failed.load(Ordering::Acquire) {
        let cause = log.writes_off().unwrap_or("see the log").to_owned();
        return Err(Error::WritesOff(cause));
    }
    log.snapshot_write(state.position, STATE_VERSION, &state.to_bytes())?;
    writer.close()?;
    Ok(state.position)
}
