//! A writer killed at any moment loses nothing that it acknowledged.

use crate::kit::{Maker, assert_clean, dir, options};
use askance::eventlog::{Log, NewRecord, OpenReport};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const DIR: &str = "ASKANCE_TEST_KILL_DIR";
const CYCLES: u64 = 30;

/// Not a test by itself: the process that is killed. Appends small and large batches, and says how far it is.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (log, mut writer, _) = Log::open(Path::new(&dir), &options()).unwrap();
    let mut out = std::io::stdout();
    for round in 0.. {
        let mut batch = Maker::default().batch(1 + round % 20);
        batch.directory.clear();
        let (tail, filler) = (writer.tail().0, vec![round as u8; 120_000 * (round % 4)]);
        for (index, record) in batch.records.iter_mut().enumerate() {
            // A stream for each record, so that its revision is right without knowing the others.
            let mut stream = [0; 16];
            stream[..8].copy_from_slice(&(tail.get() + index as u64).to_le_bytes());
            *record = NewRecord {
                stream: askance::domain::StreamId::from_bytes(stream),
                revision: askance::domain::Revision::new(1),
                introduces_call: false,
                body: filler.clone(),
                ..record.clone()
            };
        }
        let appended = writer.append(tail, &batch).unwrap();
        if round % 50 == 49 {
            log.snapshot_write(appended.last, 1, &filler).unwrap();
            writer.flush_index().unwrap();
        }
        writeln!(out, "\nacknowledged {}", appended.last).unwrap();
        out.flush().unwrap();
    }
}

/// Runs the child for a while and kills it; returns the last position that it acknowledged.
fn run_and_kill(dir: &Path, after: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        let number = |line: String| line.strip_prefix("acknowledged ").and_then(|text| text.parse().ok());
        lines.map_while(Result::ok).filter_map(number).last().unwrap_or(0)
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    let dir = dir();
    let (mut acknowledged, mut torn) = (0, 0);
    for cycle in 0..CYCLES {
        // A different moment each time; fixed, so that a failure can be tried again.
        let after = Duration::from_micros(60_000 + cycle * 7919 % 90_000);
        acknowledged = run_and_kill(dir.path(), after).max(acknowledged);
        let (log, _writer, report): (_, _, OpenReport) = Log::open(dir.path(), &options()).unwrap();
        assert!(
            report.tail.get() >= acknowledged,
            "{acknowledged} was acknowledged, {} is there",
            report.tail
        );
        assert_eq!(report.lost_tail, None);
        torn += u32::from(report.torn_tail);
        if cycle % 5 == 4 {
            assert_clean(&log);
        }
        acknowledged = report.tail.get();
    }
    println!("{CYCLES} kills, {acknowledged} records, {torn} torn writes cut off");
    assert!(acknowledged > CYCLES, "the child hardly wrote anything");
}
