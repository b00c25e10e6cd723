//! The anchor: cut tails and older copies are refused, unless the operator accepts the loss.

use crate::kit::{Maker, assert_clean, at, copy_dir, db_files, dir, open, options, verify};
use askance::domain::Position;
use askance::eventlog::{AnchorState, Error, Log, LostTail, OpenReport, Options, anchor};
use std::fs;
use std::path::Path;

fn try_open(dir: &Path, options: &Options) -> Result<OpenReport, Error> {
    Log::open(dir, options).map(|(_, _, report)| report)
}

fn accepting(position: u64) -> Options {
    Options { accept_lost_tail: Some(at(position)), ..options() }
}

/// A log of 12 records whose database is an older copy with 9.
fn with_older_copy() -> tempfile::TempDir {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    let mut maker = Maker::default();
    maker.append(&mut writer, &[4, 5]);
    log.snapshot_write(at(9), 1, b"nine").unwrap();
    drop((log, writer));
    let copy = crate::kit::dir();
    copy_dir(&dir.path().join("db"), copy.path());
    let (log, mut writer) = open(dir.path());
    maker.append(&mut writer, &[3]);
    drop((log, writer));
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    copy_dir(copy.path(), &dir.path().join("db"));
    dir
}

#[test]
fn an_older_copy_of_the_database_is_refused() {
    let dir = with_older_copy();
    for result in [
        try_open(dir.path(), &options()).map(|_| ()),
        Log::open_read_only(dir.path(), &options()).map(|_| ()),
        Log::open_read_only(dir.path(), &accepting(12)).map(|_| ()),
    ] {
        let error = result.unwrap_err();
        assert!(error.is_data_loss());
        assert!(matches!(&error, Error::HeadBehindAnchor { tail, acknowledged, .. }
            if (*tail, *acknowledged) == (at(9), at(12))));
        let text = error.to_string();
        let place = dir.path().display();
        for part in [
            "ends at position 9 but position 12 was acknowledged before",
            &format!("`askance verify --data-dir {place}`"),
            "restore a newer backup",
            "`askance serve --accept-lost-tail 12`",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
    let salvaged = Log::open_salvage(dir.path(), &options()).unwrap();
    assert_eq!(salvaged.position(), at(9));
    let faults = verify(&salvaged).faults;
    assert!(faults.iter().any(|fault| fault.area == "anchor" && fault.position == at(12)), "{faults:?}");
}

#[test]
fn a_loss_is_accepted_only_by_its_position() {
    let dir = with_older_copy();
    let error = try_open(dir.path(), &accepting(11)).unwrap_err();
    assert!(
        matches!(error, Error::AcceptMismatch { given, acknowledged } if (given, acknowledged) == (at(11), at(12)))
    );
    let report = try_open(dir.path(), &accepting(12)).unwrap();
    assert_eq!(report.lost_tail, Some(LostTail { acknowledged: at(12), kept: at(9) }));
    // Accepted once, the loss is no longer one, even if the option stays.
    let report = try_open(dir.path(), &accepting(12)).unwrap();
    assert_eq!((report.lost_tail, report.tail), (None, at(9)));
    let (log, mut writer) = open(dir.path());
    let tail = writer.tail().0;
    let mut batch = Maker::default().batch(1);
    batch.records[0].stream = crate::kit::stream_id(77);
    writer.append(tail, &batch).unwrap();
    assert_clean(&log);
}

#[test]
fn snapshots_beyond_an_accepted_loss_are_dropped() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    Maker::default().append(&mut writer, &[4]);
    log.snapshot_write(at(4), 1, b"four").unwrap();
    drop((log, writer));
    crate::snapshots::tamper(dir.path(), |db| {
        let family = |name| db.cf_handle(name).unwrap();
        db.delete_cf(family("log"), 1_u64.to_be_bytes()).unwrap();
        for name in ["payload", "stream", "call", "tool"] {
            db.delete_range_cf(family(name), [0_u8].as_slice(), [0xff; 40].as_slice()).unwrap();
        }
    });
    assert!(matches!(try_open(dir.path(), &options()), Err(Error::HeadBehindAnchor { .. })));
    let (log, _, report) = Log::open(dir.path(), &accepting(4)).unwrap();
    assert_eq!(report.lost_tail, Some(LostTail { acknowledged: at(4), kept: Position::ZERO }));
    assert!(log.snapshots().unwrap().is_empty());
    assert_clean(&log);
}

#[test]
fn another_history_of_the_same_length_is_refused() {
    let (ours, theirs) = (dir(), dir());
    for (dir, sizes) in [(&ours, [5, 2]), (&theirs, [6, 1])] {
        let (_log, mut writer) = open(dir.path());
        Maker::default().append(&mut writer, &sizes);
    }
    fs::remove_dir_all(ours.path().join("db")).unwrap();
    copy_dir(&theirs.path().join("db"), &ours.path().join("db"));
    assert!(matches!(
        try_open(ours.path(), &options()),
        Err(Error::HistoryDiffers { acknowledged, .. }) if acknowledged == at(7)
    ));
    assert!(try_open(ours.path(), &accepting(7)).unwrap().lost_tail.is_some());
}

#[test]
fn a_vanished_database_is_not_taken_for_a_new_one() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    Maker::default().append(&mut writer, &[3]);
    drop((log, writer));
    let db = dir.path().join("db");
    fs::rename(db.join("CURRENT"), dir.path().join("CURRENT")).unwrap();
    assert!(matches!(try_open(dir.path(), &options()), Err(Error::RefusedOpen { .. })));
    assert!(fs::read_dir(&db).unwrap().count() > 3, "nothing may be deleted");
    fs::rename(dir.path().join("CURRENT"), db.join("CURRENT")).unwrap();
    assert_eq!(try_open(dir.path(), &options()).unwrap().tail, at(3));
    fs::remove_dir_all(&db).unwrap();
    let error = try_open(dir.path(), &options()).unwrap_err();
    assert!(
        matches!(error, Error::HeadBehindAnchor { tail: Position::ZERO, acknowledged, .. } if acknowledged == at(3))
    );
    assert!(!db.exists());
}

#[test]
fn a_missing_or_damaged_anchor_is_reported_and_written_anew() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    Maker::default().append(&mut writer, &[3, 1]);
    drop((log, writer));
    let path = dir.path().join("anchor");
    let whole = fs::read(&path).unwrap();
    let state = || {
        let first = try_open(dir.path(), &options()).unwrap().anchor;
        assert_eq!(try_open(dir.path(), &options()).unwrap().anchor, AnchorState::Agrees);
        first
    };
    fs::remove_file(&path).unwrap();
    assert_eq!(state(), AnchorState::Missing);
    fs::write(&path, vec![0xee; whole.len()]).unwrap();
    let (log, writer, report) = Log::open(dir.path(), &options()).unwrap();
    assert_eq!(report.anchor, AnchorState::Missing);
    drop((log, writer));
    for slot in [0, 4096] {
        let mut bytes = whole.clone();
        bytes[slot + 30] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(try_open(dir.path(), &options()).unwrap().anchor, AnchorState::SlotDamaged);
    }
}

/// Only a write that was under way when the process died can be torn behind the anchor.
#[test]
fn a_torn_write_that_was_never_acknowledged_is_cut_off() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    let mut maker = Maker::default();
    maker.append(&mut writer, &[3, 2]);
    let anchor = fs::read(dir.path().join("anchor")).unwrap();
    let start = wal(dir.path()).1;
    maker.append(&mut writer, &[4]);
    drop((log, writer));
    fs::write(dir.path().join("anchor"), anchor).unwrap();
    let (wal, end) = wal(dir.path());
    let bytes = fs::read(&wal).unwrap();
    for cut in [start + 1, start + 5, start + 8, (start + end) / 2, end - 1] {
        let copy = crate::kit::dir();
        copy_dir(dir.path(), copy.path());
        let name = wal.file_name().unwrap();
        fs::write(copy.path().join("db").join(name), &bytes[..cut as usize]).unwrap();
        let (log, mut writer, report) = Log::open(copy.path(), &options()).unwrap();
        assert!(report.torn_tail && report.lost_tail.is_none(), "cut at {cut} of {start}..{end}");
        assert_eq!(report.tail, at(5));
        let mut batch = Maker::default().batch(1);
        batch.records[0].stream = crate::kit::stream_id(77);
        writer.append(at(5), &batch).unwrap();
        assert_clean(&log);
        drop((log, writer));
        assert!(!Log::open(copy.path(), &options()).unwrap().2.torn_tail);
    }
}

/// After a reboot the anchor may be older than the last acknowledgement, so a torn write is for the operator to judge.
#[test]
fn a_torn_write_before_a_reboot_is_refused_until_accepted() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    let mut maker = Maker::default();
    maker.append(&mut writer, &[5]);
    let mut anchor = anchor::read(dir.path()).unwrap().newest.unwrap();
    maker.append(&mut writer, &[4]);
    drop((log, writer));
    anchor.boot ^= 1;
    let mut slots = vec![0; 4096 + 64];
    slots[..64].copy_from_slice(&anchor.encode());
    fs::write(dir.path().join("anchor"), slots).unwrap();
    let (wal, end) = wal(dir.path());
    fs::OpenOptions::new().write(true).open(&wal).unwrap().set_len(end - 9).unwrap();
    let error = try_open(dir.path(), &options()).unwrap_err();
    assert!(matches!(&error, Error::RefusedOpen { .. }), "{error}");
    assert!(error.to_string().contains("--accept-lost-tail 5"), "{error}");
    let report = try_open(dir.path(), &accepting(5)).unwrap();
    assert_eq!(report.lost_tail, Some(LostTail { acknowledged: at(5), kept: at(5) }));
    assert_clean(&open(dir.path()).0);
}

/// The newest write-ahead log and its length.
fn wal(dir: &Path) -> (std::path::PathBuf, u64) {
    db_files(dir, |name| name.ends_with(".log")).pop().unwrap()
}
