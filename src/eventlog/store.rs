//! RocksDB with our settings, and nothing that RocksDB would do by itself and we would not.
//!
//! The settings that carry promises: `AbsoluteConsistency`, since the default mode drops synced records behind a
//! damaged one without a word; closed write-ahead logs tracked in the manifest; no recycled log files; every write
//! that goes to the write-ahead log is synced, so that a power cut cannot tear an unsynced one.
//!
//! Deliberately absent: `repair`, `PointInTime` recovery except where the operator accepted a loss.

use super::keys::Family;
use super::{Error, Options};
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor,
    CompactOptions, DB, DBCompressionType, DBPinnableSlice, DBRawIterator, DBRecoveryMode, Env, ReadOptions,
    SliceTransform, WriteBatch, WriteOptions,
};
use std::path::Path;

/// Uncompressed bytes in one block of `log` and `payload`; a value larger than that is a block by itself.
const BLOCK_BYTES: usize = 32 << 10;
/// Bytes of a stream id, with which the keys of `stream` begin.
const STREAM_ID_BYTES: usize = 16;
/// Bytes read ahead by scans.
const READAHEAD_BYTES: usize = 2 << 20;
/// zstd level of blocks: each is compressed once, when it is flushed, since batches come in order. A fast level,
/// for a flush takes its time from the calls.
const ZSTD_LEVEL: i32 = -3;

/// An open RocksDB.
pub(super) struct Store {
    db: DB,
}

impl Store {
    /// Creates an empty store at `path`, which must not exist.
    pub(super) fn create(path: &Path, options: &Options) -> Result<Self, rocksdb::Error> {
        let mut settings = settings(options, DBRecoveryMode::AbsoluteConsistency);
        settings.create_if_missing(true);
        settings.create_missing_column_families(true);
        settings.set_error_if_exists(true);
        Ok(Self { db: DB::open_cf_descriptors(&settings, path, families(options))? })
    }

    /// Opens an existing store for reading and writing.
    pub(super) fn open(path: &Path, options: &Options, mode: DBRecoveryMode) -> Result<Self, rocksdb::Error> {
        let settings = settings(options, mode);
        Ok(Self { db: DB::open_cf_descriptors(&settings, path, families(options))? })
    }

    /// Opens an existing store for reading only: nothing on disk changes, and a writer may have it open.
    pub(super) fn open_read_only(
        path: &Path,
        options: &Options,
        mode: DBRecoveryMode,
    ) -> Result<Self, rocksdb::Error> {
        let mut settings = settings(options, mode);
        // All files are opened at once, so that a writer beside us may delete them.
        settings.set_max_open_files(-1);
        let families = families(options);
        Ok(Self { db: DB::open_cf_descriptors_read_only(&settings, path, families, false)? })
    }

    /// Names of the column families of the store at `path`.
    pub(super) fn family_names(path: &Path) -> Result<Vec<String>, rocksdb::Error> {
        DB::list_cf(&rocksdb::Options::default(), path)
    }

    /// Reads one key of `meta` from a store whose other column families may be unknown.
    pub(super) fn peek_meta(path: &Path, key: &[u8]) -> Result<Option<Vec<u8>>, rocksdb::Error> {
        let names = ["default", Family::Meta.name()];
        let db = DB::open_cf_for_read_only(&rocksdb::Options::default(), path, names, false)?;
        let meta = db.cf_handle(Family::Meta.name()).expect("it was just opened");
        db.get_cf(meta, key)
    }

    /// The handle of a column family.
    pub(super) fn cf(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("every column family is opened with the store")
    }

    /// The value of a key. `at` is the position to name if it is damaged.
    pub(super) fn get(
        &self,
        family: Family,
        key: &[u8],
        at: u64,
    ) -> Result<Option<DBPinnableSlice<'_>>, Error> {
        self.db.get_pinned_cf(self.cf(family), key).map_err(|source| read_error(family, at, source))
    }

    /// The values of several keys, in their order: cheaper than one by one.
    pub(super) fn get_all(
        &self,
        family: Family,
        keys: &[[u8; 16]],
    ) -> Result<Vec<Option<DBPinnableSlice<'_>>>, Error> {
        let found = self.db.batched_multi_get_cf(self.cf(family), keys, false);
        found.into_iter().map(|value| value.map_err(|source| read_error(family, 0, source))).collect()
    }

    /// An iterator; it stands nowhere yet.
    pub(super) fn iter(&self, family: Family, options: ReadOptions) -> DBRawIterator<'_> {
        self.db.raw_iterator_cf_opt(self.cf(family), options)
    }

    /// Writes a batch and syncs it to disk.
    pub(super) fn write_synced(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        let mut options = WriteOptions::new();
        options.set_sync(!super::faults::skip_sync());
        self.db.write_opt(batch, &options)
    }

    /// Writes a batch without the write-ahead log; durable only after `flush`.
    pub(super) fn write_unlogged(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        let mut options = WriteOptions::new();
        options.disable_wal(true);
        options.set_low_pri(true);
        self.db.write_opt(batch, &options)
    }

    /// Writes a column family's memory to disk and waits for it.
    pub(super) fn flush(&self, family: Family) -> Result<(), rocksdb::Error> {
        self.db.flush_cf(self.cf(family))
    }

    /// Rewrites every file of a column family that holds keys from `from` to `to`, dropping what was overwritten.
    pub(super) fn compact(&self, family: Family, from: &[u8], to: &[u8]) {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(self.cf(family), Some(from), Some(to), &options);
    }

    /// A table file that is missing or has another length than the manifest says. RocksDB would notice only when it
    /// came to read the file.
    pub(super) fn missing_table(&self) -> Option<String> {
        let unlike = || {
            let files = self.db.live_files().unwrap_or_default();
            let is_whole = |file: &rocksdb::LiveFile| {
                let path = self.db.path().join(file.name.trim_start_matches('/'));
                std::fs::metadata(path).is_ok_and(|meta| meta.len() == file.size as u64)
            };
            files.into_iter().find(|file| !is_whole(file)).map(|file| file.name)
        };
        // A compaction may delete a file between the two looks; then it is not listed again.
        let first = unlike()?;
        unlike().filter(|second| *second == first)
    }

    /// An integer property of a column family, such as `rocksdb.total-sst-files-size`; 0 if unknown.
    pub(super) fn number(&self, family: Family, property: &str) -> u64 {
        self.db.property_int_value_cf(self.cf(family), property).ok().flatten().unwrap_or(0)
    }
}

/// What a failed read means: damage, or some other failure.
pub(super) fn read_error(family: Family, at: u64, source: rocksdb::Error) -> Error {
    match source.kind() {
        rocksdb::ErrorKind::Corruption => Error::corrupt(family.name(), at, source),
        rocksdb::ErrorKind::IOError if source.as_ref().contains("No such file") => {
            Error::corrupt(family.name(), at, source)
        }
        _ => Error::Storage { doing: "reading the log", source },
    }
}

/// Options of point reads: blocks are kept in the cache.
pub(super) fn point_reads() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}

/// Options of long scans: read ahead, leave the cache alone.
pub(super) fn scan_reads() -> ReadOptions {
    let mut options = point_reads();
    options.set_total_order_seek(true);
    options.fill_cache(false);
    options.set_readahead_size(READAHEAD_BYTES);
    options
}

/// Settings of the whole store.
fn settings(options: &Options, mode: DBRecoveryMode) -> rocksdb::Options {
    let mut settings = rocksdb::Options::default();
    settings.set_wal_recovery_mode(mode);
    settings.set_track_and_verify_wals_in_manifest(true);
    settings.set_paranoid_checks(true);
    settings.set_manual_wal_flush(false);
    settings.set_recycle_log_file_num(0);
    let write_buffer_bytes = usize::try_from(options.write_buffer_bytes).unwrap_or(usize::MAX);
    settings.set_db_write_buffer_size(write_buffer_bytes);
    settings.set_max_total_wal_size(options.write_buffer_bytes);
    settings.set_max_background_jobs(2);
    if let Ok(mut env) = Env::new() {
        // Flushes and compactions come after calls: they take what these leave, and a write waits for them only once
        // its buffers are full. The environment is one for the whole process.
        env.lower_thread_pool_cpu_priority();
        env.lower_high_priority_thread_pool_cpu_priority();
        settings.set_env(&env);
    }
    settings.set_max_open_files(i32::try_from(options.open_files_max).unwrap_or(i32::MAX));
    settings.set_bytes_per_sync(1 << 20);
    settings.set_keep_log_file_num(4);
    settings.set_max_log_file_size(4 << 20);
    settings.set_stats_dump_period_sec(0);
    settings.set_stats_persist_period_sec(0);
    settings
}

/// Settings of each column family. Write buffers are shares of the total: half for each of the two large ones, so that
/// they are flushed together when the total is reached and not each by itself (every flush is several syncs, and
/// appends wait for the same disk); 1/16 for others.
fn families(options: &Options) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(usize::try_from(options.block_cache_bytes).unwrap_or(usize::MAX));
    let total = usize::try_from(options.write_buffer_bytes).unwrap_or(usize::MAX);
    let describe = |family: Family| {
        let mut settings = rocksdb::Options::default();
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&cache);
        table.set_format_version(6);
        let share = match family {
            Family::Log | Family::Payload => {
                table.set_block_size(BLOCK_BYTES);
                2
            }
            _ => 16,
        };
        if family == Family::Call {
            // Filters stay in memory with their open files: a new call must not cost a disk read.
            table.set_bloom_filter(10.0, false);
            table.set_whole_key_filtering(true);
            settings.set_memtable_whole_key_filtering(true);
            settings.set_memtable_prefix_bloom_ratio(0.02);
        }
        if family == Family::Stream {
            // A new session is looked for, too. Readers stay within one stream, or scan in total order.
            table.set_bloom_filter(10.0, false);
            table.set_whole_key_filtering(false);
            settings.set_prefix_extractor(SliceTransform::create_fixed_prefix(STREAM_ID_BYTES));
            settings.set_memtable_prefix_bloom_ratio(0.02);
        }
        settings.set_block_based_table_factory(&table);
        settings.set_write_buffer_size(total / share);
        settings.set_max_write_buffer_number(3);
        match family {
            // Snapshots come compressed, and random keys do not compress.
            Family::Snapshot | Family::Call | Family::Stream => {
                settings.set_compression_type(DBCompressionType::None);
            }
            _ => {
                settings.set_compression_type(DBCompressionType::Zstd);
                settings.set_compression_options(-14, ZSTD_LEVEL, 0, 0);
            }
        }
        ColumnFamilyDescriptor::new(family.name(), settings)
    };
    Family::ALL.into_iter().map(describe).collect()
}
