//! Event log throughput: synced appends by group size, scans, point reads. Plain figures, no statistics:
//! `cargo bench --bench append`; `ASKANCE_BENCH_DIR` names the disk (default: the system's temporary directory).
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its figures and may stop")]

use askance::domain::{CallKey, Position, Revision, StreamId, Timestamp};
use askance::eventlog::keys::Family;
use askance::eventlog::{Batch, Log, NewRecord, Options, Payload, StreamFrom};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

/// Records appended for each group size, at most.
const RECORDS_MAX: usize = 300_000;
/// Time for each group size, at most.
const TIME_MAX: Duration = Duration::from_secs(4);

/// 300 bytes of body and as many of payload, half of them telling and half random: about as JSON compresses.
fn record(index: u64) -> NewRecord {
    let mut state = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut filler = |out: &mut Vec<u8>| {
        out.extend_from_slice(
            br#"{"tool":"kubernetes.scale_replicas","args":{"namespace":"payments","replicas":12,"id":""#,
        );
        while out.len() < 300 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let fresh = b'a' + (state % 26) as u8;
            out.push(if out.len().is_multiple_of(2) { b'-' } else { fresh });
        }
    };
    let (mut body, mut payload) = (Vec::with_capacity(300), Vec::with_capacity(300));
    filler(&mut body);
    filler(&mut payload);
    let call = u128::from(index / 2 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    NewRecord {
        kind: 1,
        stream: StreamId::from_bytes([(index / 2 % 200) as u8; 16]),
        revision: Revision::new(1 + index / 400 * 2 + index % 2),
        receive_time: Timestamp::from_micros(1_700_000_000_000_000 + index as i64 * 50),
        call: CallKey::from_bytes(call.to_le_bytes()),
        tool: index % 40 + 1,
        body,
        payload: (index.is_multiple_of(2)).then_some(Payload { salt: [index as u8; 16], bytes: payload }),
        introduces_call: index.is_multiple_of(2),
        ..NewRecord::default()
    }
}

fn percentile(sorted: &[Duration], share: f64) -> u128 {
    sorted[((sorted.len() - 1) as f64 * share) as usize].as_micros()
}

fn appends(dir: &Path, group: usize) {
    let (log, mut writer, _) = Log::open(&dir.join(format!("group-{group}")), &Options::default()).unwrap();
    let batches: Vec<Batch> = (0..RECORDS_MAX / group)
        .map(|number| Batch {
            records: (0..group).map(|at| record((number * group + at) as u64)).collect(),
            ..Batch::default()
        })
        .collect();
    let (mut took, start) = (Vec::with_capacity(batches.len()), Instant::now());
    for batch in &batches {
        let before = Instant::now();
        writer.append(writer.tail().0, batch).unwrap();
        took.push(before.elapsed());
        if start.elapsed() > TIME_MAX {
            break;
        }
    }
    let (seconds, count) = (start.elapsed().as_secs_f64(), took.len() * group);
    took.sort();
    println!(
        "append group {group:>4}: {:>8.0} records/s, p50 {} us, p99 {} us, max {} us ({count} records)",
        count as f64 / seconds,
        percentile(&took, 0.5),
        percentile(&took, 0.99),
        percentile(&took, 1.0),
    );
    if group == 256 {
        reads(&log, count as u64);
        drop((log, writer));
        let start = Instant::now();
        let (log, _writer, report) = Log::open(&dir.join("group-256"), &Options::default()).unwrap();
        println!("open: {} ms, {} records indexed anew", start.elapsed().as_millis(), report.reindexed);
        reads(&log, count as u64);
        let bytes: u64 = Family::ALL.iter().map(|family| log.file_bytes(*family)).sum();
        let each = |family| log.file_bytes(family) as f64 / count as f64;
        println!(
            "on disk: {:.0} bytes a record (log {:.0}, payload {:.0})",
            bytes as f64 / count as f64,
            each(Family::Log),
            each(Family::Payload)
        );
    }
}

fn timed(what: &str, count: u64, f: impl FnOnce()) {
    let start = Instant::now();
    f();
    let seconds = start.elapsed().as_secs_f64();
    println!("{what}: {:.0}/s ({:.1} us each)", count as f64 / seconds, seconds * 1e6 / count as f64);
}

fn reads(log: &Log, count: u64) {
    let tail = log.position();
    let mut bytes = 0;
    timed("scan", count, || {
        log.scan(Position::FIRST, tail, |record| {
            bytes += record.body().len();
            ControlFlow::Continue(())
        })
        .unwrap();
    });
    timed("scan with payloads", count, || {
        log.scan_payloads(Position::FIRST, tail, |record, _| {
            bytes += record.body().len();
            ControlFlow::Continue(())
        })
        .unwrap();
    });
    timed("verify", count, || assert!(log.verify(Default::default()).unwrap().is_clean()));
    let random = |index: u64| Position::new(1 + index.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count);
    timed("get", 20_000, || (0..20_000).for_each(|index| _ = log.get(random(index)).unwrap()));
    timed("payload", 20_000, || (0..20_000).for_each(|index| _ = log.payload(random(index)).unwrap()));
    timed("find_call, known", 20_000, || {
        (0..20_000).for_each(|index| {
            let call = record(random(index).get() - 1).call;
            assert!(log.find_call(call).unwrap().is_some());
        });
    });
    timed("find_call, new", 20_000, || {
        (0..20_000_u64).for_each(|index| {
            let call =
                CallKey::from_bytes((u128::MAX / 3 - u128::from(index).wrapping_mul(7 << 90)).to_le_bytes());
            assert!(log.find_call(call).unwrap().is_none());
        });
    });
    timed("stream, 100 records", 500, || {
        (0..500_u64).for_each(|index| {
            let stream = StreamId::from_bytes([(index % 200) as u8; 16]);
            log.stream(stream, StreamFrom::Revision(Revision::new(1 + index % 100)), 100).unwrap();
        });
    });
    assert!(bytes > 0);
}

fn main() {
    let place = std::env::var_os("ASKANCE_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(place).unwrap();
    for group in [1, 16, 64, 256, 1024] {
        appends(dir.path(), group);
    }
}
