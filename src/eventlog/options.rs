//! The settings of an event log, with defaults that suit one small server.

use super::Error;
use crate::domain::Position;

/// How to open a log.
///
/// Memory stays under the sum of: `write_buffer_bytes`, with up to half more while a flush runs;
/// `block_cache_bytes`; twice the batch being appended, and 1 MiB of pending index; the indexes and filters of open files, which
/// are about 1.5 bytes a call and 1 KiB a megabyte of log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Number of the partition; stored at creation and checked at each opening. Default 0.
    pub partition: u32,
    /// Bytes of unflushed records over all column families, and of write-ahead log to replay at most.
    /// Default 64 MiB, at least 4 MiB.
    pub write_buffer_bytes: u64,
    /// Bytes of uncompressed blocks kept for reads. Default 32 MiB.
    pub block_cache_bytes: u64,
    /// Table files that RocksDB keeps open. Default 512, at least 64.
    pub open_files_max: u32,
    /// Bytes of disk kept back, so that a full disk cannot keep the log from opening: opening writes the replayed
    /// write-ahead log into table files. Should be no less than `write_buffer_bytes`. Default 64 MiB; 0: none.
    pub ballast_bytes: u64,
    /// Below this many free bytes, [`super::Space::Low`] is reported. Default 1 GiB.
    pub free_bytes_low: u64,
    /// Below this many free bytes, appends are refused. Default 256 MiB, at most `free_bytes_low`.
    pub free_bytes_hard: u64,
    /// The operator accepts that records up to this acknowledged position are lost. It must be exactly the position
    /// that the refusal named; without a refusal it is ignored. Default none.
    pub accept_lost_tail: Option<Position>,
    /// Whether to drop the indexes and build them anew from the records. Default no.
    pub rebuild_index: bool,
}

/// Bytes in a mebibyte.
const MIB: u64 = 1 << 20;

impl Default for Options {
    fn default() -> Self {
        Self {
            partition: 0,
            write_buffer_bytes: 64 * MIB,
            block_cache_bytes: 32 * MIB,
            open_files_max: 512,
            ballast_bytes: 64 * MIB,
            free_bytes_low: 1024 * MIB,
            free_bytes_hard: 256 * MIB,
            accept_lost_tail: None,
            rebuild_index: false,
        }
    }
}

impl Options {
    /// Checks the ranges stated with the fields.
    pub fn check(&self) -> Result<(), Error> {
        let fault = |name, detail: &str| Err(Error::Option { name, detail: detail.into() });
        if self.write_buffer_bytes < 4 * MIB {
            return fault("write_buffer_bytes", "at least 4 MiB");
        }
        if self.open_files_max < 64 {
            return fault("open_files_max", "at least 64");
        }
        if self.free_bytes_hard > self.free_bytes_low {
            return fault("free_bytes_hard", "at most `free_bytes_low`");
        }
        Ok(())
    }
}
