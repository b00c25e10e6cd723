//! Makes what was decided durable, then lets the answers go: the only thread that appends.
//!
//! Group commit without waiting: whatever the worker has handed over while the last batch was synced
//! goes into the next one. The worker hands over when it has nothing left to do, or earlier when nothing is
//! being synced, so that disk and worker work at the same time.

use super::Error;
use super::counters::{Counters, add};
use super::handover::Handover;
use super::partition::{Decided, Imported, Reply};
use crate::domain::decision::Mode;
use crate::domain::event::{Event, Recorded};
use crate::domain::position::Position;
use crate::eventlog::{self, Batch, NewRecord, Payload, Writer};
use crate::record::{encode_into, encode_payload_into};
use crate::telemetry::SPANS;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Records in one append.
const RECORDS_MAX: usize = 2_048;
/// Records for which a sync is started though more are waiting to be decided: a sync costs about as much
/// processor time as deciding eight calls.
const RECORDS_WORTH_A_SYNC: usize = 48;
/// Bytes of payload from which a group is handed over, or an append is made.
const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// Bytes of buffers kept from one append to the next.
const BYTES_KEPT_MAX: usize = 4 << 20;

/// How long nothing may come before index entries that wait are written on their own: under load they ride with
/// the appends, and a sync of their own would hold the calls up.
const QUIET: Duration = Duration::from_millis(20);

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
    Decided(Reply<Arc<Decided>>, Arc<Decided>),
    /// To an import.
    Imported(Reply<Imported>, Imported),
    /// To anyone else.
    Other(Box<dyn FnOnce(Result<(), Error>) + Send>),
}

impl Deferred {
    /// Lets the answer go.
    pub(super) fn settle(self, outcome: &Result<(), Error>) {
        match (self, outcome) {
            (Self::Decided(reply, decided), Ok(())) => reply(Ok(decided)),
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
    /// Nothing in it, but its memory.
    fn emptied(mut self) -> Self {
        self.records.clear();
        self.directory.clear();
        self.deferred.clear();
        self.payload_bytes = 0;
        self
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.deferred.is_empty()
    }

    /// Whether it is worth a sync of its own when nothing else is being synced.
    pub(super) fn is_worth_a_sync(&self) -> bool {
        self.records.len() >= RECORDS_WORTH_A_SYNC
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
}

/// Runs until the worker hangs up; hands the writer back for the last words.
pub(super) fn run(mut writer: Writer, handover: &Handover, shared: &Shared) -> Writer {
    let mut press = Press::default();
    let mut failed: Option<Error> = None;
    loop {
        if failed.is_none() && writer.is_index_due() && handover.is_quiet_for(QUIET) {
            flush_index(&mut writer);
        }
        let Some(mut groups) = handover.take() else { return writer };
        while !groups.is_empty() {
            let together = together(&groups);
            settle(&mut writer, &mut press, &mut groups[..together], &mut failed, shared);
            groups.drain(..together).for_each(|group| handover.give_back(group.emptied()));
        }
    }
}

/// How many of the groups, from the first on, go into one append.
fn together(groups: &[Group]) -> usize {
    let (mut records, mut bytes) = (0, 0);
    let fits = |group: &&Group| {
        let room = records < RECORDS_MAX / 2 && bytes < PAYLOAD_BYTES_MAX;
        records += group.records.len();
        bytes += group.payload_bytes;
        room && records <= RECORDS_MAX
    };
    groups.iter().take_while(fits).count().max(1)
}

/// Writes index entries that wait, while nobody else has something to write. A failure is met again by the next append.
fn flush_index(writer: &mut Writer) {
    if let Err(error) = writer.flush_index_if_due() {
        tracing::warn!(error = ?error.to_string(), "cannot write the index");
    }
}

/// Commits groups and lets their answers go.
fn settle(
    writer: &mut Writer,
    press: &mut Press,
    groups: &mut [Group],
    failed: &mut Option<Error>,
    shared: &Shared,
) {
    let outcome = match &failed {
        Some(error) => Err(error.clone()),
        None => press.commit(writer, groups, shared),
    };
    if let Err(error) = &outcome {
        // The worker's state is ahead of the log now: nothing may follow, not even after a refusal
        // without effect. The worker sees it by its own flag.
        shared.failed.store(true, Ordering::Release);
        failed.get_or_insert_with(|| Error::WritesOff(error.to_string()));
    }
    for group in groups {
        group.deferred.drain(..).for_each(|deferred| deferred.settle(&outcome));
    }
}

/// Makes batches of groups. Their memory is used again and again.
#[derive(Default)]
pub(super) struct Press {
    batch: Batch,
    /// Records that are not in use, with their buffers.
    idle: Vec<NewRecord>,
    /// Buffers of payloads that are not in use.
    spare: Vec<Payload>,
}

impl Press {
    /// Appends the records of these groups, in batches no larger than an append may be.
    pub(super) fn commit(
        &mut self,
        writer: &mut Writer,
        groups: &[Group],
        shared: &Shared,
    ) -> Result<(), Error> {
        let _span = tracing::trace_span!(target: SPANS, "commit", groups = groups.len()).entered();
        let mut records = groups.iter().flat_map(|group| &group.records).peekable();
        let mut directory = groups.iter().flat_map(|group| &group.directory).cloned().collect();
        while let Some(first) = records.peek() {
            let before = Position::new(first.position.get() - 1);
            let mut count = 0;
            while let Some(recorded) = records.next_if(|_| count < RECORDS_MAX) {
                if count == self.batch.records.len() {
                    self.batch.records.push(self.idle.pop().unwrap_or_default());
                }
                make_record(recorded, &mut self.batch.records[count], &mut self.spare);
                count += 1;
            }
            self.idle.extend(self.batch.records.drain(count..));
            self.batch.directory = std::mem::take(&mut directory);
            salt(&mut self.batch.records)?;
            append(writer, before, &self.batch, shared)?;
            add(&shared.counters.batches_appended, 1);
            add(&shared.counters.records_appended, count as u64);
        }
        let records = self.batch.records.iter().chain(&self.idle);
        let kept = records.map(|record| record.body.capacity() + payload_capacity(record));
        if kept.sum::<usize>() + self.spare.iter().map(|payload| payload.bytes.capacity()).sum::<usize>()
            > BYTES_KEPT_MAX
        {
            *self = Self::default();
        }
        Ok(())
    }
}

fn payload_capacity(record: &NewRecord) -> usize {
    record.payload.as_ref().map_or(0, |payload| payload.bytes.capacity())
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

/// An event as a record, in the memory of an earlier one.
fn make_record(recorded: &Recorded, out: &mut NewRecord, spare: &mut Vec<Payload>) {
    let record = &recorded.record;
    let tool = match &record.event {
        Event::CallProposed(proposed) => proposed.features.tool,
        _ => 0,
    };
    encode_into(&record.event, &mut out.body);
    if record.payload.is_empty() {
        spare.extend(out.payload.take());
    } else {
        let payload = out.payload.get_or_insert_with(|| spare.pop().unwrap_or_default());
        encode_payload_into(&record.payload, &mut payload.bytes);
    }
    out.kind = record.event.kind();
    out.stream = record.stream;
    out.revision = record.revision;
    out.event_time = record.event_time;
    out.receive_time = record.receive_time;
    out.call = record.call;
    out.tool = tool;
    out.causation = record.causation;
    out.introduces_call = tool != 0;
}

/// Payloads are salted with fresh random bytes, so that erasing a payload erases the only way to test a guess.
fn salt(records: &mut [NewRecord]) -> Result<(), Error> {
    let payloads = records.iter().filter(|record| record.payload.is_some()).count();
    let mut salts = vec![[0_u8; 16]; payloads];
    getrandom::fill(salts.as_flattened_mut())
        .map_err(|fault| Error::Storage(format!("no random bytes: {fault}")))?;
    let payloads = records.iter_mut().filter_map(|record| record.payload.as_mut());
    payloads.zip(salts).for_each(|(payload, salt)| payload.salt = salt);
    Ok(())
}
