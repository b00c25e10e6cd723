//! Random histories against a model in memory.

use crate::kit::{assert_clean, at, dir, open, stream_id};
use askance::domain::{CallKey, Position, Revision, Timestamp};
use askance::eventlog::{Batch, Log, NewRecord, Payload, PayloadState, StreamFrom, Writer};
use proptest::prelude::*;
use std::collections::HashMap;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Sketch>),
    Erase(u64),
    FlushIndex,
    Snapshot(u16),
    Reopen { close: bool },
}

#[derive(Clone, Debug)]
struct Sketch {
    stream: u8,
    tool: u8,
    hour: i8,
    body: Vec<u8>,
    payload: Option<Vec<u8>>,
    call: bool,
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    (0..4_u8, 0..3_u8, -3..3_i8, bytes(), prop::option::of(bytes()), any::<bool>()).prop_map(
        |(stream, tool, hour, body, payload, call)| Sketch { stream, tool, hour, body, payload, call },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(sketch(), 1..20).prop_map(Step::Append),
        2 => any::<u64>().prop_map(Step::Erase),
        1 => Just(Step::FlushIndex),
        1 => any::<u16>().prop_map(Step::Snapshot),
        2 => any::<bool>().prop_map(|close| Step::Reopen { close }),
    ]
}

#[derive(Default)]
struct Model {
    records: Vec<NewRecord>,
    erased: Vec<u64>,
    revisions: HashMap<u8, u64>,
    snapshots: Vec<(u64, Vec<u8>)>,
}

impl Model {
    fn batch(&mut self, sketches: Vec<Sketch>) -> Batch {
        let start = self.records.len();
        for sketch in sketches {
            let position = self.records.len() as u64 + 1;
            let revision = self.revisions.entry(sketch.stream).or_default();
            *revision += 1;
            self.records.push(NewRecord {
                stream: stream_id(sketch.stream),
                revision: Revision::new(*revision),
                receive_time: Timestamp::from_micros(i64::from(sketch.hour) * 3_600_000_000 + 5),
                call: CallKey::from_bytes(u128::from(position).to_le_bytes()),
                tool: u64::from(sketch.tool),
                body: sketch.body,
                payload: sketch.payload.map(|bytes| Payload { salt: [position as u8; 16], bytes }),
                introduces_call: sketch.call,
                ..NewRecord::default()
            });
        }
        Batch { records: self.records[start..].to_vec(), ..Batch::default() }
    }

    fn numbered(&self) -> impl Iterator<Item = (u64, &NewRecord)> {
        (1..).zip(&self.records)
    }

    fn compare(&self, log: &Log) {
        assert_eq!(log.position().get(), self.records.len() as u64);
        for (position, want) in self.numbered() {
            let found = log.get(at(position)).unwrap().unwrap();
            let view = found.view();
            assert_eq!(
                (view.stream(), view.revision(), view.tool()),
                (want.stream, want.revision, want.tool)
            );
            assert_eq!((view.body(), view.call()), (want.body.as_slice(), want.call));
            let payload = match &want.payload {
                None => PayloadState::None,
                Some(_) if self.erased.contains(&position) => PayloadState::Erased,
                Some(payload) => PayloadState::Present(payload.bytes.clone()),
            };
            assert_eq!(log.payload(at(position)).unwrap(), payload);
            let call = want.introduces_call.then(|| at(position));
            assert_eq!(log.find_call(want.call).unwrap(), call);
        }
        for number in 0..4 {
            let ours = |record: &NewRecord| record.stream == stream_id(number);
            let want: Vec<_> =
                self.numbered().filter(|(_, record)| ours(record)).map(|(p, _)| at(p)).collect();
            let from = StreamFrom::Position(Position::ZERO);
            assert_eq!(log.stream_positions(stream_id(number), from, usize::MAX).unwrap(), want);
            let last = want.last().map(|last| (Revision::new(want.len() as u64), *last));
            assert_eq!(log.stream_last(stream_id(number)).unwrap(), last);
            let half = want.len() / 2;
            let from = StreamFrom::Revision(Revision::new(half as u64 + 1));
            assert_eq!(log.stream_positions(stream_id(number), from, usize::MAX).unwrap(), want[half..]);
        }
        for tool in 1..3_u64 {
            let mut want: Vec<_> = self
                .numbered()
                .filter(|(_, record)| record.tool == tool && record.introduces_call)
                .map(|(p, record)| (record.receive_time.as_micros().div_euclid(3_600_000_000), at(p)))
                .filter(|(hour, _)| (-2..=1).contains(hour))
                .collect();
            want.sort();
            let want: Vec<_> = want.into_iter().map(|(_, position)| position).collect();
            assert_eq!(log.tool_positions(tool, -2..=1, usize::MAX).unwrap(), want);
        }
        let found = log.snapshot_latest(1).unwrap();
        assert!(found.damaged.is_empty());
        let want = self.snapshots.iter().max_by_key(|(position, _)| *position);
        assert_eq!(found.latest, want.map(|(position, bytes)| (at(*position), bytes.clone())));
    }

    fn apply(&mut self, step: Step, log: &Log, writer: &mut Writer) {
        match step {
            Step::Append(sketches) => {
                let tail = at(self.records.len() as u64);
                let batch = self.batch(sketches);
                let appended = writer.append(tail, &batch).unwrap();
                assert_eq!((appended.first, appended.last), (tail.next(), at(self.records.len() as u64)));
            }
            Step::Erase(seed) if !self.records.is_empty() => {
                let position = seed % self.records.len() as u64 + 1;
                let has = self.records[position as usize - 1].payload.is_some();
                let fresh = !self.erased.contains(&position);
                match writer.erase_payload(at(position)) {
                    Ok(erased) => assert!(has && erased == fresh),
                    Err(error) => assert!(!has, "{error}"),
                }
                if has {
                    self.erased.push(position);
                }
            }
            Step::FlushIndex => _ = writer.flush_index().unwrap(),
            Step::Snapshot(length) => {
                let (position, bytes) = (self.records.len() as u64, vec![length as u8; length.into()]);
                log.snapshot_write(at(position), 1, &bytes).unwrap();
                self.snapshots.retain(|(at, _)| *at != position);
                self.snapshots.push((position, bytes));
            }
            Step::Erase(_) | Step::Reopen { .. } => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_its_model(steps in prop::collection::vec(step(), 1..25)) {
        let dir = dir();
        let (mut log, mut writer) = open(dir.path());
        let mut model = Model::default();
        for step in steps {
            if let Step::Reopen { close } = step {
                if close {
                    writer.close().unwrap();
                } else {
                    drop(writer);
                }
                drop(log);
                (log, writer) = open(dir.path());
                model.compare(&log);
            } else {
                model.apply(step, &log, &mut writer);
            }
        }
        model.compare(&log);
        assert_clean(&log);
        drop((log, writer));
        let log = Log::open_read_only(dir.path(), &crate::kit::options()).unwrap();
        model.compare(&log);
        assert_clean(&log);
    }
}
