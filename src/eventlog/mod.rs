//! The event log: one partition's records in order, durable, chained and checkable.
//!
//! ```text
//! DIR/lock      held while a writer has the directory
//! DIR/db/       RocksDB: column families and keys are drawn in `keys`
//! DIR/anchor    how far the log was acknowledged, kept outside RocksDB (`anchor`)
//! DIR/ballast   disk space kept back, so that a full disk cannot lock the log out (`space`)
//! ```
//!
//! # The narrow interface
//!
//! Three things make a log: append a batch at an expected position ([`Writer::append`]), read from a
//! position ([`Log::read`], [`Log::scan`]) and follow ([`Log::wait_past`], [`Log::set_on_append`]).
//! The rest (indexes, payloads, snapshots, the directory) serves these three or is served by them.
//! A second engine would have to offer the same and nothing more.
//!
//! # What holds
//!
//! 1. A record is visible to readers only after its batch was synced to disk.
//! 2. Positions are contiguous from 1; each record carries the hash of the one before it.
//! 3. A failed write switches appends off until the log is opened again: the outcome of the failed batch is
//!    unknown, and only opening the log can tell.
//! 4. Damage is reported with its position. It is never skipped and never repaired.
//! 5. Every buffer has a named limit.
//!
//! # Deliberately absent
//!
//! What a record means (bodies are opaque bytes), queueing and group commit (the engine decides what goes into
//! one batch), clocks, async, retention, replication, and any form of `repair`.

pub mod anchor;
mod directory;
mod erase;
mod error;
pub mod faults;
pub mod frame;
mod index;
pub mod keys;
mod log;
mod open;
mod options;
pub mod page;
mod reader;
mod recover;
mod snapshot;
pub mod space;
mod store;
mod verify;
mod verify_index;
mod visit;
mod writer;

pub use directory::DirectoryEntry;
pub use error::{Damage, Error};
pub use frame::{Hash, NewRecord, Payload, RecordView, StoredRecord};
pub use index::{INDEX_DUE_RECORDS, INDEX_PENDING_MAX, INDEX_WRITE_RECORDS, StreamFrom};
pub use log::Log;
pub use open::{AnchorState, DB_NAME, LostTail, OpenReport};
pub use options::Options;
pub use page::PayloadRef;
pub use reader::PayloadState;
pub use recover::STORAGE_FORMAT;
pub use snapshot::{
    PART_BYTES, SNAPSHOT_BYTES_MAX, SNAPSHOT_VERSION, SNAPSHOTS_KEPT, SnapshotFound, SnapshotInfo,
};
pub use space::Space;
pub use verify::{
    FAULTS_LISTED_MAX, Fault, Hooks, Progress, RecordCheck, STREAMS_FOLLOWED_MAX, VerifyReport,
};
pub use writer::{
    Appended, BATCH_BYTES_MAX, BATCH_BYTES_SOFT, BATCH_RECORDS_MAX, Batch, DIRECTORY_ENTRIES_MAX,
    DIRECTORY_KEY_BYTES_MAX, DIRECTORY_VALUE_BYTES_MAX, Writer,
};
