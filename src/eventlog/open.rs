//! Opening a log: lock, RocksDB, identity, the unindexed tail, the anchor.
//!
//! Every doubt ends in a refusal that names the next command. Two exceptions, both told in the report: a write that a
//! crash of the process tore before it was acknowledged (the anchor proves that) is cut off; and the operator may accept
//! a loss by naming its position.
//!
//! Deliberately absent: migration from older formats (there are none yet) and repair.

use super::anchor::{self, Anchor, AnchorFile};
use super::error::next_steps;
use super::frame::Hash;
use super::keys::{self, Family};
use super::log::{Log, Shared};
use super::reader::Fetch;
use super::recover::{Identity, Recovered, STORAGE_FORMAT, last_position, recover, reset_index};
use super::space::SpaceGuard;
use super::store::Store;
use super::{Error, Options, Writer, snapshot};
use crate::domain::Position;
use rocksdb::DBRecoveryMode;
use rustix::fs::FlockOperation;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock};
use std::time::Duration;

/// Name of RocksDB's directory in the data directory.
pub const DB_NAME: &str = "db";
/// Its name while it is being created.
const CREATING_NAME: &str = "db.creating";
const LOCK_NAME: &str = "lock";
/// How often opening for reading is tried again beside a writer, and the pause in between.
const READ_ONLY_TRIES: u32 = 50;
const READ_ONLY_PAUSE: Duration = Duration::from_millis(20);

/// What the anchor said when the log was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorState {
    /// It agrees with the log.
    Agrees,
    /// It agrees, but one of its slots was damaged.
    SlotDamaged,
    /// It was missing or wholly damaged although the log has records; it was written anew. A cut tail would not have
    /// been noticed.
    Missing,
    /// The log is new or empty.
    Fresh,
}

/// A loss that the operator accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostTail {
    /// The last position that had been acknowledged.
    pub acknowledged: Position,
    /// The last position that is still there.
    pub kept: Position,
}

/// What opening found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// Whether the log was created.
    pub created: bool,
    /// The newest record.
    pub tail: Position,
    /// Its hash.
    pub head_hash: Hash,
    /// Records whose index entries were made from the records themselves.
    pub reindexed: u64,
    /// What the anchor said.
    pub anchor: AnchorState,
    /// Whether a torn write at the very end, never acknowledged, was cut off.
    pub torn_tail: bool,
    /// The loss that the operator accepted, if there was one.
    pub lost_tail: Option<LostTail>,
    /// Whether the ballast had to be given up to open.
    pub ballast_released: bool,
    /// Whether the ballast is there now, or none is wanted.
    pub ballast: bool,
}

impl OpenReport {
    /// How many acknowledged records are lost, as the operator accepted.
    pub fn records_lost(&self) -> u64 {
        self.lost_tail.map_or(0, |lost| lost.acknowledged.get().saturating_sub(lost.kept.get()))
    }
}

impl Log {
    /// Opens or creates the log in `dir` for reading and writing.
    pub fn open(dir: &Path, options: &Options) -> Result<(Self, Writer, OpenReport), Error> {
        options.check()?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| Error::file("creating", dir, error))?;
        let lock = lock(dir)?;
        let had_ballast = SpaceGuard::new(dir, options).has_ballast();
        let opening =
            Opening { dir, options, anchor: anchor::read(dir)?, space: SpaceGuard::new(dir, options) };
        let created = opening.create_if_missing()?;
        let (store, mode) = opening.open_store()?;
        opening.check_tables(&store)?;
        let identity = Identity::read(&store)?;
        identity.check(options)?;
        let reset = options.rebuild_index.then(|| reset_index(&store)).transpose()?.is_some();
        let recovered = recover(&store, if reset { Position::ZERO } else { identity.indexed_to }, true)?;
        let lost = opening.compare(&store, &identity, &recovered)?;
        let lost_tail = lost.or_else(|| opening.loss_of(mode, &recovered));
        if lost_tail.is_some() {
            snapshot::drop_after(&store, recovered.tail)?;
        }
        let file = AnchorFile::open(dir, &opening.anchor, &identity.log_id)?;
        file.write(recovered.tail, &recovered.head)?;
        file.sync()?;
        let listed = File::open(dir).and_then(|dir| dir.sync_all());
        listed.map_err(|error| Error::file("syncing", dir, error))?;
        let ballast_released = had_ballast && !opening.space.has_ballast();
        let report = OpenReport {
            created,
            tail: recovered.tail,
            head_hash: recovered.head,
            reindexed: recovered.reindexed,
            anchor: opening.anchor_state(&recovered),
            torn_tail: mode == DBRecoveryMode::TolerateCorruptedTailRecords,
            lost_tail,
            ballast_released,
            ballast: opening.space.ensure_ballast()? || options.ballast_bytes == 0,
        };
        let shared = opening.share(store, &identity, recovered, Some((file, lock)));
        let writer = Writer::new(Arc::clone(&shared), report.tail, report.head_hash);
        Ok((Self { shared }, writer, report))
    }

    /// Opens the log in `dir` for reading, as it is now; a writer may be at work beside. Nothing on disk changes.
    pub fn open_read_only(dir: &Path, options: &Options) -> Result<Self, Error> {
        let mut tries = 0;
        loop {
            match Self::open_as_it_is(dir, options, DBRecoveryMode::AbsoluteConsistency) {
                // A write going on beside us looks torn.
                Err(Error::RefusedOpen { .. }) if tries < READ_ONLY_TRIES && is_locked(dir) => {
                    tries += 1;
                    std::thread::sleep(READ_ONLY_PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Opens what can still be read of a log that opening refused, up to the first damage of the write-ahead log.
    /// For looking and rescuing only: nothing says that this is all there was.
    pub fn open_salvage(dir: &Path, options: &Options) -> Result<Self, Error> {
        Self::open_as_it_is(dir, options, DBRecoveryMode::PointInTime)
    }

    fn open_as_it_is(dir: &Path, options: &Options, mode: DBRecoveryMode) -> Result<Self, Error> {
        options.check()?;
        // The anchor first: the log read after it can only be further.
        let opening =
            Opening { dir, options, anchor: anchor::read(dir)?, space: SpaceGuard::new(dir, options) };
        let path = dir.join(DB_NAME);
        fs::metadata(&path).map_err(|error| Error::file("opening", &path, error))?;
        opening.check_families()?;
        let opened = Store::open_read_only(&path, options, mode);
        let store = opened.map_err(|source| opening.refused(source.into_string(), None))?;
        opening.check_tables(&store)?;
        let identity = Identity::read(&store)?;
        identity.check(options)?;
        let recovered = recover(&store, identity.indexed_to, false)?;
        if mode == DBRecoveryMode::AbsoluteConsistency {
            let strict = Options { accept_lost_tail: None, ..options.clone() };
            Opening { options: &strict, ..opening.clone() }.compare(&store, &identity, &recovered)?;
        }
        Ok(Self { shared: opening.share(store, &identity, recovered, None) })
    }
}

/// Takes the lock of a data directory for as long as the file stays open.
fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join(LOCK_NAME);
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = opened.map_err(|error| Error::file("opening", &path, error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse { dir: dir.to_owned() }),
        Err(error) => Err(Error::file("locking", path, error)),
    }
}

/// Whether a writer has the directory.
fn is_locked(dir: &Path) -> bool {
    File::open(dir.join(LOCK_NAME)).is_ok_and(|file| {
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    })
}

/// What is known before the store is open.
#[derive(Clone)]
struct Opening<'a> {
    dir: &'a Path,
    options: &'a Options,
    anchor: anchor::Reading,
    space: SpaceGuard,
}

impl Opening<'_> {
    /// Creates the store unless there is one. It is built under another name and renamed when whole, so that a store
    /// that lost its `CURRENT` file is never taken for a new one.
    fn create_if_missing(&self) -> Result<bool, Error> {
        let (path, creating) = (self.dir.join(DB_NAME), self.dir.join(CREATING_NAME));
        if path.exists() {
            return Ok(false);
        }
        if let Some(anchor) = self.anchor.newest.filter(|anchor| anchor.position > Position::ZERO) {
            let (dir, acknowledged) = (self.dir.to_owned(), anchor.position);
            self.accept(acknowledged, Error::HeadBehindAnchor { dir, tail: Position::ZERO, acknowledged })?;
        }
        if creating.exists() {
            fs::remove_dir_all(&creating).map_err(|error| Error::file("removing", &creating, error))?;
        }
        let made = Store::create(&creating, self.options)
            .and_then(|store| store.write_synced(Identity::create(&store, self.options.partition)));
        made.map_err(|source| self.not_opened(source))?;
        let renamed = fs::rename(&creating, &path).and_then(|()| File::open(self.dir)?.sync_all());
        renamed.map_err(|error| Error::file("creating", path, error))?;
        Ok(true)
    }

    /// Refuses a store with column families that this program does not know.
    fn check_families(&self) -> Result<(), Error> {
        let path = self.dir.join(DB_NAME);
        let names = Store::family_names(&path).map_err(|source| self.refused(source.into_string(), None))?;
        let known = |name: &str| name == "default" || Family::ALL.iter().any(|family| family.name() == name);
        let Some(unknown) = names.iter().find(|name| !known(name)) else { return Ok(()) };
        if let Ok(Some(value)) = Store::peek_meta(&path, keys::META_STORAGE_FORMAT) {
            let found = value.as_slice().try_into().map_or(0, u32::from_le_bytes);
            if found > STORAGE_FORMAT {
                return Err(Error::NewerFormat { found, supported: STORAGE_FORMAT });
            }
        }
        Err(self.refused(format!("unknown column family `{unknown}`"), None))
    }

    /// Refuses a store that lacks a table.
    fn check_tables(&self, store: &Store) -> Result<(), Error> {
        let refuse = |name| Err(self.refused(format!("the table {name} is missing or cut"), None));
        store.missing_table().map_or(Ok(()), refuse)
    }

    /// Opens the store. Returns the recovery mode that it took: anything but `AbsoluteConsistency` means that the end of
    /// the write-ahead log was cut off, which either the anchor proved harmless or the operator accepted.
    fn open_store(&self) -> Result<(Store, DBRecoveryMode), Error> {
        self.check_families()?;
        let source = match self.open_with(DBRecoveryMode::AbsoluteConsistency) {
            Ok(store) => return Ok((store, DBRecoveryMode::AbsoluteConsistency)),
            Err(source) => source,
        };
        if source.kind() != rocksdb::ErrorKind::Corruption {
            return Err(self.not_opened(source));
        }
        let readable = self.readable();
        if readable.is_some_and(|(_, unacknowledged)| unacknowledged) {
            let mode = DBRecoveryMode::TolerateCorruptedTailRecords;
            if let Ok(store) = self.open_with(mode) {
                return Ok((store, mode));
            }
        }
        let readable = readable.map(|(tail, _)| tail);
        let acknowledged = self.anchor.newest.map(|anchor| anchor.position).or(readable);
        let refused = self.refused(source.into_string(), readable);
        match acknowledged {
            None => return Err(refused),
            Some(acknowledged) => self.accept(acknowledged, refused)?,
        }
        let mode = DBRecoveryMode::PointInTime;
        let store = self.open_with(mode).map_err(|source| self.not_opened(source))?;
        Ok((store, mode))
    }

    /// Opens the store, giving up the ballast if the disk is too full for that.
    fn open_with(&self, mode: DBRecoveryMode) -> Result<Store, rocksdb::Error> {
        let attempt = || Store::open(&self.dir.join(DB_NAME), self.options, mode);
        match attempt() {
            Err(source) if is_no_space(&source) && self.space.release_ballast() => attempt(),
            other => other,
        }
    }

    /// How far a store that was refused can be read, and whether the anchor proves that all that was acknowledged is in
    /// there: it was written since the last boot, so no power cut made it older than the last acknowledgement.
    fn readable(&self) -> Option<(Position, bool)> {
        let path = self.dir.join(DB_NAME);
        let store = Store::open_read_only(&path, self.options, DBRecoveryMode::PointInTime).ok()?;
        let tail = last_position(&store).ok()?;
        let reached = |anchor: Anchor| {
            let same = |position: Position| Fetch::new(&store).record(position.get(), |record| record.hash());
            anchor.is_of_this_boot()
                && anchor.position <= tail
                && (anchor.position == Position::ZERO
                    || same(anchor.position).is_ok_and(|hash| hash == anchor.hash))
        };
        Some((tail, self.anchor.newest.is_some_and(reached)))
    }

    /// Lets a loss pass that the operator named, and refuses any other.
    fn accept(&self, acknowledged: Position, refusal: Error) -> Result<(), Error> {
        match self.options.accept_lost_tail {
            Some(given) if given == acknowledged => Ok(()),
            Some(given) => Err(Error::AcceptMismatch { given, acknowledged }),
            None => Err(refusal),
        }
    }

    /// Compares the log with the anchor. Returns the loss if the operator accepted one.
    fn compare(
        &self,
        store: &Store,
        identity: &Identity,
        recovered: &Recovered,
    ) -> Result<Option<LostTail>, Error> {
        let Some(anchor) = self.anchor.newest else { return Ok(None) };
        let (dir, acknowledged, tail) = (self.dir.to_owned(), anchor.position, recovered.tail);
        let refusal = if acknowledged > tail {
            Error::HeadBehindAnchor { dir, tail, acknowledged }
        } else {
            let found = match acknowledged {
                Position::ZERO => anchor.hash,
                position => Fetch::new(store).record(position.get(), |record| record.hash())?,
            };
            if found == anchor.hash && anchor.log == identity.log_id[..4] {
                return Ok(None);
            }
            Error::HistoryDiffers { dir, acknowledged }
        };
        self.accept(acknowledged, refusal)?;
        Ok(Some(LostTail { acknowledged, kept: tail }))
    }

    /// The loss that opening at a point in time may have meant although the anchor agrees.
    fn loss_of(&self, mode: DBRecoveryMode, recovered: &Recovered) -> Option<LostTail> {
        let acknowledged = self.options.accept_lost_tail.filter(|_| mode == DBRecoveryMode::PointInTime)?;
        Some(LostTail { acknowledged, kept: recovered.tail })
    }

    fn anchor_state(&self, recovered: &Recovered) -> AnchorState {
        match (self.anchor.newest, self.anchor.slots_damaged) {
            (Some(_), 0) => AnchorState::Agrees,
            (Some(_), _) => AnchorState::SlotDamaged,
            (None, 0) if recovered.tail == Position::ZERO => AnchorState::Fresh,
            (None, _) => AnchorState::Missing,
        }
    }

    /// What a failure to open the store means.
    fn not_opened(&self, source: rocksdb::Error) -> Error {
        let text: &str = source.as_ref();
        if text.contains("lock") && (text.contains("unavailable") || text.contains("current process")) {
            return Error::InUse { dir: self.dir.to_owned() };
        }
        if is_no_space(&source) {
            let free = self.space.free().unwrap_or(0);
            return Error::DiskFull { free, needed: self.options.write_buffer_bytes };
        }
        self.refused(source.into_string(), None)
    }

    fn refused(&self, what: String, readable: Option<Position>) -> Error {
        let acknowledged = self.anchor.newest.map(|anchor| anchor.position);
        let mut detail = what;
        if let Some(position) = readable {
            detail += &format!("; it can be read up to position {position}");
        }
        if let Some(position) = acknowledged {
            detail += &format!("; position {position} was acknowledged before");
        }
        let next = match (readable, acknowledged.or(readable)) {
            (Some(_), Some(position)) => next_steps(self.dir, position),
            _ => format!("`askance verify --data-dir {}`, then restore a backup", self.dir.display()),
        };
        Error::RefusedOpen { dir: self.dir.to_owned(), detail, next }
    }

    fn share(
        self,
        store: Store,
        identity: &Identity,
        recovered: Recovered,
        writable: Option<(AnchorFile, File)>,
    ) -> Arc<Shared> {
        let (anchor, lock) = writable.unzip();
        Arc::new(Shared {
            store,
            dir: self.dir.to_owned(),
            log_id: identity.log_id,
            partition: identity.partition,
            tail: Mutex::new((recovered.tail, recovered.head)),
            position: AtomicU64::new(recovered.tail.get()),
            grown: Condvar::new(),
            on_append: RwLock::new(None),
            pending: RwLock::new(recovered.pending),
            failed: OnceLock::new(),
            anchor,
            opened_with: self.anchor,
            space: self.space,
            snapshots: Mutex::new(()),
            _lock: lock,
        })
    }
}

fn is_no_space(error: &rocksdb::Error) -> bool {
    error.as_ref().contains("No space left on device")
}
