//! What a call costs between the queue and the disk: check, score and decide, apply; on the state that a
//! working company of 1,000 agents leaves behind.

use askance::bench::traffic::{Line, World};
use askance::decide::ingest::{Ingest, RawCall};
use askance::decide::{self, InferenceCache, Settings};
use askance::domain::call::{Call, SessionSource};
use askance::domain::decision::Mode;
use askance::domain::event::{Event, LogCreated, Payload, Pending, Recorded};
use askance::domain::mask::Masker;
use askance::domain::{CallKey, Position, Revision, StreamId, Timestamp};
use askance::policy::Policy;
use askance::projection::State;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

struct Bench {
    state: State,
    ingest: Ingest,
    policy: Policy,
    settings: Settings,
    inferences: InferenceCache,
}

impl Bench {
    fn new() -> Self {
        let mut state = State::empty();
        let created = LogCreated { log_id: [1; 16], hash_key: [2; 16], partition: 0, partitions: 1 };
        apply(&mut state, Event::LogCreated(created));
        let ingest = Ingest {
            key: state.key(),
            masker: Masker::new([3; 32]),
            session_order: SessionSource::ALL.to_vec(),
        };
        let policy = Policy::built_in(Mode::Enforce);
        Self { state, ingest, policy, settings: Settings::default(), inferences: InferenceCache::default() }
    }

    fn call(&self, line: &Line) -> Call {
        let arguments = line.args.to_string();
        let call_id = format!("{}/{}", line.session, line.index);
        let chain = [line.user.clone(), line.principal.clone()];
        let raw = RawCall {
            call_id: &call_id,
            tool: &line.tool,
            server: &line.suite,
            principal_chain: &chain,
            arguments: arguments.as_bytes(),
            session_id: &line.session,
            utc_offset_minutes: Some(line.offset_minutes),
            ..RawCall::default()
        };
        self.ingest.call(&raw, Timestamp::from_micros(line.at_us)).expect("generated calls are valid")
    }

    fn open(&mut self, call: &Call) -> StreamId {
        let now = call.receive_time;
        for closing in decide::housekeep(&self.state, &call.tenant, now, now, &self.settings) {
            take_up(&mut self.state, closing);
        }
        let resolved = decide::resolve(&self.state, call, &self.settings, &mut |_| Revision::ZERO);
        resolved.opened.into_iter().for_each(|opened| take_up(&mut self.state, opened));
        resolved.stream
    }

    fn judge(&mut self, call: Call, stream: StreamId) -> decide::Judged {
        let Self { state, policy, settings, inferences, .. } = self;
        let key = CallKey::from_bytes([7; 16]);
        let aids = decide::Aids { inferences, schema_fault: &mut |_, _| String::new() };
        decide::judge(state, call, key, stream, policy, settings, aids)
    }

    fn whole(&mut self, line: &Line) {
        let call = self.call(line);
        let stream = self.open(&call);
        let judged = self.judge(call, stream);
        take_up(&mut self.state, judged.proposed);
        take_up(&mut self.state, judged.decided);
    }
}

fn take_up(state: &mut State, record: Pending) {
    let recorded = Recorded { position: state.position.next(), record };
    state.apply(&recorded);
}

fn apply(state: &mut State, event: Event) {
    let at = Timestamp::default();
    let record = Pending {
        stream: StreamId::NONE,
        revision: Revision::new(1),
        event_time: at,
        receive_time: at,
        call: CallKey::NONE,
        causation: Position::ZERO,
        event,
        payload: Payload::default(),
    };
    take_up(state, record);
}

fn benches(criterion: &mut Criterion) {
    let mut world = World::new(11, 1_000, 1_760_313_600_000_000);
    let mut bench = Bench::new();
    for day in 0..6 {
        world.day(day).iter().for_each(|line| bench.whole(line));
    }
    let lines = world.day(7);
    let mut next = lines.iter().cycle();
    criterion.bench_function("ingest: check, mask, digest, features", |bencher| {
        bencher.iter(|| black_box(bench.call(next.next().expect("a cycle does not end"))));
    });
    let call = bench.call(&lines[lines.len() / 2]);
    let stream = bench.open(&call);
    criterion.bench_function("score and decide", |bencher| {
        bencher.iter_batched(
            || call.clone(),
            |call| black_box(bench.judge(call, stream)),
            criterion::BatchSize::SmallInput,
        );
    });
    criterion.bench_function("whole call without log: ingest, session, judge, apply, learn", |bencher| {
        bencher.iter(|| bench.whole(next.next().expect("a cycle does not end")));
    });
    criterion
        .bench_function("state to bytes", |bencher| bencher.iter(|| black_box(bench.state.to_bytes().len())));
}

criterion_group!(group, benches);
criterion_main!(group);
