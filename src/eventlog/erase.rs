//! Erasing payloads: first a mark in place of the bytes, then the old bytes leave the files.
//!
//! Deliberately absent: overwriting freed disk blocks; deleted files are the file system's.

use super::Error;
use super::keys::{self, Family};
use super::log::{Log, Shared};
use super::page;
use super::reader::Fetch;
use super::store::Store;
use crate::domain::Position;

impl Shared {
    /// The `payload` value of the page that holds `position`, with that entry erased, and the page's first position.
    /// `None` if it is erased already.
    pub(super) fn erased_value(&self, position: Position) -> Result<Option<(u64, Vec<u8>)>, Error> {
        let none = Error::NoPayload { position };
        let (tail, at) = (self.tail.lock().expect("no one panics while holding the tail").0, position.get());
        if position == Position::ZERO || position > tail {
            return Err(none);
        }
        let first = page_of(&self.store, at)?;
        let value = self.store.get(Family::Payload, &keys::page(Position::new(first)), at)?.ok_or(none)?;
        let erased = page::erase(&value, at).map_err(|damage| Error::corrupt("payload", at, damage))?;
        let erased = erased.ok_or(Error::NoPayload { position })?;
        Ok((erased != *value).then_some((first, erased)))
    }
}

impl Log {
    /// Makes erased payloads leave the files: rewrites the tables that hold payloads of records from `from` to `to`, and
    /// lets go of the write-ahead logs that may still hold them. Slow: it reads and writes whole tables.
    pub fn purge_erased(&self, from: Position, to: Position) -> Result<(), Error> {
        self.shared.check_writable()?;
        let fail = |source| Error::Storage { doing: "purging erased payloads", source };
        // A write-ahead log is deleted once no column family has unflushed entries in it.
        for family in Family::ALL {
            self.shared.store.flush(family).map_err(fail)?;
        }
        let (from, to) = (from.max(Position::FIRST), to.min(self.position()));
        if from > to {
            return Ok(());
        }
        let (first, last) = (page_of(&self.shared.store, from.get())?, keys::page(to));
        self.shared.store.compact(Family::Payload, &keys::page(Position::new(first)), &last);
        Ok(())
    }
}

/// First position of the page that holds `position`.
fn page_of(store: &Store, position: u64) -> Result<u64, Error> {
    let mut fetch = Fetch::new(store);
    fetch.record(position, |_| ())?;
    Ok(fetch.first)
}
