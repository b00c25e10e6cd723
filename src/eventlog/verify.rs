//! Checking a whole log: everything that was promised about the bytes on disk.
//!
//! The records' checksums, positions, chain and revisions; every payload against its commitment; the indexes against the
//! records, both ways; snapshots against their digests; the anchor. A sound log is read once, in order, whatever its size.
//!
//! Blocks in the cache are not read from disk again: for a check of the disk, open the log anew.
//!
//! Deliberately absent: what bodies mean (the caller's hook may say), signatures, repair.

use super::anchor;
use super::error::Damage;
use super::frame::{Hash, RecordView};
use super::index::Entry;
use super::keys::{self, Family};
use super::log::Log;
use super::page::{PayloadRef, Payloads, Records};
use super::reader::Beside;
use super::store::{read_error, scan_reads};
use super::verify_index::Sums;
use super::{Error, recover, snapshot};
use crate::domain::{Position, StreamId};
use std::collections::HashMap;
use std::time::Duration;

/// Most faults that a report lists; beyond it they are only counted.
pub const FAULTS_LISTED_MAX: usize = 1000;
/// Most streams whose revisions are followed; records of further ones are counted as unchecked.
pub const STREAMS_FOLLOWED_MAX: usize = 1 << 20;

/// Something wrong in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where: a column family's name, `anchor`, or `caller` for the caller's own check.
    pub area: &'static str,
    /// The record concerned, or [`Position::ZERO`] if none is known.
    pub position: Position,
    /// What is wrong.
    pub what: String,
}

/// How far a check has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The position reached.
    pub done: Position,
    /// The last position to check.
    pub total: Position,
}

/// The caller's check of one record: what is wrong with it, if anything.
pub type RecordCheck<'a> = dyn FnMut(RecordView<'_>, PayloadRef<'_>) -> Option<String> + 'a;

/// What the caller adds to a check.
#[derive(Default)]
pub struct Hooks<'a> {
    /// Called after every page.
    pub progress: Option<&'a mut dyn FnMut(Progress)>,
    /// Called with every sound record in order. A caller that folds the state here can compare it with the snapshots
    /// ([`Log::snapshots`], [`Log::snapshot_read`]) when it reaches their positions.
    pub record: Option<&'a mut RecordCheck<'a>>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Records read.
    pub records: u64,
    /// Pages read.
    pub pages: u64,
    /// Bytes of records.
    pub bytes: u64,
    /// Payloads that match their commitment.
    pub payloads: u64,
    /// Payloads that were erased.
    pub payloads_erased: u64,
    /// Index entries compared with the records.
    pub index_entries: u64,
    /// Directory entries read.
    pub directory_entries: u64,
    /// Snapshots that match their digest.
    pub snapshots: u64,
    /// Snapshots that a crash cut short; they are not used.
    pub snapshots_incomplete: u64,
    /// Records whose revision was not checked, because there are too many streams.
    pub revisions_unchecked: u64,
    /// The newest record checked, and its hash.
    pub head: (Position, Hash),
    /// The position that the anchor confirms, if there is one.
    pub anchor: Option<Position>,
    /// The faults, up to [`FAULTS_LISTED_MAX`].
    pub faults: Vec<Fault>,
    /// Number of all faults.
    pub faults_total: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub const fn is_clean(&self) -> bool {
        self.faults_total == 0
    }

    pub(super) fn fault(&mut self, area: &'static str, position: u64, what: impl std::fmt::Display) {
        self.faults_total += 1;
        if self.faults.len() < FAULTS_LISTED_MAX {
            self.faults.push(Fault { area, position: Position::new(position), what: what.to_string() });
        }
    }

    /// Turns damage into a fault and lets other errors through.
    pub(super) fn absorb(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        match result {
            Err(Error::Corrupt { family, position, detail }) => {
                self.fault(family, position.get(), detail);
                Ok(())
            }
            other => other,
        }
    }
}

impl Log {
    /// Checks everything up to the tail. Damage is reported, not returned as an error.
    pub fn verify(&self, hooks: Hooks<'_>) -> Result<VerifyReport, Error> {
        let confirmed = self.anchor_reading()?;
        let (tail, _) = self.tail();
        let mut check = Check {
            log: self,
            hooks,
            tail: tail.get(),
            indexed_to: recover::indexed_to(&self.shared.store)?.min(tail).get(),
            confirmed: confirmed.newest,
            report: VerifyReport::default(),
            previous: Some([0; 32]),
            readable: true,
            revisions: HashMap::new(),
            sums: Sums::default(),
        };
        check.records()?;
        check.anchor(&confirmed);
        check.indexes()?;
        check.directory()?;
        check.snapshots()?;
        Ok(check.report)
    }

    /// What the anchor says, at a moment at which the tail has reached it (if it ever does).
    fn anchor_reading(&self) -> Result<anchor::Reading, Error> {
        if self.shared.anchor.is_none() {
            return Ok(self.shared.opened_with);
        }
        let reading = anchor::read(self.dir())?;
        if let Some(newest) = reading.newest.filter(|newest| newest.position > Position::ZERO) {
            // The writer moves the anchor a moment before the tail.
            let before = Position::new(newest.position.get() - 1);
            self.wait_past(before, Duration::from_secs(1));
        }
        Ok(reading)
    }
}

/// A check under way.
pub(super) struct Check<'l, 'h> {
    pub(super) log: &'l Log,
    hooks: Hooks<'h>,
    tail: u64,
    pub(super) indexed_to: u64,
    confirmed: Option<anchor::Anchor>,
    pub(super) report: VerifyReport,
    /// Hash of the record before, or none after damage.
    previous: Option<Hash>,
    /// Whether every record so far could be read.
    pub(super) readable: bool,
    /// Last revision of each stream.
    revisions: HashMap<StreamId, u64>,
    pub(super) sums: Sums,
}

impl Check<'_, '_> {
    /// Reads all records and payloads.
    fn records(&mut self) -> Result<(), Error> {
        let log = self.log;
        let mut beside = Beside::new(&log.shared.store);
        let mut iter = log.shared.store.iter(Family::Log, scan_reads());
        iter.seek_to_first();
        let mut expected = Position::FIRST.get();
        while expected <= self.tail {
            let Some((key, value)) = iter.item() else { break };
            let Some(first) = keys::parse_page(key) else {
                self.unreadable(expected, "a key is damaged");
                iter.next();
                continue;
            };
            if first > self.tail {
                break;
            }
            if first != expected {
                self.unreadable(expected, Damage::Sequence { expected, found: first });
            }
            let payloads = beside.seek(first).or_else(|error| {
                self.report.absorb(Err(error))?;
                Ok(Payloads::empty())
            })?;
            expected = self.page(first, value, payloads).max(expected);
            if let Some(progress) = &mut self.hooks.progress {
                progress(Progress { done: Position::new(expected - 1), total: Position::new(self.tail) });
            }
            iter.next();
        }
        if let Err(source) = iter.status() {
            self.readable = false;
            self.report.absorb(Err(read_error(Family::Log, expected, source)))?;
        } else if expected <= self.tail {
            self.unreadable(expected, format!("records up to {} are missing", self.tail));
        }
        let strays = beside.finish(self.tail).map(|strays| {
            if strays > 0 {
                self.report.fault("payload", 0, "there are payloads of no page");
            }
        });
        self.report.absorb(strays)?;
        self.report.head = (Position::new(expected - 1), self.previous.unwrap_or_default());
        Ok(())
    }

    /// Notes damage after which records are missing or the chain is interrupted.
    fn unreadable(&mut self, position: u64, what: impl std::fmt::Display) {
        self.report.fault("log", position, what);
        self.previous = None;
        self.readable = false;
    }

    /// Checks one page; returns the position after it.
    fn page(&mut self, first: u64, value: &[u8], mut payloads: Payloads<'_>) -> u64 {
        self.report.pages += 1;
        let mut records = match Records::new(first, value) {
            Ok(records) => records,
            Err(damage) => {
                self.unreadable(first, damage);
                return first + 1;
            }
        };
        let end = first.saturating_add(u64::from(records.left()));
        let (entries, mut used) = (payloads.left(), 0);
        loop {
            let at = records.position();
            match records.next() {
                None => break,
                Some(Ok(record)) => {
                    used += u32::from(record.has_payload());
                    self.record(record, &mut payloads);
                }
                Some(Err(damage)) => {
                    self.unreadable(at, damage);
                    // Behind a damaged record nobody knows where the next one starts.
                    return end;
                }
            }
        }
        if used != entries {
            self.report.fault(
                "payload",
                first,
                "the page has another number of payloads than its records say",
            );
        }
        end
    }

    fn record(&mut self, record: RecordView<'_>, payloads: &mut Payloads<'_>) {
        let at = record.position().get();
        self.report.records += 1;
        self.report.bytes += record.bytes().len() as u64;
        if self.previous.is_some_and(|previous| previous != record.previous_hash()) {
            self.report.fault("log", at, Damage::Chain);
        }
        let hash = record.hash();
        self.previous = Some(hash);
        if self.confirmed.is_some_and(|anchor| anchor.position.get() == at && anchor.hash != hash) {
            self.report.fault("anchor", at, "the anchor confirmed another record at this position");
        }
        self.revision(&record);
        if at <= self.indexed_to {
            self.sums.add_record(&Entry::of_stored(&record));
        }
        let payload = self.payload(&record, payloads);
        if let Some(check) = &mut self.hooks.record
            && let Some(what) = check(record, payload)
        {
            self.report.fault("caller", at, what);
        }
    }

    fn revision(&mut self, record: &RecordView<'_>) {
        let (stream, revision) = (record.stream(), record.revision().get());
        let room = self.revisions.len() < STREAMS_FOLLOWED_MAX;
        match self.revisions.get_mut(&stream) {
            Some(last) if *last + 1 == revision => *last = revision,
            None if revision == 1 && room => _ = self.revisions.insert(stream, revision),
            None if !room => self.report.revisions_unchecked += 1,
            found => {
                let expected = found.map_or(1, |last| *last + 1);
                let what = format!("revision {revision} of stream {stream} stands where {expected} belongs");
                self.report.fault("log", record.position().get(), what);
                self.revisions.insert(stream, revision);
            }
        }
    }

    fn payload<'b>(&mut self, record: &RecordView<'_>, payloads: &mut Payloads<'b>) -> PayloadRef<'b> {
        let (at, Some(commitment)) = (record.position().get(), record.commitment()) else {
            return PayloadRef::None;
        };
        match payloads.find(at) {
            Ok(Some(PayloadRef::Erased)) => {
                self.report.payloads_erased += 1;
                return PayloadRef::Erased;
            }
            Ok(Some(payload)) if payload.matches(&commitment) => {
                self.report.payloads += 1;
                return payload;
            }
            Ok(Some(_)) => self.report.fault("payload", at, Damage::Commitment),
            Ok(None) => self.report.fault("payload", at, Damage::PayloadMissing),
            Err(damage) => self.report.fault("payload", at, damage),
        }
        PayloadRef::None
    }

    fn anchor(&mut self, reading: &anchor::Reading) {
        if reading.slots_damaged > 0 {
            self.report.fault("anchor", 0, "a slot of the anchor is damaged");
        }
        let Some(newest) = reading.newest else { return };
        let at = newest.position.get();
        if newest.log != self.log.log_id()[..4] {
            self.report.fault("anchor", at, "the anchor belongs to another log");
        } else if at > self.tail {
            let what = format!("the log ends at position {} but this one was acknowledged before", self.tail);
            self.report.fault("anchor", at, what);
        } else {
            self.report.anchor = Some(newest.position);
        }
    }

    /// Calls `f` with every key and value of a column family.
    pub(super) fn each_value(
        &self,
        family: Family,
        mut f: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut iter = self.log.shared.store.iter(family, scan_reads());
        iter.seek_to_first();
        while let Some((key, value)) = iter.item() {
            f(key, value)?;
            iter.next();
        }
        iter.status().map_err(|source| read_error(family, 0, source))
    }

    fn directory(&mut self) -> Result<(), Error> {
        let mut count = 0;
        let result = self.each_value(Family::Directory, |_, _| {
            count += 1;
            Ok(())
        });
        self.report.directory_entries = count;
        self.report.absorb(result)
    }

    fn snapshots(&mut self) -> Result<(), Error> {
        let infos = match self.log.snapshots() {
            Ok(infos) => infos,
            Err(error) => return self.report.absorb(Err(error)),
        };
        for info in infos {
            if info.position > self.log.position() {
                self.report.fault(
                    "snapshot",
                    info.position.get(),
                    "a snapshot lies beyond the end of the log",
                );
            }
            match self.log.snapshot_read(info.position) {
                Ok(_) => self.report.snapshots += 1,
                Err(Error::Corrupt { detail, .. }) if detail == snapshot::INCOMPLETE => {
                    self.report.snapshots_incomplete += 1;
                }
                Err(error) => self.report.absorb(Err(error))?,
            }
        }
        Ok(())
    }
}
