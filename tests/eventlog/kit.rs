//! What the tests share.

use askance::domain::{CallKey, Position, Revision, StreamId, Timestamp};
use askance::eventlog::{Batch, Hooks, Log, NewRecord, Options, Payload, StreamFrom, VerifyReport, Writer};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use tempfile::TempDir;

/// A directory in memory where there is one: thousands of openings are tried here.
pub(crate) fn dir() -> TempDir {
    let fast = Path::new("/dev/shm");
    if fast.is_dir() { tempfile::tempdir_in(fast).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Options that fit a small disk.
pub(crate) fn options() -> Options {
    Options {
        write_buffer_bytes: 8 << 20,
        block_cache_bytes: 1 << 20,
        ballast_bytes: 0,
        free_bytes_low: 1 << 20,
        free_bytes_hard: 1 << 20,
        ..Options::default()
    }
}

pub(crate) fn at(position: u64) -> Position {
    Position::new(position)
}

pub(crate) fn open(dir: &Path) -> (Log, Writer) {
    let (log, writer, _) = Log::open(dir, &options()).unwrap();
    (log, writer)
}

pub(crate) fn stream_id(number: u8) -> StreamId {
    StreamId::from_bytes([number; 16])
}

/// The call that record `index` introduces.
pub(crate) fn call_key(index: u64) -> CallKey {
    CallKey::from_bytes(Sha256::digest(index.to_le_bytes())[..16].try_into().unwrap())
}

/// Makes records that differ, with right revisions.
#[derive(Default)]
pub(crate) struct Maker {
    made: u64,
    revisions: HashMap<StreamId, u64>,
}

impl Maker {
    /// Every third introduces a call, every second has a payload.
    pub(crate) fn record(&mut self) -> NewRecord {
        self.made += 1;
        let index = self.made;
        let stream = stream_id((index % 5) as u8);
        let revision = self.revisions.entry(stream).or_default();
        *revision += 1;
        NewRecord {
            kind: index as u8,
            stream,
            revision: Revision::new(*revision),
            event_time: Timestamp::from_micros(index as i64),
            receive_time: Timestamp::from_micros(index as i64 * 600_000_000),
            call: call_key(index - index % 3),
            tool: index % 4,
            causation: at(index.saturating_sub(1)),
            body: format!("body of record {index}").into_bytes(),
            payload: (index.is_multiple_of(2))
                .then(|| Payload { salt: [index as u8; 16], bytes: payload(index) }),
            introduces_call: index.is_multiple_of(3),
        }
    }

    pub(crate) fn batch(&mut self, count: usize) -> Batch {
        let directory = vec![(format!("made/{:06}", self.made).into_bytes(), Some(b"entry".to_vec()))];
        Batch { records: (0..count).map(|_| self.record()).collect(), directory }
    }

    /// Appends batches of these sizes.
    pub(crate) fn append(&mut self, writer: &mut Writer, sizes: &[usize]) {
        for size in sizes {
            let tail = writer.tail().0;
            writer.append(tail, &self.batch(*size)).unwrap();
        }
    }
}

/// The payload of record `index`.
pub(crate) fn payload(index: u64) -> Vec<u8> {
    format!("a secret of record {index}").into_bytes()
}

/// A digest over all that can be read from a log; an error is part of it.
pub(crate) fn fingerprint(log: &Log) -> Result<Vec<u8>, String> {
    let mut digest = Sha256::new();
    let text = |error: askance::eventlog::Error| error.to_string();
    let (tail, head) = log.tail();
    digest.update(tail.get().to_le_bytes());
    digest.update(head);
    let mut calls = Vec::new();
    log.scan_payloads(Position::FIRST, tail, |record, payload| {
        digest.update(record.bytes());
        digest.update(format!("{payload:?}"));
        if record.introduces_call() {
            calls.push((record.call(), record.position()));
        }
        ControlFlow::Continue(())
    })
    .map_err(text)?;
    for (call, position) in calls {
        let found = log.find_call(call).map_err(text)?;
        if found != Some(position) {
            return Err(format!("call at {position} is found at {found:?}"));
        }
    }
    for number in 0..5 {
        let from = StreamFrom::Position(Position::ZERO);
        let found = log.stream_positions(stream_id(number), from, usize::MAX).map_err(text)?;
        digest.update(format!("{found:?}"));
        let found = log.tool_positions(u64::from(number), i64::MIN..=i64::MAX, usize::MAX).map_err(text)?;
        digest.update(format!("{found:?}"));
    }
    digest.update(format!("{:?}", log.directory(b"", None, false, usize::MAX).map_err(text)?));
    digest.update(format!("{:?}", log.snapshot_latest(1).map_err(text)?));
    Ok(digest.finalize().to_vec())
}

pub(crate) fn verify(log: &Log) -> VerifyReport {
    log.verify(Hooks::default()).unwrap()
}

/// Verifies and shows the faults if there are any.
pub(crate) fn assert_clean(log: &Log) -> VerifyReport {
    let report = verify(log);
    assert!(report.is_clean(), "{:#?}", report.faults);
    report
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The files of RocksDB whose name ends so, with their sizes, by name.
pub(crate) fn db_files(dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<(std::path::PathBuf, u64)> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join("db"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| wanted(&entry.file_name().to_string_lossy()))
        .map(|entry| (entry.path(), entry.metadata().unwrap().len()))
        .collect();
    files.sort();
    files
}
