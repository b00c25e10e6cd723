//! Reading many records that need not lie side by side, with their payloads: the timeline of a session.
//!
//! One cursor goes along the pages of records and another along the pages of payloads; a page is looked up
//! once as long as the records asked for lie in it, and no record is copied.

use super::Error;
use super::error::Damage;
use super::frame::{Hash, RecordView};
use super::keys::{self, Family};
use super::log::Log;
use super::page::{PayloadRef, Payloads};
use super::store::{Store, point_reads, read_error};
use crate::domain::Position;
use rocksdb::DBRawIterator;
use std::ops::ControlFlow;

impl Log {
    /// Calls `f` with the record at each of these positions, until it breaks; those that are not in the log are
    /// passed over. With `payloads` each record's payload is beside it, checked against the record's
    /// commitment; without, all are [`PayloadRef::None`]. Quick if the positions ascend.
    pub fn visit(
        &self,
        positions: impl IntoIterator<Item = Position>,
        payloads: bool,
        mut f: impl FnMut(RecordView<'_>, PayloadRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut fetch = self.fetch();
        let mut beside = payloads.then(|| PayloadCursor::new(&self.shared.store));
        let tail = self.position();
        for position in positions {
            if position == Position::ZERO || position > tail {
                continue;
            }
            let at = position.get();
            let page = fetch.seek(at)?;
            let record = fetch.here(at)?;
            let payload = match (&mut beside, record.commitment()) {
                (Some(beside), Some(commitment)) => beside.payload(page, at, &commitment)?,
                _ => PayloadRef::None,
            };
            if f(record, payload).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Looks payloads up page by page.
struct PayloadCursor<'a> {
    iter: DBRawIterator<'a>,
    /// The page at hand.
    page: Option<u64>,
}

impl<'a> PayloadCursor<'a> {
    fn new(store: &'a Store) -> Self {
        Self { iter: store.iter(Family::Payload, point_reads()), page: None }
    }

    /// The payload of the record at `at`, which lies in the page that starts at `page`.
    fn payload(&mut self, page: u64, at: u64, commitment: &Hash) -> Result<PayloadRef<'_>, Error> {
        let corrupt = |damage| Error::corrupt("payload", at, damage);
        if self.page != Some(page) {
            self.iter.seek(keys::page(Position::new(page)));
            self.page = Some(page);
        }
        let Some((_, value)) = self.iter.item().filter(|(key, _)| keys::parse_page(key) == Some(page)) else {
            self.iter.status().map_err(|source| read_error(Family::Payload, at, source))?;
            return Err(corrupt(Damage::PayloadMissing));
        };
        let found = Payloads::new(value).and_then(|mut entries| entries.find(at)).map_err(corrupt)?;
        match found.ok_or_else(|| corrupt(Damage::PayloadMissing))? {
            PayloadRef::Erased => Ok(PayloadRef::Erased),
            payload if payload.matches(commitment) => Ok(payload),
            _ => Err(corrupt(Damage::Commitment)),
        }
    }
}
