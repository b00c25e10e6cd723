//! What can go wrong, each with what the operator or the engine should know.

use crate::domain::Position;
use std::path::PathBuf;
use std::{fmt, io};

/// Why the event log refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process, or another handle in this one, has the directory open for writing.
    #[error("the data directory {} is in use by another writer", dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// RocksDB would not open the files. Nothing was changed. This means data loss until shown otherwise.
    #[error("the event log in {} cannot be opened: {detail}; next: {next}", dir.display())]
    RefusedOpen {
        /// The data directory.
        dir: PathBuf,
        /// What RocksDB said, and how far the log can be read.
        detail: String,
        /// The commands that come next.
        next: String,
    },
    /// The log ends before a position that was acknowledged: its tail was cut, or an older copy was restored.
    #[error(
        "the log in {} ends at position {tail} but position {acknowledged} was acknowledged before; next: {}",
        dir.display(), next_steps(dir, *acknowledged)
    )]
    HeadBehindAnchor {
        /// The data directory.
        dir: PathBuf,
        /// The last position in the log.
        tail: Position,
        /// The last position that the anchor saw acknowledged.
        acknowledged: Position,
    },
    /// The record at the anchor's position is not the one that was acknowledged: another history.
    #[error(
        "the log in {} holds another record at position {acknowledged} than the one acknowledged before; next: {}",
        dir.display(), next_steps(dir, *acknowledged)
    )]
    HistoryDiffers {
        /// The data directory.
        dir: PathBuf,
        /// The last position that the anchor saw acknowledged.
        acknowledged: Position,
    },
    /// `accept_lost_tail` names another position than the one at stake.
    #[error("the lost tail to accept is position {acknowledged}, not {given}")]
    AcceptMismatch {
        /// The position that was given.
        given: Position,
        /// The position that would have to be given.
        acknowledged: Position,
    },
    /// The store was written by a newer program.
    #[error(
        "storage format {found} is newer than {supported}, the newest this program knows: use a newer askance"
    )]
    NewerFormat {
        /// Format found on disk.
        found: u32,
        /// Newest format known.
        supported: u32,
    },
    /// The directory belongs to another partition.
    #[error("the directory belongs to partition {found}, not {expected}")]
    OtherPartition {
        /// Partition found on disk.
        found: u32,
        /// Partition asked for.
        expected: u32,
    },
    /// Stored bytes are damaged: data loss. Nothing was skipped.
    #[error("data loss: `{family}` is damaged at position {position}: {detail}")]
    Corrupt {
        /// The column family.
        family: &'static str,
        /// The record at which the damage was met (or the position looked for).
        position: Position,
        /// What is wrong.
        detail: String,
    },
    /// The disk is too full to append safely. Nothing was written; appends work again once there is room.
    #[error("the disk is full: {free} bytes free, {needed} needed")]
    DiskFull {
        /// Bytes free.
        free: u64,
        /// Bytes that must be free for this append.
        needed: u64,
    },
    /// Appends are off since an earlier failure, whose batch may or may not be in the log. Restart to find out.
    #[error("appends are switched off since a write failed: {cause}")]
    WritesOff {
        /// The first failure.
        cause: String,
    },
    /// The log was opened for reading only.
    #[error("the log is open for reading only")]
    ReadOnly,
    /// The caller's idea of the tail is wrong. Nothing was written.
    #[error("expected the tail at position {expected}, it is at {tail}")]
    WrongTail {
        /// What the caller expected.
        expected: Position,
        /// Where the tail is.
        tail: Position,
    },
    /// A batch without records. Nothing was written.
    #[error("a batch needs at least one record")]
    EmptyBatch,
    /// Something given is over its named limit. Nothing was written.
    #[error("{what} is {size}, the limit is {max}")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// There is no record at this position, or it has no payload.
    #[error("no payload at position {position}")]
    NoPayload {
        /// The position asked for.
        position: Position,
    },
    /// An option is outside its range.
    #[error("option `{name}`: {detail}")]
    Option {
        /// The option's name.
        name: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// RocksDB failed at something that is not damage.
    #[error("{doing}: {source}")]
    Storage {
        /// What was being done.
        doing: &'static str,
        /// RocksDB's error.
        source: rocksdb::Error,
    },
    /// A file operation outside RocksDB failed.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl Error {
    /// Whether stored data is lost or damaged, so that an operator must look before anything goes on.
    pub const fn is_data_loss(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. }
                | Self::RefusedOpen { .. }
                | Self::HeadBehindAnchor { .. }
                | Self::HistoryDiffers { .. }
        )
    }

    /// Whether a failed append is surely not in the log. Otherwise only opening the log again can tell.
    pub const fn is_without_effect(&self) -> bool {
        !matches!(self, Self::Storage { .. } | Self::File { .. })
    }

    /// Shorthand for [`Error::Corrupt`].
    pub(super) fn corrupt(family: &'static str, position: u64, detail: impl fmt::Display) -> Self {
        Self::Corrupt { family, position: Position::new(position), detail: detail.to_string() }
    }

    /// Shorthand for [`Error::File`].
    pub(super) fn file(doing: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::File { doing, path: path.into(), source: source.into() }
    }
}

/// What to run when acknowledged records are missing.
pub(super) fn next_steps(dir: &std::path::Path, acknowledged: Position) -> String {
    format!(
        "`askance verify --data-dir {}`, then restore a newer backup, \
         or go on without the lost records by `askance serve --accept-lost-tail {acknowledged}`",
        dir.display()
    )
}

/// What is wrong with stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The bytes end too early.
    Short,
    /// A format version this program does not know.
    Version(u8),
    /// Unknown flag bits.
    Flags(u16),
    /// An impossible length.
    Length,
    /// The checksum does not match.
    Checksum,
    /// A number of entries that does not match the bytes.
    Count,
    /// Reserved bytes that are not zero, or bytes left over.
    Reserved,
    /// A position out of sequence.
    Sequence {
        /// The position that should be here.
        expected: u64,
        /// The position that is here.
        found: u64,
    },
    /// The previous hash is not the hash of the previous record.
    Chain,
    /// The payload is missing.
    PayloadMissing,
    /// The payload does not match the record's commitment.
    Commitment,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the bytes end too early"),
            Self::Version(version) => write!(f, "unknown format version {version}"),
            Self::Flags(flags) => write!(f, "unknown flags {flags:#06x}"),
            Self::Length => f.write_str("impossible length"),
            Self::Checksum => f.write_str("wrong checksum"),
            Self::Count => f.write_str("the number of entries is wrong"),
            Self::Reserved => f.write_str("reserved or left-over bytes are in use"),
            Self::Sequence { expected, found } => {
                write!(f, "position {found} stands where {expected} belongs")
            }
            Self::Chain => f.write_str("the previous hash is not that of the previous record"),
            Self::PayloadMissing => f.write_str("the payload is missing"),
            Self::Commitment => f.write_str("the payload does not match its commitment"),
        }
    }
}
