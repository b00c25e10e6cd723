//! Makes what was decided durable, then lets the answers go: the only thread that appends.
//!
//! Group commit without waiting: whatever the worker has handed over while the last batch was synced
//! goes into the next one.

use super::Error;
use super::counters::{Counters, add};
use super::handover::Handover;
use super::partition::{Decided, Imported, Reply};
use crate::domain::decision::Mode;
use crate::domain::event::{Event, Recorded};
use crate::domain::position::Position;
use crate::eventlog::{self, Batch, NewRecord, Payload, Writer};
use crate::record::{encode, encode_payload};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Records in one append.
const RECORDS_MAX: usize = 2_048;
/// Bytes of payload from which a group is handed over, or an append is made.
const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// Pause between tries while the disk is full.
const DISK_FULL_PAUSE: Duration = Duration::from_millis(50);

/// What the threads of a partition tell each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// What is counted.
    pub counters: Counters,
    /// Set while the disk is too full to write: the worker refuses at once.
    pub disk_full: AtomicBool,
    /// Whether the policy in force only observes: an answer without a decision must then let the call go.
    pub observes: AtomicBool,
    /// Set while an append waits for room on the disk: until then the worker's state is ahead of the log, and
    /// nothing may be told from it.
    pub stalled: AtomicBool,
    /// Set when the partition is asked to stop.
    pub stopping: AtomicBool,
    /// Set for good when an append failed: the worker's state is ahead of the log.
    pub failed: AtomicBool,
}

impl Shared {
    /// Tells everyone the mode of the policy in force.
    pub(super) fn set_mode(&self, mode: Mode) {
        self.observes.store(mode == Mode::Observe, Ordering::Relaxed);
    }

    /// The mode of the policy in force.
    pub(super) fn mode(&self) -> Mode {
        if self.observes.load(Ordering::Relaxed) { Mode::Observe } else { Mode::Enforce }
    }
}

/// An answer that waits for durability.
pub(super) enum Deferred {
    /// To a caller of `Evaluate`.
    Decided(Reply<Decided>, Box<Decided>),
    /// To an import.
    Imported(Reply<Imported>, Imported),
    /// To anyone else.
    Other(Box<dyn FnOnce(Result<(), Error>) + Send>),
}

impl Deferred {
    /// Lets the answer go.
    pub(super) fn settle(self, outcome: &Result<(), Error>) {
        match (self, outcome) {
            (Self::Decided(reply, decided), Ok(())) => reply(Ok(*decided)),
            (Self::Decided(reply, _), Err(error)) => reply(Err(error.clone())),
            (Self::Imported(reply, imported), Ok(())) => reply(Ok(imported)),
            (Self::Imported(reply, _), Err(error)) => reply(Err(error.clone())),
            (Self::Other(reply), outcome) => reply(outcome.clone()),
        }
    }
}

/// What the worker hands over: events in order, session directory entries, and the answers that wait.
#[derive(Default)]
pub(super) struct Group {
    /// Events with their positions.
    pub records: Vec<Recorded>,
    /// Directory entries to write with them.
    pub directory: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Answers that wait for them.
    pub deferred: Vec<Deferred>,
    /// Bytes of their payloads.
    pub payload_bytes: usize,
}

impl Group {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.deferred.is_empty()
    }

    /// Whether it is large enough to be handed over at once.
    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= RECORDS_MAX / 2 || self.payload_bytes >= PAYLOAD_BYTES_MAX
    }

    /// Adds an event.
    pub(super) fn push(&mut self, recorded: Recorded) {
        let payload = &recorded.record.payload;
        self.payload_bytes += payload.arguments.len() + payload.user_request.len() + payload.result.len();
        self.records.push(recorded);
    }

    fn absorb(&mut self, other: Self) {
        self.records.extend(other.records);
        self.directory.extend(other.directory);
        self.deferred.extend(other.deferred);
        self.payload_bytes += other.payload_bytes;
    }
}

/// Runs until the worker hangs up; hands the writer back for the last words.
pub(super) fn run(mut writer: Writer, handover: &Handover, shared: &Shared) -> Writer {
    let mut failed: Option<Error> = None;
    loop {
        if handover.is_empty() && failed.is_none() {
            flush_index(&mut writer);
        }
        let Some(groups) = handover.take() else { return writer };
        let mut groups = groups.into_iter();
        while let Some(mut group) = groups.next() {
            while !group.is_full() {
                let Some(more) = groups.next() else { break };
                group.absorb(more);
            }
            settle(&mut writer, group, &mut failed, shared);
        }
    }
}

/// Writes index entries that wait, while nobody else does. A failure is met again by the next append.
fn flush_index(writer: &mut Writer) {
    if let Err(error) = writer.flush_index_if_due() {
        tracing::warn!(error = ?error.to_string(), "cannot write the index");
    }
}

/// Commits a group and lets its answers go.
fn settle(writer: &mut Writer, mut group: Group, failed: &mut Option<Error>, shared: &Shared) {
    let outcome = match &failed {
        Some(error) => Err(error.clone()),
        None => commit(writer, &mut group, shared),
    };
    if let Err(error) = &outcome {
        // The worker's state is ahead of the log now: nothing may follow, not even after a refusal
        // without effect. The worker sees it by its own flag.
        shared.failed.store(true, Ordering::Release);
        failed.get_or_insert_with(|| Error::WritesOff(error.to_string()));
    }
    group.deferred.into_iter().for_each(|deferred| deferred.settle(&outcome));
}

pub(super) fn commit(writer: &mut Writer, group: &mut Group, shared: &Shared) -> Result<(), Error> {
    if group.records.is_empty() {
        return Ok(());
    }
    let mut records = std::mem::take(&mut group.records).into_iter().peekable();
    let mut directory = std::mem::take(&mut group.directory);
    while records.peek().is_some() {
        let chunk: Vec<Recorded> = records.by_ref().take(RECORDS_MAX).collect();
        let before = Position::new(chunk[0].position.get() - 1);
        let count = chunk.len() as u64;
        let batch = Batch { records: to_records(chunk)?, directory: std::mem::take(&mut directory) };
        append(writer, before, &batch, shared)?;
        add(&shared.counters.batches_appended, 1);
        add(&shared.counters.records_appended, count);
    }
    Ok(())
}

/// Appends; while the disk is full, which has no effect, tries again until there is room.
fn append(writer: &mut Writer, before: Position, batch: &Batch, shared: &Shared) -> Result<(), Error> {
    loop {
        match writer.append(before, batch) {
            Ok(_) => {
                shared.stalled.store(false, Ordering::Relaxed);
                return Ok(());
            }
            Err(eventlog::Error::DiskFull { .. }) if !shared.stopping.load(Ordering::Relaxed) => {
                add(&shared.counters.appends_refused_disk_full, 1);
                shared.disk_full.store(true, Ordering::Relaxed);
                shared.stalled.store(true, Ordering::Relaxed);
                std::thread::sleep(DISK_FULL_PAUSE);
            }
            Err(error) => {
                let without_effect = error.is_without_effect();
                let error = Error::from(error);
                add(&shared.counters.appends_failed, 1);
                return Err(if without_effect { error } else { Error::Unknown(error.to_string()) });
            }
        }
    }
}

/// Events to records; payloads are salted with fresh random bytes, so that erasing a payload erases the
/// only way to test a guess.
fn to_records(chunk: Vec<Recorded>) -> Result<Vec<NewRecord>, Error> {
    let payloads = chunk.iter().filter(|recorded| !recorded.record.payload.is_empty()).count();
    let mut salts = vec![0_u8; payloads * 16];
    getrandom::fill(&mut salts).map_err(|fault| Error::Storage(format!("no random bytes: {fault}")))?;
    let mut salts = salts.chunks_exact(16);
    Ok(chunk
        .into_iter()
        .map(|recorded| {
            let record = recorded.record;
            let payload = (!record.payload.is_empty()).then(|| {
                let salt = salts.next().and_then(|salt| salt.try_into().ok()).expect("one salt a payload");
                Payload { salt, bytes: encode_payload(&record.payload) }
            });
            let tool = match &record.event {
                Event::CallProposed(proposed) => proposed.features.tool,
                _ => 0,
            };
            NewRecord {
                kind: record.event.kind(),
                stream: record.stream,
                revision: record.revision,
                event_time: record.event_time,
                receive_time: record.receive_time,
                call: record.call,
                tool,
                causation: record.causation,
                body: encode(&record.event),
                payload,
                introduces_call: tool != 0,
            }
        })
        .collect())
}
