//! Damage to files and to stored values: refused, found by `verify`, or provably without effect. Never silent.

use crate::kit::{Maker, assert_clean, at, copy_dir, db_files, dir, fingerprint, open, options, verify};
use crate::snapshots::tamper;
use askance::eventlog::{Error, Log, Options};
use rocksdb::{DB, DBRecoveryMode};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// How damage came to light.
#[derive(Debug, PartialEq, Eq)]
enum Noticed {
    Refused,
    Verify,
    NoEffect,
    Silent,
}

fn judge(dir: &Path, before: &[u8]) -> Noticed {
    let log = match Log::open_read_only(dir, &options()) {
        Err(error) => {
            assert!(error.is_data_loss(), "{error}");
            return Noticed::Refused;
        }
        Ok(log) => log,
    };
    let clean = verify(&log).is_clean();
    match fingerprint(&log) {
        Ok(now) if now == before && clean => Noticed::NoEffect,
        _ if clean => Noticed::Silent,
        _ => Noticed::Verify,
    }
}

/// Flips one bit of a byte for as long as `f` runs.
fn flipped<R>(path: &Path, offset: u64, f: impl FnOnce() -> R) -> R {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << (offset % 8))], offset).unwrap();
    let result = f();
    file.write_all_at(&byte, offset).unwrap();
    result
}

/// A log whose last two batches lie from the returned offset to the end of the write-ahead log.
fn with_two_in_the_wal() -> (TempDir, PathBuf, u64, Vec<u8>) {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    let mut maker = Maker::default();
    maker.append(&mut writer, &[3, 1]);
    let wal = db_files(dir.path(), |name| name.ends_with(".log")).pop().unwrap();
    maker.append(&mut writer, &[1, 2]);
    let before = fingerprint(&log).unwrap();
    drop((log, writer));
    (dir, wal.0, wal.1, before)
}

#[test]
fn every_byte_of_the_last_two_wal_records_is_guarded() {
    let (dir, wal, start, before) = with_two_in_the_wal();
    assert_eq!(judge(dir.path(), &before), Noticed::NoEffect);
    let end = fs::metadata(&wal).unwrap().len();
    assert!(end - start > 500);
    for offset in start..end {
        let noticed = flipped(&wal, offset, || judge(dir.path(), &before));
        assert_eq!(noticed, Noticed::Refused, "offset {offset} of {start}..{end}");
        // Opening for writing refuses just the same, and leaves everything as it is.
        if offset % 37 == 0 {
            flipped(&wal, offset, || {
                let error = Log::open(dir.path(), &options()).map(|_| ()).unwrap_err();
                assert!(matches!(error, Error::RefusedOpen { .. }), "{error}");
                let text = error.to_string();
                assert!(text.contains("position 7 was acknowledged before"), "{text}");
                assert!(text.contains("it can be read up to position"), "{text}");
                assert!(text.contains("--accept-lost-tail 7"), "{text}");
            });
        }
    }
    assert_eq!(judge(dir.path(), &before), Noticed::NoEffect);
}

/// The control: with RocksDB's default recovery mode the same flips lose records without a word.
#[test]
fn the_default_recovery_mode_would_be_silent() {
    let (dir, wal, start, _) = with_two_in_the_wal();
    let end = fs::metadata(&wal).unwrap().len();
    let records = || {
        let mut settings = rocksdb::Options::default();
        settings.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        let db =
            DB::open_cf_for_read_only(&settings, dir.path().join("db"), ["default", "log"], false).unwrap();
        db.iterator_cf(db.cf_handle("log").unwrap(), rocksdb::IteratorMode::Start).count()
    };
    assert_eq!(records(), 4);
    for offset in (start..end).step_by(41) {
        assert!(flipped(&wal, offset, records) < 4, "offset {offset}");
    }
}

#[test]
fn every_cut_of_the_last_wal_records_is_refused() {
    let (dir, wal, start, before) = with_two_in_the_wal();
    let bytes = fs::read(&wal).unwrap();
    let mut behind_anchor = 0;
    for cut in start as usize..bytes.len() {
        fs::write(&wal, &bytes[..cut]).unwrap();
        match Log::open_read_only(dir.path(), &options()).map(|_| ()).unwrap_err() {
            Error::RefusedOpen { .. } => {}
            Error::HeadBehindAnchor { .. } => behind_anchor += 1,
            other => panic!("cut at {cut}: {other}"),
        }
    }
    assert_eq!(behind_anchor, 2, "the cuts exactly between records");
    // Zeros in place of the tail, as some file systems leave them.
    let mut zeros = bytes.clone();
    zeros[start as usize..].fill(0);
    fs::write(&wal, &zeros).unwrap();
    assert_eq!(judge(dir.path(), &before), Noticed::Refused);
    fs::write(&wal, &bytes).unwrap();
    assert_eq!(judge(dir.path(), &before), Noticed::NoEffect);
}

#[test]
fn the_operator_can_accept_what_the_wal_lost() {
    let (dir, wal, start, _) = with_two_in_the_wal();
    let mut bytes = fs::read(&wal).unwrap();
    bytes[start as usize + 20] ^= 1;
    fs::write(&wal, &bytes).unwrap();
    let accept = |position| Options { accept_lost_tail: Some(at(position)), ..options() };
    assert!(matches!(Log::open(dir.path(), &accept(6)).map(|_| ()), Err(Error::AcceptMismatch { .. })));
    let (log, _, report) = Log::open(dir.path(), &accept(7)).unwrap();
    let lost = report.lost_tail.unwrap();
    assert_eq!((lost.acknowledged, lost.kept), (at(7), at(4)));
    assert_clean(&log);
}

/// A log with tables, several batches, an erased payload and snapshots.
fn with_tables() -> (TempDir, Vec<u8>) {
    let dir = dir();
    let (mut log, mut writer) = open(dir.path());
    let mut maker = Maker::default();
    for round in 0..3 {
        maker.append(&mut writer, &[20, 1, 9]);
        log.snapshot_write(log.position(), 1, &[round; 5000]).unwrap();
        writer.erase_payload(log.position()).unwrap();
        writer.flush_index().unwrap();
        drop((log, writer));
        (log, writer) = open(dir.path());
    }
    let before = fingerprint(&log).unwrap();
    drop((log, writer));
    (dir, before)
}

#[test]
fn flips_all_over_the_tables_and_the_manifest_are_noticed() {
    let (dir, before) = with_tables();
    let mut counts = std::collections::BTreeMap::new();
    let wanted = |name: &str| {
        name.ends_with(".sst") || name.ends_with(".log") || name.starts_with("MANIFEST") || name == "CURRENT"
    };
    let files = db_files(dir.path(), wanted);
    assert!(files.iter().filter(|(path, _)| path.extension().is_some_and(|ext| ext == "sst")).count() >= 6);
    for (path, length) in &files {
        let step = (length / 40).max(1) as usize;
        for offset in (0..*length).step_by(step) {
            let noticed = flipped(path, offset, || judge(dir.path(), &before));
            assert_ne!(noticed, Noticed::Silent, "{} at {offset}", path.display());
            let kind =
                path.extension().map_or_else(|| "meta".into(), |ext| ext.to_string_lossy().into_owned());
            *counts.entry((kind, format!("{noticed:?}"))).or_insert(0) += 1;
        }
    }
    println!("{counts:?}");
    let noticed: u32 = counts.iter().filter(|((_, how), _)| how != "NoEffect").map(|(_, count)| count).sum();
    assert!(noticed * 10 > counts.values().sum::<u32>() * 7, "most flips should hit something: {counts:?}");
    assert_eq!(judge(dir.path(), &before), Noticed::NoEffect);
}

#[test]
fn a_missing_table_is_refused() {
    let (dir, _) = with_tables();
    for (path, _) in db_files(dir.path(), |name| name.ends_with(".sst")) {
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let error = Log::open(dir.path(), &options()).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::RefusedOpen { .. }), "{error}");
        fs::write(&path, bytes).unwrap();
    }
    assert_clean(&open(dir.path()).0);
}

/// Changes that RocksDB's checksums cannot notice: someone rewrote values with the right tools.
#[test]
fn forged_values_are_found() {
    type Forge = fn(&DB);
    let (dir, _) = with_tables();
    let forgeries: [(&str, Forge); 9] = [
        ("log", |db| change(db, "log", |value| value[8 + 130] ^= 1)),
        ("log", |db| remove(db, "log", 1)),
        ("payload", |db| change(db, "payload", |value| value[8 + 30] ^= 1)),
        ("payload", |db| change(db, "payload", |value| value[8 + 8] = 1)),
        ("payload", |db| remove(db, "payload", 0)),
        ("payload", |db| {
            let value = [1, 0, 0, 0, 0, 0, 0, 0];
            db.put_cf(db.cf_handle("payload").unwrap(), 2_u64.to_be_bytes(), value).unwrap();
        }),
        ("stream", |db| change(db, "stream", |value| *value.last_mut().unwrap() ^= 1)),
        ("call", |db| change(db, "call", |value| value[0] ^= 1)),
        ("tool", |db| remove(db, "tool", 0)),
    ];
    for (index, (area, forge)) in forgeries.into_iter().enumerate() {
        let copy = crate::kit::dir();
        copy_dir(dir.path(), copy.path());
        tamper(copy.path(), forge);
        let log = Log::open_read_only(copy.path(), &options()).unwrap();
        let faults = verify(&log).faults;
        assert!(faults.iter().any(|fault| fault.area == area), "forgery {index} in {area}: {faults:?}");
    }
}

fn nth_key(db: &DB, family: &str, index: usize) -> Box<[u8]> {
    let mut entries = db.iterator_cf(db.cf_handle(family).unwrap(), rocksdb::IteratorMode::Start);
    entries.nth(index).unwrap().unwrap().0
}

fn change(db: &DB, family: &str, f: impl FnOnce(&mut Vec<u8>)) {
    let (key, handle) = (nth_key(db, family, 0), db.cf_handle(family).unwrap());
    let mut value = db.get_cf(handle, &key).unwrap().unwrap();
    f(&mut value);
    db.put_cf(handle, key, value).unwrap();
}

fn remove(db: &DB, family: &str, index: usize) {
    db.delete_cf(db.cf_handle(family).unwrap(), nth_key(db, family, index)).unwrap();
}

/// A record forged at the end, with right checksums but another chain, is refused at opening.
#[test]
fn a_forged_tail_is_refused_when_the_log_is_opened() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    Maker::default().append(&mut writer, &[3, 3]);
    drop((log, writer));
    tamper(dir.path(), |db| {
        let family = db.cf_handle("log").unwrap();
        let value = db.get_cf(family, 4_u64.to_be_bytes()).unwrap().unwrap();
        db.put_cf(family, 7_u64.to_be_bytes(), value).unwrap();
    });
    let error = Log::open(dir.path(), &options()).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { family: "log", position, .. } if position == at(7)), "{error}");
}

#[test]
fn lost_index_entries_heal() {
    let (dir, before) = with_tables();
    for everything in [false, true] {
        tamper(dir.path(), |db| {
            for name in ["stream", "call", "tool"] {
                if everything {
                    db.delete_range_cf(db.cf_handle(name).unwrap(), [0_u8].as_slice(), [0xff; 40].as_slice())
                        .unwrap();
                }
            }
            let indexed_to: u64 = if everything { 0 } else { 17 };
            db.put_cf(db.cf_handle("meta").unwrap(), "indexed_to", indexed_to.to_le_bytes()).unwrap();
        });
        let (log, mut writer, report) = Log::open(dir.path(), &options()).unwrap();
        assert_eq!(report.reindexed, if everything { 90 } else { 73 });
        assert_eq!(fingerprint(&log).unwrap(), before);
        writer.flush_index().unwrap();
        assert_eq!(fingerprint(&log).unwrap(), before);
        assert_clean(&log);
    }
    tamper(dir.path(), |db| {
        remove(db, "stream", 1);
        remove(db, "call", 3);
    });
    let (log, writer) = open(dir.path());
    let faults = verify(&log).faults;
    assert!(
        faults.iter().any(|fault| fault.area == "stream") && faults.iter().any(|fault| fault.area == "call")
    );
    drop((log, writer));
    let rebuild = Options { rebuild_index: true, ..options() };
    let (log, writer, report) = Log::open(dir.path(), &rebuild).unwrap();
    assert_eq!((report.reindexed, fingerprint(&log).unwrap()), (90, before));
    writer.close().unwrap();
    assert_clean(&log);
}
