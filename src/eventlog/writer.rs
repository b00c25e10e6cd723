//! The writer: one batch in, one synced write out, then the acknowledgement.
//!
//! Deliberately absent: queueing (what waits together is the engine's decision) and retries (the outcome of a failed
//! write is unknown, so appends stay off until the log is opened again).

use super::frame::{self, BODY_BYTES_MAX, Hash, NewRecord, PAYLOAD_BYTES_MAX};
use super::index::{Entry, INDEX_DUE_RECORDS, INDEX_WRITE_RECORDS};
use super::keys::{self, Family};
use super::log::Shared;
use super::page::{self, PAGE_BYTES_FULL};
use super::{Error, faults};
use crate::domain::Position;
use rocksdb::WriteBatch;
use std::sync::Arc;

/// Most records in one batch.
pub const BATCH_RECORDS_MAX: usize = 2048;
/// A caller that forms batches should stop adding records at this many bytes of records and payloads.
pub const BATCH_BYTES_SOFT: usize = 1 << 20;
/// Most bytes of one batch's records, of its payloads, and of its directory entries.
pub const BATCH_BYTES_MAX: usize = 32 << 20;
/// Largest key of a directory entry, in bytes.
pub const DIRECTORY_KEY_BYTES_MAX: usize = 1 << 10;
/// Largest value of a directory entry, in bytes.
pub const DIRECTORY_VALUE_BYTES_MAX: usize = 64 << 10;
/// Most directory entries in one batch.
pub const DIRECTORY_ENTRIES_MAX: usize = 4096;
/// Buffers larger than this are given back after use, in bytes.
const BUFFER_BYTES_KEPT: usize = 1 << 20;
/// Room in a write for keys and lengths, in bytes.
const BATCH_OVERHEAD_BYTES: usize = 1 << 10;

/// What is appended together: all of it becomes durable, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The records, in order: 1 to [`BATCH_RECORDS_MAX`].
    pub records: Vec<NewRecord>,
    /// Directory entries to set, or with `None` to remove.
    pub directory: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of its first record.
    pub first: Position,
    /// Position of its last record.
    pub last: Position,
    /// Hash of its last record: the head of the chain.
    pub head_hash: Hash,
}

/// The only one who appends. Owned by one thread.
pub struct Writer {
    shared: Arc<Shared>,
    tail: Position,
    head: Hash,
    records: Vec<u8>,
    payloads: Vec<u8>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, tail: Position, head: Hash) -> Self {
        Self { shared, tail, head, records: Vec::new(), payloads: Vec::new() }
    }

    /// Position and hash of the newest record.
    pub const fn tail(&self) -> (Position, Hash) {
        (self.tail, self.head)
    }

    /// Appends a batch after `expected`, which must be the tail, and returns once it is durable and readable.
    ///
    /// After an error for which [`Error::is_without_effect`] holds, nothing was written and the next append may
    /// succeed. After any other, the batch may or may not be in the log, and appends are off.
    pub fn append(&mut self, expected: Position, batch: &Batch) -> Result<Appended, Error> {
        let bytes = self.admit(expected, batch)?;
        let (first, last) = (self.tail.next(), self.tail.plus(batch.records.len() as u64));
        let index_too = self.shared.pending().records() >= INDEX_WRITE_RECORDS;
        let mut write = WriteBatch::with_capacity_bytes(bytes + BATCH_OVERHEAD_BYTES);
        let head_hash = self.encode(&batch.records, &mut write);
        let store = &self.shared.store;
        for (key, value) in &batch.directory {
            match value {
                Some(value) => write.put_cf(store.cf(Family::Directory), key, value),
                None => write.delete_cf(store.cf(Family::Directory), key),
            }
        }
        if index_too {
            self.shared.pending().put_into(&mut write, store, self.tail);
        }
        self.write("before_batch", "after_wal_write", write)?;
        self.anchor(last, &head_hash);
        (self.tail, self.head) = (last, head_hash);
        self.add_pending(&batch.records, first, index_too);
        self.shared.publish(last, head_hash);
        self.records.shrink_to(BUFFER_BYTES_KEPT);
        self.payloads.shrink_to(BUFFER_BYTES_KEPT);
        Ok(Appended { first, last, head_hash })
    }

    /// Refuses what is out of turn or over a limit, and everything when the disk is full. Returns the batch's bytes.
    fn admit(&self, expected: Position, batch: &Batch) -> Result<usize, Error> {
        self.shared.check_writable()?;
        if expected != self.tail {
            return Err(Error::WrongTail { expected, tail: self.tail });
        }
        if batch.records.is_empty() {
            return Err(Error::EmptyBatch);
        }
        let mut log_bytes = 0;
        let mut payload_bytes = 0;
        for record in &batch.records {
            within("a record's body in bytes", record.body.len(), BODY_BYTES_MAX)?;
            log_bytes += record.framed_len();
            if let Some(payload) = &record.payload {
                within("a record's payload in bytes", payload.bytes.len(), PAYLOAD_BYTES_MAX)?;
                payload_bytes += page::payload_entry_len(payload);
            }
        }
        let mut directory_bytes = 0;
        for (key, value) in &batch.directory {
            let value = value.as_ref().map_or(0, Vec::len);
            within("a directory key in bytes", key.len(), DIRECTORY_KEY_BYTES_MAX)?;
            within("a directory value in bytes", value, DIRECTORY_VALUE_BYTES_MAX)?;
            directory_bytes += key.len() + value;
        }
        within("the number of records in a batch", batch.records.len(), BATCH_RECORDS_MAX)?;
        within("the number of directory entries in a batch", batch.directory.len(), DIRECTORY_ENTRIES_MAX)?;
        within("a batch's records in bytes", log_bytes, BATCH_BYTES_MAX)?;
        within("a batch's payloads in bytes", payload_bytes, BATCH_BYTES_MAX)?;
        within("a batch's directory in bytes", directory_bytes, BATCH_BYTES_MAX)?;
        let bytes = log_bytes + payload_bytes + directory_bytes;
        self.shared.space.admit(bytes).inspect_err(|error| {
            // A disk that cannot even be asked is not to be trusted.
            if !error.is_without_effect() {
                self.switch_off(error);
            }
        })?;
        Ok(bytes)
    }

    /// Puts the records and their payloads into the write, page by page; returns the new head.
    fn encode(&mut self, records: &[NewRecord], write: &mut WriteBatch) -> Hash {
        let (mut head, mut position) = (self.head, self.tail);
        let mut rest = records.iter().peekable();
        while rest.peek().is_some() {
            let (first, mut count, mut payload_count) = (position.next(), 0, 0);
            page::begin(&mut self.records);
            page::begin(&mut self.payloads);
            while let Some(record) = rest.next_if(|_| self.records.len() < PAGE_BYTES_FULL) {
                position = position.next();
                count += 1;
                if let Some(payload) = &record.payload {
                    page::push_payload(&mut self.payloads, position.get(), payload);
                    payload_count += 1;
                }
                head = frame::encode(&mut self.records, record, position, &head);
            }
            page::set_count(&mut self.records, count);
            page::set_count(&mut self.payloads, payload_count);
            let (store, key) = (&self.shared.store, keys::page(first));
            write.put_cf(store.cf(Family::Log), key, &self.records);
            if payload_count > 0 {
                write.put_cf(store.cf(Family::Payload), key, &self.payloads);
            }
        }
        head
    }

    fn add_pending(&self, records: &[NewRecord], first: Position, written: bool) {
        let mut pending = self.shared.pending_mut();
        if written {
            pending.clear();
        }
        for (record, position) in records.iter().zip(first.get()..) {
            pending.add(&Entry::of_new(record, position));
        }
    }

    /// Writes and syncs; the first failure switches writes off.
    fn write(&self, before: &str, after: &str, write: WriteBatch) -> Result<(), Error> {
        let injected = || std::io::Error::other("failure on demand");
        if faults::hit("ack_before_write") {
            return Ok(());
        }
        let result = if faults::hit(before) {
            Err(Error::file("writing to", &self.shared.dir, injected()))
        } else {
            let written = self.shared.store.write_synced(write);
            written.map_err(|source| Error::Storage { doing: "writing to the log", source })
        };
        let result = match result {
            Ok(()) if faults::hit(after) => Err(Error::file("writing to", &self.shared.dir, injected())),
            other => other,
        };
        result.inspect_err(|error| self.switch_off(error))
    }

    fn switch_off(&self, error: &Error) {
        // Only the first cause is kept.
        let _ = self.shared.failed.set(error.to_string());
    }

    /// Notes the acknowledgement. The batch is durable already, so a failure here fails only what comes after it.
    fn anchor(&self, position: Position, hash: &Hash) {
        let anchor = self.shared.anchor.as_ref().expect("a writer's log has an anchor");
        let written = if faults::hit("anchor_write") {
            Err(Error::file(
                "writing the anchor",
                &self.shared.dir,
                std::io::Error::other("failure on demand"),
            ))
        } else {
            anchor.write(position, hash)
        };
        if let Err(error) = written {
            self.switch_off(&error);
        }
    }

    /// Replaces a payload by a mark that it was erased; the record, its hash and the chain stay valid. Returns whether
    /// there was anything left to erase. The bytes leave the disk with [`super::Log::purge_erased`].
    pub fn erase_payload(&mut self, position: Position) -> Result<bool, Error> {
        self.shared.check_writable()?;
        let Some((first, value)) = self.shared.erased_value(position)? else { return Ok(false) };
        let mut write = WriteBatch::default();
        write.put_cf(self.shared.store.cf(Family::Payload), keys::page(Position::new(first)), value);
        self.write("before_erase", "after_erase", write)?;
        Ok(true)
    }

    /// Writes the index entries that wait in memory. Readers see them either way; this bounds the work at the next
    /// opening. Returns whether there were any.
    pub fn flush_index(&mut self) -> Result<bool, Error> {
        self.shared.check_writable()?;
        if self.shared.pending().records() == 0 {
            return Ok(false);
        }
        let mut write = WriteBatch::default();
        self.shared.pending().put_into(&mut write, &self.shared.store, self.tail);
        self.write("before_index", "after_index", write)?;
        self.shared.pending_mut().clear();
        Ok(true)
    }

    /// Whether enough index entries wait to be worth a write of their own, once nothing else is to be written.
    pub fn is_index_due(&self) -> bool {
        self.shared.pending().records() >= INDEX_DUE_RECORDS
    }

    /// Like [`Writer::flush_index`], but only if at least [`INDEX_DUE_RECORDS`] wait. Called when nothing else waits, it
    /// keeps index writes out of the way of appends.
    pub fn flush_index_if_due(&mut self) -> Result<bool, Error> {
        if self.is_index_due() { self.flush_index() } else { Ok(false) }
    }

    /// Makes the anchor durable.
    pub fn sync_anchor(&self) -> Result<(), Error> {
        self.shared.anchor.as_ref().map_or(Ok(()), super::anchor::AnchorFile::sync)
    }

    /// Ends in good order: index written, anchor durable. Merely dropping the writer loses nothing either.
    pub fn close(mut self) -> Result<(), Error> {
        self.flush_index()?;
        self.sync_anchor()
    }
}

fn within(what: &'static str, size: usize, max: usize) -> Result<(), Error> {
    if size > max { Err(Error::TooLarge { what, size, max }) } else { Ok(()) }
}
