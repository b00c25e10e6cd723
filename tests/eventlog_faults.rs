//! Failures on demand in the event log. The points are global to the process, so this is one test in a binary of its own.
#![cfg(feature = "faults")]
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a test stops at the first surprise and shares more than it needs"
)]

#[path = "eventlog/kit.rs"]
mod kit;

use crate::kit::{Maker, assert_clean, at, dir, open, options};
use askance::eventlog::faults::{Action, arm};
use askance::eventlog::{Error, Log};

#[test]
fn after_a_failed_write_appends_stay_off_until_the_log_is_opened_again() {
    for (point, in_log) in [("before_batch", false), ("after_wal_write", true)] {
        for nth in 1..=4 {
            let dir = dir();
            let (log, mut writer) = open(dir.path());
            let mut maker = Maker::default();
            arm(point, nth, Action::Error);
            maker.append(&mut writer, &vec![2; nth as usize - 1]);
            let acknowledged = 2 * (nth - 1);
            let batch = maker.batch(3);
            let error = writer.append(at(acknowledged), &batch).unwrap_err();
            assert!(!error.is_without_effect());
            for _ in 0..2 {
                let error = writer.append(at(acknowledged), &batch).unwrap_err();
                assert!(matches!(error, Error::WritesOff { .. }), "{error}");
            }
            assert!(matches!(writer.flush_index(), Err(Error::WritesOff { .. })));
            assert!(log.writes_off().is_some());
            assert_eq!(log.position(), at(acknowledged));
            assert_clean(&log);
            drop((log, writer));
            let (log, mut writer, report) = Log::open(dir.path(), &options()).unwrap();
            let tail = acknowledged + if in_log { 3 } else { 0 };
            assert_eq!(report.tail, at(tail), "{point} {nth}");
            if !in_log {
                writer.append(at(tail), &batch).unwrap();
            }
            assert_clean(&log);
        }
    }
    the_anchor_fails_closed();
    an_acknowledgement_without_a_write_is_noticed();
}

fn the_anchor_fails_closed() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    arm("anchor_write", 2, Action::Error);
    let mut maker = Maker::default();
    maker.append(&mut writer, &[1, 1]);
    assert_eq!(log.position(), at(2));
    assert!(matches!(writer.append(at(2), &maker.batch(1)), Err(Error::WritesOff { .. })));
    drop((log, writer));
    assert_eq!(open(dir.path()).0.position(), at(2));
}

/// The control: a writer that lies is caught by the anchor.
fn an_acknowledgement_without_a_write_is_noticed() {
    let dir = dir();
    let (log, mut writer) = open(dir.path());
    arm("ack_before_write", 3, Action::Error);
    Maker::default().append(&mut writer, &[1, 1, 1]);
    drop((log, writer));
    assert!(matches!(Log::open(dir.path(), &options()).map(|_| ()), Err(Error::HeadBehindAnchor { .. })));
}
