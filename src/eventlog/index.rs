//! The indexes by stream, call and tool: kept in memory first, written in chunks later.
//!
//! An index entry a record would triple the cost of a write. So the newest entries wait in memory and go to disk
//! together; `indexed_to` in `meta` says how far. Nothing is lost with the memory: opening the log reads the records
//! after `indexed_to` again. Readers look at both, memory first, so an entry on its way is never missed.
//!
//! ```text
//! stream value: varint revision of the chunk's first record, then per further record varint (position - the one before)
//! call value:   u64 little endian position
//! tool value:   per record after the first varint (position - the one before)
//! ```
//!
//! The first position of a chunk is in its key. Revisions in a chunk go up by one. A varint has seven bits a byte, the
//! lowest first, the top bit set on all bytes but the last.
//!
//! Deliberately absent: indexes over what bodies say.

use super::frame::{NewRecord, RecordView};
use super::keys::{self, Family, hour_of};
use super::log::{Log, Shared};
use super::store::{Store, point_reads, read_error};
use super::writer::BATCH_RECORDS_MAX;
use super::{Error, StoredRecord};
use crate::domain::stream::BuildKeyHasher;
use crate::domain::{CallKey, Position, Revision, StreamId};
use rocksdb::WriteBatch;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

/// From so many waiting records on, [`super::Writer::flush_index_if_due`] writes their entries.
pub const INDEX_DUE_RECORDS: usize = 512;
/// From so many waiting records on, an append takes their entries along. Fewer would make shorter chunks, more would make
/// that one append slower than the others.
pub const INDEX_WRITE_RECORDS: usize = 2048;
/// Most records whose index entries wait in memory.
pub const INDEX_PENDING_MAX: usize = INDEX_WRITE_RECORDS + BATCH_RECORDS_MAX;

/// Where to start in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFrom {
    /// With the first record at or after this position.
    Position(Position),
    /// With the first record at or after this revision.
    Revision(Revision),
}

impl StreamFrom {
    const fn admits(self, revision: u64, position: u64) -> bool {
        match self {
            Self::Position(from) => position >= from.get(),
            Self::Revision(from) => revision >= from.get(),
        }
    }
}

/// What the indexes need to know of a record.
pub(super) struct Entry {
    pub(super) position: u64,
    stream: StreamId,
    revision: u64,
    introduces: Option<(CallKey, u64, i64)>,
}

impl Entry {
    pub(super) fn of_new(record: &NewRecord, position: u64) -> Self {
        let introduces = (record.call, record.tool, hour_of(record.receive_time));
        Self {
            position,
            stream: record.stream,
            revision: record.revision.get(),
            introduces: record.introduces_call.then_some(introduces),
        }
    }

    pub(super) fn of_stored(record: &RecordView<'_>) -> Self {
        let introduces = (record.call(), record.tool(), hour_of(record.receive_time()));
        Self {
            position: record.position().get(),
            stream: record.stream(),
            revision: record.revision().get(),
            introduces: record.introduces_call().then_some(introduces),
        }
    }

    /// The stream, and the record's place in it.
    pub(super) const fn stream(&self) -> (StreamId, u64) {
        (self.stream, self.revision)
    }

    /// The call that this record makes findable.
    pub(super) fn call(&self) -> Option<CallKey> {
        self.introduces.map(|(call, ..)| call).filter(|call| !call.is_none())
    }

    /// The tool and hour under which this record is found.
    pub(super) fn tool(&self) -> Option<(u64, i64)> {
        self.introduces.map(|(_, tool, hour)| (tool, hour)).filter(|(tool, _)| *tool != 0)
    }
}

/// Records of one stream that wait for their index entry.
#[derive(Debug)]
struct Chunk {
    revision: u64,
    positions: Vec<u64>,
}

/// Index entries in memory.
#[derive(Debug, Default)]
pub(super) struct Pending {
    records: usize,
    streams: HashMap<StreamId, Chunk, BuildKeyHasher>,
    calls: HashMap<CallKey, u64, BuildKeyHasher>,
    tools: BTreeMap<(u64, i64), Vec<u64>>,
}

impl Pending {
    /// Number of records that wait.
    pub(super) const fn records(&self) -> usize {
        self.records
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        self.records += 1;
        let chunk = self
            .streams
            .entry(entry.stream)
            .or_insert_with(|| Chunk { revision: entry.revision, positions: Vec::with_capacity(4) });
        chunk.positions.push(entry.position);
        if let Some(call) = entry.call() {
            self.calls.entry(call).or_insert(entry.position);
        }
        if let Some(key) = entry.tool() {
            self.tools.entry(key).or_default().push(entry.position);
        }
    }

    pub(super) fn clear(&mut self) {
        self.records = 0;
        self.streams.clear();
        self.calls.clear();
        self.tools.clear();
    }

    /// Puts all entries and `indexed_to` into a batch: in the order of their keys, since RocksDB's memory takes
    /// neighbours at half the price.
    pub(super) fn put_into(&self, batch: &mut WriteBatch, store: &Store, indexed_to: Position) {
        let mut value = Vec::new();
        let family = store.cf(Family::Stream);
        let mut streams: Vec<_> = self.streams.iter().collect();
        streams.sort_unstable_by_key(|(stream, _)| **stream);
        for (stream, chunk) in streams {
            value.clear();
            push_varint(&mut value, chunk.revision);
            push_deltas(&mut value, &chunk.positions);
            batch.put_cf(family, keys::stream(stream, Position::new(chunk.positions[0])), &value);
        }
        let family = store.cf(Family::Call);
        let mut calls: Vec<_> = self.calls.iter().collect();
        calls.sort_unstable();
        for (call, position) in calls {
            batch.put_cf(family, keys::call(call), position.to_le_bytes());
        }
        let family = store.cf(Family::Tool);
        for ((tool, hour), positions) in &self.tools {
            value.clear();
            push_deltas(&mut value, positions);
            batch.put_cf(family, keys::tool(*tool, *hour, Position::new(positions[0])), &value);
        }
        batch.put_cf(store.cf(Family::Meta), keys::META_INDEXED_TO, indexed_to.get().to_le_bytes());
    }
}

fn push_deltas(out: &mut Vec<u8>, positions: &[u64]) {
    for pair in positions.windows(2) {
        push_varint(out, pair[1] - pair[0]);
    }
}

fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Calls `f` with every position of a chunk; false if the bytes are damaged.
pub(super) fn each_position(first: u64, mut deltas: &[u8], mut f: impl FnMut(u64)) -> bool {
    let mut position = first;
    f(position);
    while !deltas.is_empty() {
        match take_varint(&mut deltas).and_then(|delta| position.checked_add(delta.max(1))) {
            Some(next) => position = next,
            None => return false,
        }
        f(position);
    }
    true
}

/// Calls `f` with every revision and position of a stream's chunk; false if the bytes are damaged.
pub(super) fn each_of_stream(first: u64, mut value: &[u8], mut f: impl FnMut(u64, u64)) -> bool {
    let Some(mut revision) = take_varint(&mut value) else { return false };
    each_position(first, value, |position| {
        f(revision, position);
        revision = revision.saturating_add(1);
    })
}

fn call_position(bytes: &[u8]) -> Result<Position, Error> {
    bytes
        .try_into()
        .map(|bytes| Position::new(u64::from_le_bytes(bytes)))
        .map_err(|_| damaged(Family::Call, 0))
}

fn damaged(family: Family, at: u64) -> Error {
    Error::corrupt(family.name(), at, "the index entry is damaged")
}

impl Log {
    /// Up to `max` records of a stream in order, from `from`.
    pub fn stream(&self, stream: StreamId, from: StreamFrom, max: usize) -> Result<Vec<StoredRecord>, Error> {
        let positions = self.stream_positions(stream, from, max)?;
        let mut fetch = self.fetch();
        positions.into_iter().map(|at| fetch.record(at.get(), |record| record.to_stored())).collect()
    }

    /// Positions of up to `max` records of a stream in order, from `from`, without reading the records.
    pub fn stream_positions(
        &self,
        stream: StreamId,
        from: StreamFrom,
        max: usize,
    ) -> Result<Vec<Position>, Error> {
        let tail = self.position().get();
        // Memory before disk: an entry that moves in between is then seen twice, never missed.
        let mut waiting = Vec::new();
        if let Some(chunk) = self.shared.pending().streams.get(&stream) {
            let numbered = (chunk.revision..).zip(&chunk.positions);
            waiting.extend(numbered.filter(|(r, p)| from.admits(*r, **p)).map(|(_, p)| *p));
        }
        let mut found = Ascending::new(tail, max);
        self.shared.stream_on_disk(&stream, from, &mut found)?;
        waiting.into_iter().for_each(|position| found.push(position));
        Ok(found.into_positions())
    }

    /// Revision and position of a stream's last record, if it has any.
    pub fn stream_last(&self, stream: StreamId) -> Result<Option<(Revision, Position)>, Error> {
        if let Some(chunk) = self.shared.pending().streams.get(&stream) {
            let revision = Revision::new(chunk.revision + chunk.positions.len() as u64 - 1);
            return Ok(chunk.positions.last().map(|position| (revision, Position::new(*position))));
        }
        let mut iter = self.shared.store.iter(Family::Stream, point_reads());
        iter.seek_for_prev(keys::stream(&stream, Position::new(u64::MAX)));
        let chunk = iter.item().and_then(|(key, value)| Some((keys::parse_stream(key)?, value)));
        let Some(((_, first), value)) = chunk.filter(|((id, _), _)| *id == stream) else {
            return iter.status().map(|()| None).map_err(|source| read_error(Family::Stream, 0, source));
        };
        let mut last = None;
        let whole = each_of_stream(first, value, |revision, position| {
            last = Some((Revision::new(revision), Position::new(position)));
        });
        if whole { Ok(last) } else { Err(damaged(Family::Stream, first)) }
    }

    /// The position of the record that introduced a call.
    pub fn find_call(&self, call: CallKey) -> Result<Option<Position>, Error> {
        if let Some(position) = self.shared.pending().calls.get(&call) {
            return Ok(Some(Position::new(*position)));
        }
        let value = self.shared.store.get(Family::Call, &keys::call(&call), 0)?;
        value.map(|bytes| call_position(&bytes)).transpose()
    }

    /// The same for several calls, in their order: cheaper than one by one.
    pub fn find_calls(&self, calls: &[CallKey]) -> Result<Vec<Option<Position>>, Error> {
        // Memory before disk, as everywhere: what moves in between is found twice.
        let waiting: Vec<_> = {
            let pending = self.shared.pending();
            calls.iter().map(|call| pending.calls.get(call).copied().map(Position::new)).collect()
        };
        let keys: Vec<[u8; 16]> = calls.iter().map(keys::call).collect();
        let stored = self.shared.store.get_all(Family::Call, &keys)?;
        let found = waiting.into_iter().zip(stored).map(|(waiting, stored)| match (waiting, stored) {
            (Some(position), _) => Ok(Some(position)),
            (None, stored) => stored.map(|bytes| call_position(&bytes)).transpose(),
        });
        found.collect()
    }

    /// Positions of up to `max` records that introduced a call of this tool, by hour of receipt (hours since 1970, see
    /// [`keys::hour_of`]) and then by position.
    pub fn tool_positions(
        &self,
        tool: u64,
        hours: RangeInclusive<i64>,
        max: usize,
    ) -> Result<Vec<Position>, Error> {
        let tail = self.position().get();
        if hours.is_empty() {
            return Ok(Vec::new());
        }
        let mut by_hour: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        for ((_, hour), positions) in
            self.shared.pending().tools.range((tool, *hours.start())..=(tool, *hours.end()))
        {
            by_hour.insert(*hour, positions.clone());
        }
        let mut found = Vec::new();
        let mut iter = self.shared.store.iter(Family::Tool, point_reads());
        iter.seek(keys::tool(tool, *hours.start(), Position::ZERO));
        let mut current: Option<(i64, Ascending)> = None;
        while found.len() < max {
            let next = iter.item().and_then(|(key, value)| Some((keys::parse_tool(key)?, value)));
            let next = next.filter(|((of, hour, _), _)| *of == tool && hours.contains(hour));
            let hour = next.map(|((_, hour, _), _)| hour);
            // An hour is done once the disk moves on: then come its positions in memory, and hours only in memory.
            if let Some((done, mut positions)) = current.take_if(|(at, _)| Some(*at) != hour) {
                by_hour.remove(&done).into_iter().flatten().for_each(|position| positions.push(position));
                found.extend(positions.into_positions());
            }
            let limit = hour.unwrap_or(i64::MAX);
            while let Some(entry) =
                by_hour.first_entry().filter(|entry| *entry.key() < limit || hour.is_none())
            {
                let mut positions = Ascending::new(tail, max);
                entry.remove().into_iter().for_each(|position| positions.push(position));
                found.extend(positions.into_positions());
            }
            let Some(((_, hour, first), value)) = next else { break };
            let (_, positions) = current.get_or_insert_with(|| (hour, Ascending::new(tail, max)));
            if !each_position(first, value, |position| positions.push(position)) {
                return Err(damaged(Family::Tool, first));
            }
            iter.next();
        }
        iter.status().map_err(|source| read_error(Family::Tool, 0, source))?;
        found.truncate(max);
        Ok(found)
    }
}

impl Shared {
    fn stream_on_disk(
        &self,
        stream: &StreamId,
        from: StreamFrom,
        found: &mut Ascending,
    ) -> Result<(), Error> {
        let mut iter = self.store.iter(Family::Stream, point_reads());
        let is_ours =
            |key: &[u8]| keys::parse_stream(key).filter(|(id, _)| id == stream).map(|(_, first)| first);
        if let StreamFrom::Position(position) = from {
            iter.seek_for_prev(keys::stream(stream, position));
        }
        if iter.key().and_then(is_ours).is_none() {
            iter.seek(keys::stream(stream, Position::ZERO));
        }
        while let Some((first, value)) = iter.item().and_then(|(key, value)| Some((is_ours(key)?, value))) {
            let whole = each_of_stream(first, value, |revision, position| {
                if from.admits(revision, position) {
                    found.push(position);
                }
            });
            if !whole {
                return Err(damaged(Family::Stream, first));
            }
            if found.is_full() {
                return Ok(());
            }
            iter.next();
        }
        iter.status().map_err(|source| read_error(Family::Stream, 0, source))
    }
}

/// Collects positions that go up, up to a number and a last position; repeats are dropped.
struct Ascending {
    positions: Vec<Position>,
    last: Position,
    max: usize,
}

impl Ascending {
    const fn new(last: u64, max: usize) -> Self {
        Self { positions: Vec::new(), last: Position::new(last), max }
    }

    fn push(&mut self, position: u64) {
        let position = Position::new(position);
        let newer = self.positions.last().is_none_or(|last| *last < position);
        if newer && position <= self.last && !self.is_full() {
            self.positions.push(position);
        }
    }

    const fn is_full(&self) -> bool {
        self.positions.len() >= self.max
    }

    fn into_positions(self) -> Vec<Position> {
        self.positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_chunk() {
        let mut value = Vec::new();
        push_varint(&mut value, 300);
        push_deltas(&mut value, &[10, 11, 400]);
        assert_eq!(value, [0xac, 0x02, 0x01, 0x85, 0x03]);
        let mut read = Vec::new();
        assert!(each_of_stream(10, &value, |revision, position| read.push((revision, position))));
        assert_eq!(read, [(300, 10), (301, 11), (302, 400)]);
    }

    #[test]
    fn damaged_chunks_are_noticed() {
        assert!(!each_position(1, &[0x80], |_| ()));
        assert!(!each_position(1, &[0xff; 10], |_| ()));
        assert!(!each_position(u64::MAX, &[1], |_| ()));
        assert!(!each_of_stream(1, &[], |_, _| ()));
    }

    proptest! {
        #[test]
        fn chunks_round_trip(first in 1u64..1 << 60, steps in prop::collection::vec(1u64..1 << 40, 0..50)) {
            let mut positions = vec![first];
            steps.iter().for_each(|step| positions.push(positions[positions.len() - 1] + step));
            let mut value = Vec::new();
            push_deltas(&mut value, &positions);
            let mut read = Vec::new();
            prop_assert!(each_position(first, &value, |position| read.push(position)));
            prop_assert_eq!(read, positions);
        }
    }
}
