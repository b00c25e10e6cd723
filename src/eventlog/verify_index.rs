//! The part of `verify` that compares the indexes with the records.
//!
//! Both are added up as sums of keyed hashes, each in one pass in order, whatever the size. Only if the sums differ are
//! the entries looked up one by one.
//!
//! Deliberately absent: repair; opening with `rebuild_index` makes the indexes anew.

use super::Error;
use super::frame::RecordView;
use super::index::{self, Entry, StreamFrom};
use super::keys::{self, Family};
use super::reader::Fetch;
use super::verify::{Check, FAULTS_LISTED_MAX};
use crate::domain::{CallKey, Position, StreamId};
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;

impl Check<'_, '_> {
    /// Compares the indexes with the records, by their sums and if those differ one by one.
    pub(super) fn indexes(&mut self) -> Result<(), Error> {
        if !self.readable {
            self.report.fault("log", 0, "the indexes were not checked, because records are missing");
            return Ok(());
        }
        let (mut sums, mut count) = (Sums { state: self.sums.state.clone(), ..Sums::default() }, 0);
        let result = self.each_index_entry(|found| {
            sums.add(&found);
            count += 1;
            Ok(())
        });
        self.report.absorb(result)?;
        self.report.index_entries = count;
        if sums.same(&self.sums) {
            return Ok(());
        }
        let before = self.report.faults_total;
        self.wrong_entries()?;
        self.missing_entries()?;
        if self.report.faults_total == before {
            self.report.fault("stream", 0, "the indexes do not match the records");
        }
        Ok(())
    }

    /// Calls `f` with every index entry on disk up to `indexed_to`.
    fn each_index_entry(&self, mut f: impl FnMut(Found) -> Result<(), Error>) -> Result<(), Error> {
        let to = self.indexed_to;
        let damaged = |family: Family| Error::corrupt(family.name(), 0, "the index entry is damaged");
        let mut last = (StreamId::NONE, 0);
        self.each_value(Family::Stream, |key, value| {
            let (stream, first) = keys::parse_stream(key).ok_or_else(|| damaged(Family::Stream))?;
            let mut positions = Vec::new();
            if !index::each_of_stream(first, value, |revision, position| positions.push((revision, position)))
            {
                return Err(damaged(Family::Stream));
            }
            for (revision, position) in positions {
                if position <= to && (last.0 != stream || last.1 < position) {
                    f(Found::Stream(stream, revision, position))?;
                    last = (stream, position);
                }
            }
            Ok(())
        })?;
        self.each_value(Family::Call, |key, value| {
            let call = keys::parse_call(key).ok_or_else(|| damaged(Family::Call))?;
            let position = value.try_into().map(u64::from_le_bytes).map_err(|_| damaged(Family::Call))?;
            if position <= to { f(Found::Call(call, position)) } else { Ok(()) }
        })?;
        let mut last = ((0, 0), 0);
        self.each_value(Family::Tool, |key, value| {
            let (tool, hour, first) = keys::parse_tool(key).ok_or_else(|| damaged(Family::Tool))?;
            let mut positions = Vec::new();
            if !index::each_position(first, value, |position| positions.push(position)) {
                return Err(damaged(Family::Tool));
            }
            for position in positions {
                if position <= to && (last.0 != (tool, hour) || last.1 < position) {
                    f(Found::Tool(tool, hour, position))?;
                    last = ((tool, hour), position);
                }
            }
            Ok(())
        })
    }

    /// Names the index entries that point at a record without that key.
    fn wrong_entries(&mut self) -> Result<(), Error> {
        let (mut fetch, mut wrong) = (Fetch::new(&self.log.shared.store), Vec::new());
        let result = self.each_index_entry(|found| {
            let position = found.position();
            let right =
                position > 0 && fetch.record(position, |record| found.is_of(&Entry::of_stored(&record)))?;
            if !right && wrong.len() < FAULTS_LISTED_MAX {
                wrong.push((found.area(), position));
            }
            Ok(())
        });
        for (area, position) in wrong {
            self.report.fault(area, position, "the index points here, but the record has another key");
        }
        self.report.absorb(result)
    }

    /// Names the records that the indexes do not find.
    fn missing_entries(&mut self) -> Result<(), Error> {
        let (log, to) = (self.log, Position::new(self.indexed_to));
        let mut result = Ok(());
        log.scan(Position::FIRST, to, |record| {
            result = self.missing_of(&record);
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        result
    }

    fn missing_of(&mut self, record: &RecordView<'_>) -> Result<(), Error> {
        let (log, at, entry) = (self.log, record.position(), Entry::of_stored(record));
        let is_here = |found: &[Position]| found.first() == Some(&at);
        let missing = "the index does not find this record";
        match log.stream_positions(record.stream(), StreamFrom::Position(at), 1) {
            Ok(found) if is_here(&found) => {}
            Ok(_) => self.report.fault("stream", at.get(), missing),
            Err(error) => self.report.absorb(Err(error))?,
        }
        if let Some(call) = entry.call() {
            match log.find_call(call) {
                Ok(found) if found == Some(at) => {}
                Ok(_) => self.report.fault("call", at.get(), missing),
                Err(error) => self.report.absorb(Err(error))?,
            }
        }
        if let Some((tool, hour)) = entry.tool() {
            match log.tool_positions(tool, hour..=hour, usize::MAX) {
                Ok(found) if found.binary_search(&at).is_ok() => {}
                Ok(_) => self.report.fault("tool", at.get(), missing),
                Err(error) => self.report.absorb(Err(error))?,
            }
        }
        Ok(())
    }
}

/// An index entry on disk.
#[derive(Clone, Copy)]
enum Found {
    Stream(StreamId, u64, u64),
    Call(CallKey, u64),
    Tool(u64, i64, u64),
}

impl Found {
    const fn position(&self) -> u64 {
        match self {
            Self::Stream(_, _, position) | Self::Call(_, position) | Self::Tool(_, _, position) => *position,
        }
    }

    const fn area(&self) -> &'static str {
        match self {
            Self::Stream(..) => "stream",
            Self::Call(..) => "call",
            Self::Tool(..) => "tool",
        }
    }

    fn is_of(&self, entry: &Entry) -> bool {
        match self {
            Self::Stream(stream, revision, _) => (*stream, *revision) == entry.stream(),
            Self::Call(call, _) => Some(*call) == entry.call(),
            Self::Tool(tool, hour, _) => Some((*tool, *hour)) == entry.tool(),
        }
    }
}

/// Sums of keyed hashes over sets of index entries: equal for equal sets, whatever the order.
#[derive(Default)]
pub(super) struct Sums {
    state: RandomState,
    sum: u64,
    count: u64,
}

impl Sums {
    fn add(&mut self, found: &Found) {
        let hash = match found {
            Found::Stream(stream, revision, position) => {
                self.state.hash_one((0_u8, stream, revision, position))
            }
            Found::Call(call, position) => self.state.hash_one((1_u8, call, position)),
            Found::Tool(tool, hour, position) => self.state.hash_one((2_u8, tool, hour, position)),
        };
        self.sum = self.sum.wrapping_add(hash);
        self.count += 1;
    }

    /// Adds the entries that the indexes should have for a record.
    pub(super) fn add_record(&mut self, entry: &Entry) {
        let ((stream, revision), position) = (entry.stream(), entry.position);
        self.add(&Found::Stream(stream, revision, position));
        if let Some(call) = entry.call() {
            self.add(&Found::Call(call, position));
        }
        if let Some((tool, hour)) = entry.tool() {
            self.add(&Found::Tool(tool, hour, position));
        }
    }

    const fn same(&self, other: &Self) -> bool {
        self.sum == other.sum && self.count == other.count
    }
}
