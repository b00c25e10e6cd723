//! Appending, reading, following, opening again.

use crate::kit::{Maker, assert_clean, at, call_key, dir, fingerprint, open, options, payload, stream_id};
use askance::domain::{Position, Revision};
use askance::eventlog::{
    AnchorState, Batch, Error, Hooks, Log, NewRecord, Options, PayloadState, StreamFrom, frame,
};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[test]
fn a_new_log_is_empty() {
    let dir = dir();
    let (log, writer, report) = Log::open(dir.path(), &options()).unwrap();
    assert!(report.created && report.anchor == AnchorState::Fresh && report.lost_tail.is_none());
    assert_eq!(log.tail(), (Position::ZERO, [0; 32]));
    assert_eq!(writer.tail(), log.tail());
    assert!(log.read(Position::FIRST, 10, 1 << 20).unwrap().is_empty());
    assert_eq!(log.get(Position::FIRST).unwrap(), None);
    assert_eq!(log.get(Position::ZERO).unwrap(), None);
    assert_eq!(log.find_call(call_key(1)).unwrap(), None);
    assert_clean(&log);
}

#[test]
fn records_come_back_by_position_across_batches_and_openings() {
    let dir = dir();
    let sizes = [1, 7, 1, 2048, 3];
    let (log, mut writer) = open(dir.path());
    Maker::default().append(&mut writer, &sizes);
    let (total, before) = (sizes.iter().sum::<usize>() as u64, fingerprint(&log).unwrap());
    drop((log, writer));
    let (log, writer, report) = Log::open(dir.path(), &options()).unwrap();
    assert_eq!((report.tail.get(), report.anchor), (total, AnchorState::Agrees));
    assert_eq!(fingerprint(&log).unwrap(), before);
    for position in [1, 2, 8, 9, 10, 11, 1000, 2057, 2058, 2060] {
        let record = log.get(at(position)).unwrap().unwrap();
        assert_eq!(record.position(), at(position));
        assert_eq!(record.body(), format!("body of record {position}").as_bytes());
        let want =
            if position % 2 == 0 { PayloadState::Present(payload(position)) } else { PayloadState::None };
        assert_eq!(log.payload(at(position)).unwrap(), want);
    }
    assert_eq!(log.get(at(total + 1)).unwrap(), None);
    let read = log.read(at(7), 6, 1 << 20).unwrap();
    assert_eq!(read.iter().map(|record| record.position().get()).collect::<Vec<_>>(), [7, 8, 9, 10, 11, 12]);
    assert_eq!(log.read(at(7), 100, 1).unwrap().len(), 1);
    let two: usize = read[..2].iter().map(|record| record.view().bytes().len()).sum();
    assert_eq!(log.read(at(7), 100, two).unwrap().len(), 2);
    assert_eq!(log.read(at(7), 100, two - 1).unwrap().len(), 1);
    let report = assert_clean(&log);
    assert_eq!((report.records, report.payloads), (total, total / 2));
    assert!(report.pages > 10, "a large batch takes several pages");
    assert_eq!(report.head, writer.tail());
}

#[test]
fn scans_stop_where_told() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    Maker::default().append(&mut writer, &[5, 5, 5]);
    let positions = |from, to, stop: u64| {
        let mut seen = Vec::new();
        log.scan(at(from), at(to), |record| {
            seen.push(record.position().get());
            if record.position().get() == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        seen
    };
    assert_eq!(positions(4, 7, 0), [4, 5, 6, 7]);
    assert_eq!(positions(0, 99, 0), (1..=15).collect::<Vec<_>>());
    assert_eq!(positions(4, 15, 6), [4, 5, 6]);
    assert_eq!(positions(7, 6, 0), [0; 0]);
    assert_eq!(positions(16, 20, 0), [0; 0]);
}

#[test]
fn the_chain_can_be_recomputed_by_anyone() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    Maker::default().append(&mut writer, &[3, 4]);
    let mut head = [0; 32];
    log.scan(Position::FIRST, at(7), |record| {
        assert_eq!(record.previous_hash(), head);
        head = frame::hash(record.bytes());
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(log.tail(), (at(7), head));
}

#[test]
fn streams_calls_and_tools_are_found_before_and_after_the_index_is_written() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    let mut maker = Maker::default();
    let check = |log: &Log, tail: u64| {
        for number in 0..5_u8 {
            let want: Vec<_> = (1..=tail).filter(|index| index % 5 == u64::from(number)).collect();
            let all = StreamFrom::Position(Position::ZERO);
            let found = log.stream(stream_id(number), all, usize::MAX).unwrap();
            assert_eq!(found.iter().map(|record| record.position().get()).collect::<Vec<_>>(), want);
            let third = StreamFrom::Revision(Revision::new(3));
            let found = log.stream(stream_id(number), third, 2).unwrap();
            assert_eq!(found[0].view().revision(), Revision::new(3));
            assert_eq!(found.len(), 2);
            let from = StreamFrom::Position(at(want[1] + 1));
            assert_eq!(log.stream_positions(stream_id(number), from, 1).unwrap(), [at(want[2])]);
        }
        for index in 1..=tail {
            let want = (index % 3 == 0).then(|| at(index));
            assert_eq!(log.find_call(call_key(index)).unwrap(), want);
        }
        // Six records an hour, calls at multiples of 3, tools by index modulo 4.
        let want: Vec<_> = (12..=23).filter(|index| index % 3 == 0 && index % 4 == 2).map(at).collect();
        assert_eq!(log.tool_positions(2, 2..=3, usize::MAX).unwrap(), want);
        let want: Vec<_> = (1..=tail).filter(|index| index % 3 == 0 && index % 4 == 2).map(at).collect();
        assert_eq!(log.tool_positions(2, i64::MIN..=i64::MAX, usize::MAX).unwrap(), want);
        assert_eq!(log.tool_positions(2, i64::MIN..=i64::MAX, 2).unwrap(), want[..2]);
        assert!(log.tool_positions(0, i64::MIN..=i64::MAX, 9).unwrap().is_empty());
    };
    maker.append(&mut writer, &[10, 20, 30]);
    check(&log, 60);
    assert!(writer.flush_index().unwrap() && !writer.flush_index().unwrap());
    check(&log, 60);
    maker.append(&mut writer, &[10, 11]);
    check(&log, 81);
    let clean = assert_clean(&log);
    assert_eq!(clean.index_entries, 60 + 20 + 15);
    // So many records that the index is written with an append.
    maker.append(&mut writer, &[2000; 5]);
    check(&log, 10_081);
    assert!(assert_clean(&log).index_entries > 10_000);
    drop((log, writer));
    let (log, writer) = open(dir.path());
    check(&log, 10_081);
    writer.close().unwrap();
    drop(log);
    let (log, _, report) = Log::open(dir.path(), &options()).unwrap();
    assert_eq!(report.reindexed, 0);
    check(&log, 10_081);
    assert_clean(&log);
}

#[test]
fn followers_are_woken() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    assert_eq!(log.wait_past(Position::ZERO, Duration::from_millis(1)), Position::ZERO);
    let seen = Arc::new(AtomicU64::new(0));
    let hook = Arc::clone(&seen);
    log.set_on_append(Box::new(move |position| hook.store(position.get(), Ordering::SeqCst)));
    let follower = std::thread::spawn({
        let log = log.clone();
        move || {
            let tail = log.wait_past(Position::ZERO, Duration::from_secs(20));
            log.get(tail).unwrap().unwrap().position()
        }
    });
    Maker::default().append(&mut writer, &[4]);
    assert_eq!(follower.join().unwrap(), at(4));
    assert_eq!(seen.load(Ordering::SeqCst), 4);
}

#[test]
fn appends_out_of_turn_or_over_a_limit_change_nothing() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    let mut maker = Maker::default();
    maker.append(&mut writer, &[2]);
    let one = |record: NewRecord| Batch { records: vec![record], ..Batch::default() };
    let large = NewRecord { body: vec![0; frame::BODY_BYTES_MAX + 1], ..NewRecord::default() };
    let many = Batch { records: vec![NewRecord::default(); 2049], ..Batch::default() };
    let heavy = NewRecord { body: vec![0; frame::BODY_BYTES_MAX], ..NewRecord::default() };
    let heavy = Batch { records: vec![heavy; 32], ..Batch::default() };
    let key = Batch { directory: vec![(vec![0; 2000], None)], ..maker.batch(1) };
    assert!(matches!(writer.append(at(1), &maker.batch(1)), Err(Error::WrongTail { .. })));
    assert!(matches!(writer.append(at(3), &maker.batch(1)), Err(Error::WrongTail { .. })));
    assert!(matches!(writer.append(at(2), &Batch::default()), Err(Error::EmptyBatch)));
    for batch in [one(large), many, heavy, key] {
        let error = writer.append(at(2), &batch).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }) && error.is_without_effect(), "{error}");
    }
    assert_eq!(log.position(), at(2));
    let largest = NewRecord {
        body: vec![7; frame::BODY_BYTES_MAX],
        revision: Revision::new(1),
        stream: stream_id(99),
        ..NewRecord::default()
    };
    writer.append(at(2), &one(largest)).unwrap();
    assert_eq!(log.get(at(3)).unwrap().unwrap().body().len(), frame::BODY_BYTES_MAX);
    assert_clean(&log);
}

#[test]
fn the_directory_lists_in_both_directions() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    let mut maker = Maker::default();
    let set = |key: &str| (key.as_bytes().to_vec(), Some(key.to_uppercase().into_bytes()));
    let mut batch = maker.batch(1);
    batch.directory = ["a", "b/1", "b/2", "b/3", "b/4", "c", "\u{7f}"].map(set).to_vec();
    batch.directory.push((vec![0xff, 0xff, 1], Some(b"x".to_vec())));
    writer.append(Position::ZERO, &batch).unwrap();
    let mut batch = maker.batch(1);
    batch.directory = vec![(b"b/3".to_vec(), None)];
    writer.append(at(1), &batch).unwrap();
    let list = |prefix: &[u8], after: Option<&str>, reverse, max| {
        let entries = log.directory(prefix, after.map(str::as_bytes), reverse, max).unwrap();
        entries.into_iter().map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(b"b/", None, false, 9), ["b/1", "b/2", "b/4"]);
    assert_eq!(list(b"b/", None, true, 9), ["b/4", "b/2", "b/1"]);
    assert_eq!(list(b"b/", Some("b/1"), false, 1), ["b/2"]);
    assert_eq!(list(b"b/", Some("b/4"), true, 1), ["b/2"]);
    assert_eq!(list(b"b/", Some("a"), false, 1), ["b/1"]);
    assert_eq!(list(b"b/", Some("z"), true, 1), ["b/4"]);
    assert_eq!(list(b"b/", Some("z"), false, 9), [""; 0]);
    assert_eq!(list(b"b/", Some("a"), true, 9), [""; 0]);
    assert_eq!(list(b"", None, false, 99).len(), 7);
    assert_eq!(log.directory(&[0xff], None, true, 9).unwrap().len(), 1);
    assert_eq!(log.directory_get(b"c").unwrap(), Some(b"C".to_vec()));
    assert_eq!(log.directory_get(b"b/3").unwrap(), None);
}

#[test]
fn one_writer_at_a_time() {
    let dir = dir();
    let (log, writer) = open(dir.path());
    let again = Log::open(dir.path(), &options());
    assert!(matches!(again.map(|_| ()), Err(Error::InUse { dir: used }) if used == dir.path()));
    drop((log, writer));
    open(dir.path());
}

/// With our own lock out of the way, RocksDB's lock says the same.
#[test]
fn rocksdbs_own_lock_is_recognised() {
    let dir = dir();
    let (log, writer) = open(dir.path());
    std::fs::remove_file(dir.path().join("lock")).unwrap();
    assert!(matches!(Log::open(dir.path(), &options()).map(|_| ()), Err(Error::InUse { .. })));
    drop((log, writer));
}

#[test]
fn readers_work_beside_a_writer_and_change_nothing() {
    let dir = dir();
    // So large that the write-ahead log is not replaced all the time, which would be too fast for any reader.
    let options = || Options { write_buffer_bytes: 256 << 20, ..options() };
    let (log, mut writer, _) = Log::open(dir.path(), &options()).unwrap();
    let mut maker = Maker::default();
    maker.append(&mut writer, &[10]);
    let reader = Log::open_read_only(dir.path(), &options()).unwrap();
    maker.append(&mut writer, &[10]);
    assert_eq!((reader.position(), log.position()), (at(10), at(20)));
    assert_eq!(reader.find_call(call_key(9)).unwrap(), Some(at(9)));
    assert_clean(&reader);
    assert!(matches!(reader.snapshot_write(at(1), 1, b"x"), Err(Error::ReadOnly)));
    let tail = writer.tail().0;
    let busy = std::thread::spawn(move || {
        for _ in 0..100 {
            maker.append(&mut writer, &[3; 30]);
        }
    });
    let mut rounds = 0;
    while rounds < 3 || !busy.is_finished() {
        let reader = Log::open_read_only(dir.path(), &options()).unwrap();
        assert!(reader.position() >= tail);
        assert_clean(&reader);
        assert_clean(&log);
        rounds += 1;
    }
    busy.join().unwrap();
}

#[test]
fn newer_formats_and_other_partitions_are_refused() {
    let dir = dir();
    drop(open(dir.path()));
    let other = Options { partition: 1, ..options() };
    assert!(matches!(
        Log::open(dir.path(), &other).map(|_| ()),
        Err(Error::OtherPartition { found: 0, expected: 1 })
    ));
    let names = ["default", "log", "payload", "stream", "call", "tool", "directory", "snapshot", "meta"];
    let db_dir = dir.path().join("db");
    let mut db = rocksdb::DB::open_cf(&rocksdb::Options::default(), &db_dir, names).unwrap();
    db.put_cf(db.cf_handle("meta").unwrap(), "storage_format", 2_u32.to_le_bytes()).unwrap();
    let refused =
        |found: Result<(), Error>| matches!(found, Err(Error::NewerFormat { found: 2, supported: 1 }));
    drop(db);
    assert!(refused(Log::open(dir.path(), &options()).map(|_| ())));
    assert!(refused(Log::open_read_only(dir.path(), &options()).map(|_| ())));
    db = rocksdb::DB::open_cf(&rocksdb::Options::default(), &db_dir, names).unwrap();
    db.create_cf("merkle", &rocksdb::Options::default()).unwrap();
    drop(db);
    assert!(refused(Log::open(dir.path(), &options()).map(|_| ())));
}

#[test]
fn the_callers_check_is_heard() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    Maker::default().append(&mut writer, &[5, 5]);
    let (mut progress, mut seen) = (Vec::new(), 0);
    let report = log
        .verify(Hooks {
            progress: Some(&mut |step| progress.push(step.done.get())),
            record: Some(&mut |record, _| {
                seen += 1;
                (record.position() == at(7)).then(|| "the snapshot differs".to_owned())
            }),
        })
        .unwrap();
    assert_eq!((progress, seen), (vec![5, 10], 10));
    assert_eq!((report.faults_total, report.faults[0].position, report.faults[0].area), (1, at(7), "caller"));
}

#[test]
fn wrong_revisions_are_faults() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    let mut batch = Maker::default().batch(11);
    batch.records[10].revision = Revision::new(9);
    writer.append(Position::ZERO, &batch).unwrap();
    let report = crate::kit::verify(&log);
    assert_eq!((report.faults_total, report.faults[0].position), (1, at(11)));
}
