//! Snapshots: whole, damaged, cut short.

use crate::kit::{Maker, assert_clean, at, dir, open, verify};
use askance::eventlog::{Error, PART_BYTES, SnapshotInfo};
use std::path::Path;

const FAMILIES: [&str; 9] =
    ["default", "log", "payload", "stream", "call", "tool", "directory", "snapshot", "meta"];

/// Changes the store behind the log's back.
pub(crate) fn tamper(dir: &Path, change: impl FnOnce(&rocksdb::DB)) {
    let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), dir.join("db"), FAMILIES).unwrap();
    change(&db);
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| byte()).collect()
}

#[test]
fn the_newest_of_the_right_version_counts_and_two_are_kept() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    Maker::default().append(&mut writer, &[5, 5, 5]);
    let large = noise(3 * PART_BYTES + 17);
    log.snapshot_write(at(5), 1, &large).unwrap();
    log.snapshot_write(at(10), 1, b"").unwrap();
    assert_eq!(log.snapshot_latest(1).unwrap().latest, Some((at(10), vec![])));
    log.snapshot_write(at(15), 2, b"two").unwrap();
    let infos = log.snapshots().unwrap();
    assert_eq!(infos.len(), 2);
    assert_eq!(infos[1], SnapshotInfo { position: at(15), state_version: 2, bytes: 3 });
    assert_eq!(log.snapshot_latest(1).unwrap().latest, Some((at(10), vec![])));
    assert_eq!(log.snapshot_latest(2).unwrap().latest, Some((at(15), b"two".to_vec())));
    assert_eq!(log.snapshot_latest(3).unwrap().latest, None);
    assert!(matches!(log.snapshot_write(at(16), 1, b""), Err(Error::WrongTail { .. })));
    // The same position again, with fewer parts.
    log.snapshot_write(at(15), 1, &large).unwrap();
    log.snapshot_write(at(15), 1, &large[..PART_BYTES + 1]).unwrap();
    drop((log, writer));
    let (log, _writer) = open(dir.path());
    assert_eq!(log.snapshot_latest(1).unwrap().latest, Some((at(15), large[..PART_BYTES + 1].to_vec())));
    assert_eq!(assert_clean(&log).snapshots, 2);
}

#[test]
fn a_damaged_snapshot_falls_back_to_the_older_one() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    Maker::default().append(&mut writer, &[5, 5]);
    log.snapshot_write(at(5), 1, b"older").unwrap();
    log.snapshot_write(at(10), 1, &noise(2 * PART_BYTES)).unwrap();
    drop((log, writer));
    let key = |part: u8| [0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, part];
    let mut kept = Vec::new();
    for change in 0..4 {
        tamper(dir.path(), |db| {
            let family = db.cf_handle("snapshot").unwrap();
            if change == 0 {
                kept = db.get_cf(family, key(0)).unwrap().unwrap();
            }
            let mut value = kept.clone();
            match change {
                0 => value[10] ^= 1,
                1 => *value.last_mut().unwrap() ^= 1,
                2 => value[40] ^= 1,
                _ => db.delete_cf(family, key(1)).unwrap(),
            }
            db.put_cf(family, key(0), value).unwrap();
        });
        let (log, _writer) = open(dir.path());
        let found = log.snapshot_latest(1).unwrap();
        assert_eq!(found.latest, Some((at(5), b"older".to_vec())), "change {change}");
        assert_eq!((found.damaged.len(), found.damaged[0].0), (1, at(10)));
        let report = verify(&log);
        assert_eq!(
            (report.faults_total, report.snapshots_incomplete),
            if change < 3 { (1, 0) } else { (0, 1) }
        );
    }
}
