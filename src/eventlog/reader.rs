//! Reading: by position, in order, with payloads.

use super::Error;
use super::error::Damage;
use super::frame::{RecordView, StoredRecord};
use super::keys::{self, Family};
use super::log::Log;
use super::page::{PayloadRef, Payloads, Records};
use super::store::{Store, point_reads, read_error, scan_reads};
use crate::domain::Position;
use rocksdb::{DBRawIterator, ReadOptions};
use std::ops::ControlFlow;

/// A record's payload, with its bytes checked against the record's commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadState {
    /// The bytes.
    Present(Vec<u8>),
    /// It was erased.
    Erased,
    /// The record never had one, or there is no such record.
    None,
}

impl Log {
    /// Up to `max_records` records from `from` on, in order, as long as they stay within `max_bytes` together; but one
    /// record at least, if there is any.
    pub fn read(
        &self,
        from: Position,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredRecord>, Error> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        if max_records == 0 {
            return Ok(records);
        }
        let last = Position::new(from.get().saturating_add(max_records as u64));
        self.scan_with(point_reads(), from, last, |record| {
            bytes += record.bytes().len();
            if records.len() == max_records || (bytes > max_bytes && !records.is_empty()) {
                return ControlFlow::Break(());
            }
            records.push(record.to_stored());
            ControlFlow::Continue(())
        })?;
        Ok(records)
    }

    /// Calls `f` with every record from `from` to `to` (or the tail, if that is earlier), in order, until it breaks.
    /// Each record's checksum and position are checked; the chain is not, which is for [`Log::verify`].
    pub fn scan(
        &self,
        from: Position,
        to: Position,
        f: impl FnMut(RecordView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.scan_with(scan_reads(), from, to, f)
    }

    fn scan_with(
        &self,
        options: ReadOptions,
        from: Position,
        to: Position,
        mut f: impl FnMut(RecordView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let to = to.min(self.position()).get();
        each_page(&self.shared.store, options, from.get(), to, |first, value| {
            each_record(first, value, from.get(), to, |record| Ok(f(record)))
        })
    }

    /// Like [`Log::scan`], with each record's payload beside it and no lookup a record. Payloads are not checked against
    /// their commitments.
    pub fn scan_payloads(
        &self,
        from: Position,
        to: Position,
        mut f: impl FnMut(RecordView<'_>, PayloadRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let to = to.min(self.position()).get();
        let mut beside = Beside::new(&self.shared.store);
        each_page(&self.shared.store, scan_reads(), from.get(), to, |first, value| {
            let mut payloads = beside.seek(first)?;
            each_record(first, value, from.get(), to, |record| {
                if !record.has_payload() {
                    return Ok(f(record, PayloadRef::None));
                }
                let at = record.position().get();
                let found = payloads.find(at).map_err(|damage| Error::corrupt("payload", at, damage))?;
                let payload = found.ok_or_else(|| Error::corrupt("payload", at, Damage::PayloadMissing))?;
                Ok(f(record, payload))
            })
        })
    }

    /// The record at a position, if there is one.
    pub fn get(&self, position: Position) -> Result<Option<StoredRecord>, Error> {
        if position == Position::ZERO || position > self.position() {
            return Ok(None);
        }
        self.fetch().record(position.get(), |record| record.to_stored()).map(Some)
    }

    /// The payload of the record at a position, checked against the record's commitment.
    pub fn payload(&self, position: Position) -> Result<PayloadState, Error> {
        if position == Position::ZERO || position > self.position() {
            return Ok(PayloadState::None);
        }
        let at = position.get();
        let mut fetch = self.fetch();
        let Some(commitment) = fetch.record(at, |record| record.commitment())? else {
            return Ok(PayloadState::None);
        };
        let key = keys::page(Position::new(fetch.first));
        let corrupt = |damage| Error::corrupt("payload", at, damage);
        let value = self.shared.store.get(Family::Payload, &key, at)?;
        let value = value.ok_or_else(|| corrupt(Damage::PayloadMissing))?;
        let found = Payloads::new(&value).and_then(|mut entries| entries.find(at)).map_err(corrupt)?;
        match found.ok_or_else(|| corrupt(Damage::PayloadMissing))? {
            PayloadRef::Present { bytes, .. }
                if found.is_some_and(|payload| payload.matches(&commitment)) =>
            {
                Ok(PayloadState::Present(bytes.to_vec()))
            }
            PayloadRef::Erased => Ok(PayloadState::Erased),
            _ => Err(corrupt(Damage::Commitment)),
        }
    }

    /// Point reads that remember the page they are in.
    pub(super) fn fetch(&self) -> Fetch<'_> {
        Fetch::new(&self.shared.store)
    }
}

/// Reads records one by one, quickly if they lie in the same page.
pub(super) struct Fetch<'a> {
    iter: DBRawIterator<'a>,
    /// First position of the page at hand.
    pub(super) first: u64,
    /// Position after the page at hand.
    end: u64,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { iter: store.iter(Family::Log, point_reads()), first: 0, end: 0 }
    }

    /// Calls `f` with the record at `position`, which must be in the log.
    pub(super) fn record<R>(
        &mut self,
        position: u64,
        f: impl FnOnce(RecordView<'_>) -> R,
    ) -> Result<R, Error> {
        self.seek(position)?;
        self.here(position).map(f)
    }

    /// Goes to the page of the record at `position`, which must be in the log; the page's first position.
    pub(super) fn seek(&mut self, position: u64) -> Result<u64, Error> {
        if (self.first..self.end).contains(&position) {
            return Ok(self.first);
        }
        let corrupt = |detail: &dyn std::fmt::Display| Error::corrupt("log", position, detail);
        self.end = 0;
        self.iter.seek_for_prev(keys::page(Position::new(position)));
        let Some((key, value)) = self.iter.item() else {
            self.iter.status().map_err(|source| read_error(Family::Log, position, source))?;
            return Err(corrupt(&"the record is missing"));
        };
        self.first = keys::parse_page(key).ok_or_else(|| corrupt(&"the key is damaged"))?;
        let records = Records::new(self.first, value).map_err(|damage| corrupt(&damage))?;
        self.end = self.first.saturating_add(u64::from(records.left()));
        Ok(self.first)
    }

    /// The record at `position`, in the page at hand.
    pub(super) fn here(&self, position: u64) -> Result<RecordView<'_>, Error> {
        let corrupt = |detail: &dyn std::fmt::Display| Error::corrupt("log", position, detail);
        let Some(value) = self.iter.value() else { return Err(corrupt(&"the record is missing")) };
        let mut records = Records::new(self.first, value).map_err(|damage| corrupt(&damage))?;
        if !records.skip_to(position).map_err(|damage| corrupt(&damage))? {
            return Err(corrupt(&"the record is missing"));
        }
        records.next().expect("a record is left").map_err(|damage| corrupt(&damage))
    }
}

/// The `payload` values beside a scan of `log`.
pub(super) struct Beside<'a> {
    iter: DBRawIterator<'a>,
    started: bool,
    /// The page asked for last.
    last: Option<u64>,
    /// Values passed over that belong to no page.
    pub(super) strays: u64,
}

impl<'a> Beside<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { iter: store.iter(Family::Payload, scan_reads()), started: false, last: None, strays: 0 }
    }

    /// The payloads of the page that starts at `first`. Must be called with ascending positions.
    pub(super) fn seek(&mut self, first: u64) -> Result<Payloads<'_>, Error> {
        if !self.started {
            self.iter.seek(keys::page(Position::new(first)));
            self.started = true;
        }
        while self.iter.key().and_then(keys::parse_page).is_some_and(|key| key < first) {
            self.strays += u64::from(self.last != self.iter.key().and_then(keys::parse_page));
            self.iter.next();
        }
        self.last = Some(first);
        match self.iter.item() {
            Some((key, value)) if keys::parse_page(key) == Some(first) => {
                Payloads::new(value).map_err(|damage| Error::corrupt("payload", first, damage))
            }
            Some(_) => Ok(Payloads::empty()),
            None => {
                self.iter.status().map_err(|source| read_error(Family::Payload, first, source))?;
                Ok(Payloads::empty())
            }
        }
    }
}

impl Beside<'_> {
    /// After the last page: the number of values up to `tail` that belong to no page.
    pub(super) fn finish(&mut self, tail: u64) -> Result<u64, Error> {
        if !self.started {
            self.iter.seek_to_first();
        }
        while let Some(key) = self.iter.key().and_then(keys::parse_page).filter(|key| *key <= tail) {
            self.strays += u64::from(self.last != Some(key));
            self.iter.next();
        }
        self.iter.status().map_err(|source| read_error(Family::Payload, tail, source))?;
        Ok(self.strays)
    }
}

/// Calls `f` with every page that holds records from `from` to `to`, which must all be in the log.
pub(super) fn each_page(
    store: &Store,
    options: ReadOptions,
    from: u64,
    to: u64,
    mut f: impl FnMut(u64, &[u8]) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let from = from.max(Position::FIRST.get());
    if from > to {
        return Ok(());
    }
    let mut iter = store.iter(Family::Log, options);
    iter.seek_for_prev(keys::page(Position::new(from)));
    // The position that the next page must hold (first of all) or start at (from then on).
    let (mut wanted, mut started) = (from, false);
    while wanted <= to {
        let corrupt = |damage| Error::corrupt("log", wanted, damage);
        let Some((key, value)) = iter.item() else {
            iter.status().map_err(|source| read_error(Family::Log, wanted, source))?;
            return Err(Error::corrupt("log", wanted, "the record is missing"));
        };
        let first = keys::parse_page(key).ok_or_else(|| corrupt(Damage::Length))?;
        if first > wanted || (started && first != wanted) {
            return Err(corrupt(Damage::Sequence { expected: wanted, found: first }));
        }
        let count = Records::new(first, value).map_err(corrupt)?.left();
        let end = first.saturating_add(u64::from(count));
        if end <= wanted {
            return Err(Error::corrupt("log", wanted, "the record is missing"));
        }
        if f(first, value)?.is_break() {
            return Ok(());
        }
        (wanted, started) = (end, true);
        iter.next();
    }
    Ok(())
}

/// Calls `f` with every record of a page from `from` to `to`.
pub(super) fn each_record(
    first: u64,
    value: &[u8],
    from: u64,
    to: u64,
    mut f: impl FnMut(RecordView<'_>) -> Result<ControlFlow<()>, Error>,
) -> Result<ControlFlow<()>, Error> {
    let corrupt = |at, damage| Error::corrupt("log", at, damage);
    let mut records = Records::new(first, value).map_err(|damage| corrupt(first, damage))?;
    records.skip_to(from).map_err(|damage| corrupt(from, damage))?;
    loop {
        let at = records.position();
        if at > to {
            return Ok(ControlFlow::Continue(()));
        }
        match records.next() {
            None => return Ok(ControlFlow::Continue(())),
            Some(record) => {
                if f(record.map_err(|damage| corrupt(at, damage))?)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }
}
