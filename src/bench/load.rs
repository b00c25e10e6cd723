//! A closed-loop load: so many requests in flight, each followed by the next.

use super::histogram::Histogram;
use super::traffic::{Line, World};
use crate::proto::v1::{
    EvaluateRequest, EvaluateResponse, EvaluateStreamRequest, EvaluateStreamResponse, SessionHints, ToolCall,
    evaluate_stream_response,
};
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// Size to which every request is filled up, encoded bytes.
const REQUEST_BYTES: usize = 600;
/// Agents whose day is replayed.
const AGENTS: usize = 1_000;

/// One of the services under load. All three speak the same messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The product: scored, decided, durable.
    Evaluate,
    /// The bare append.
    Append,
    /// The echo.
    Echo,
}

impl What {
    /// All, in the order in which they take turns.
    pub const ALL: [Self; 3] = [Self::Evaluate, Self::Append, Self::Echo];

    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Evaluate => "evaluate",
            Self::Append => "append",
            Self::Echo => "echo",
        }
    }

    const fn path(self, streamed: bool) -> &'static str {
        match (self, streamed) {
            (Self::Evaluate, false) => "/askance.v1.GatewayService/Evaluate",
            (Self::Evaluate, true) => "/askance.v1.GatewayService/EvaluateStream",
            (Self::Append, false) => "/askance.bench.v1.Append/Evaluate",
            (Self::Append, true) => "/askance.bench.v1.Append/EvaluateStream",
            (Self::Echo, false) => "/askance.bench.v1.Echo/Evaluate",
            (Self::Echo, true) => "/askance.bench.v1.Echo/EvaluateStream",
        }
    }
}

/// Calls to ask with, all of one size, with a fresh `call_id` each time: a working day of a company of
/// [`AGENTS`] agents, again and again, each time a week later. Thousands of agents at their own pace make
/// the load; none of them is in a hurry.
#[derive(Clone, Debug)]
pub struct Calls {
    pool: Arc<Vec<ToolCall>>,
    next: Arc<AtomicU64>,
    run: Arc<str>,
}

impl Calls {
    /// Calls of generated traffic. `run` sets the call ids of this run apart from those of others.
    pub fn new(seed: u64, run: &str) -> Self {
        // A Tuesday.
        let mut world = World::new(seed, AGENTS, 1_760_400_000_000_000);
        let pool: Vec<ToolCall> = world.day(0).iter().map(filled).collect();
        Self { pool: Arc::new(pool), next: Arc::new(AtomicU64::new(0)), run: run.into() }
    }

    /// The same days from here on, under other ids and counted apart.
    #[must_use]
    pub fn apart(&self, run: &str) -> Self {
        let next = Arc::new(AtomicU64::new(self.next.load(Ordering::Relaxed)));
        Self { pool: Arc::clone(&self.pool), next, run: run.into() }
    }

    /// Calls of one day.
    pub fn day_len(&self) -> usize {
        self.pool.len()
    }

    /// The next call.
    pub fn next(&self) -> ToolCall {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let round = number / self.pool.len() as u64;
        let mut call = self.pool[(number % self.pool.len() as u64) as usize].clone();
        call.call_id = format!("{}-{number:012}", self.run);
        if let Some(session) = &mut call.session {
            session.session_id.push_str(&format!("-{round:04}"));
        }
        if let Some(time) = &mut call.call_time {
            time.seconds += (round * 7 * 86_400) as i64;
        }
        call
    }
}

fn filled(line: &Line) -> ToolCall {
    let mut call = ToolCall {
        call_id: "0".repeat(20),
        tool: line.tool.clone(),
        server: line.suite.clone(),
        arguments_json: Vec::new().into(),
        principal_chain: vec![line.user.clone(), line.principal.clone()],
        session: Some(SessionHints { session_id: line.session.clone(), ..SessionHints::default() }),
        call_time: Some(prost_types::Timestamp {
            seconds: line.at_us.div_euclid(1_000_000),
            nanos: (line.at_us.rem_euclid(1_000_000) * 1_000) as i32,
        }),
        client: "bench".to_owned(),
        utc_offset_minutes: Some(line.offset_minutes),
        ..ToolCall::default()
    };
    let mut arguments = line.args.clone();
    let bare = call.encoded_len() + arguments.to_string().len() + 24;
    if let Some(fields) = arguments.as_object_mut() {
        let filling = "context ".repeat(REQUEST_BYTES / 8);
        let room = REQUEST_BYTES.saturating_sub(bare).min(filling.len());
        fields.insert("context".to_owned(), filling[..room].into());
    }
    call.arguments_json = arguments.to_string().into_bytes().into();
    call
}

/// What a load found.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Latencies of answered requests.
    pub latencies: Histogram,
    /// Requests that were answered with an error.
    pub errors: u64,
    /// How long the load ran.
    pub elapsed: Duration,
}

impl Measured {
    /// Adds a later slice of the same load.
    pub fn merge(&mut self, other: &Self) {
        self.latencies.merge(&other.latencies);
        self.errors += other.errors;
        self.elapsed += other.elapsed;
    }

    /// Answers a second.
    pub fn per_second(&self) -> f64 {
        self.latencies.count() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Unary requests over one connection, `in_flight` at a time, for `time`.
pub async fn unary(
    channel: &Channel,
    what: What,
    calls: &Calls,
    in_flight: usize,
    time: Duration,
) -> Measured {
    let start = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (channel, calls) = (channel.clone(), calls.clone());
            tokio::spawn(async move { unary_loop(channel, what, &calls, start + time).await })
        })
        .collect();
    let mut all = Measured::default();
    for task in tasks {
        if let Ok(part) = task.await {
            all.latencies.merge(&part.latencies);
            all.errors += part.errors;
        }
    }
    all.elapsed = start.elapsed();
    all
}

async fn unary_loop(channel: Channel, what: What, calls: &Calls, end: Instant) -> Measured {
    let mut grpc = tonic::client::Grpc::new(channel);
    let mut found = Measured::default();
    while Instant::now() < end {
        let request = EvaluateRequest { call: Some(calls.next()), ..EvaluateRequest::default() };
        let began = Instant::now();
        let answer = match grpc.ready().await {
            Ok(()) => ask(&mut grpc, what, request).await,
            Err(error) => Err(Status::unavailable(error.to_string())),
        };
        match answer {
            Ok(_) => found.latencies.add(began.elapsed().as_nanos() as u64),
            Err(_) => found.errors += 1,
        }
    }
    found
}

/// The path of a service's unary or streaming method.
pub(super) fn path_of(what: What, streamed: bool) -> PathAndQuery {
    PathAndQuery::from_static(what.path(streamed))
}

/// Asks once.
pub(super) async fn ask(
    grpc: &mut tonic::client::Grpc<Channel>,
    what: What,
    request: EvaluateRequest,
) -> Result<EvaluateResponse, Status> {
    let path = path_of(what, false);
    let codec: ProstCodec<EvaluateRequest, EvaluateResponse> = ProstCodec::default();
    grpc.unary(Request::new(request), path, codec).await.map(tonic::Response::into_inner)
}

/// Asks for `count` calls as fast as it goes, without measuring.
pub async fn warm_up(channel: &Channel, calls: &Calls, count: usize) -> Result<(), Status> {
    let mut asked = 0;
    while asked < count {
        let slice = stream(channel, What::Evaluate, calls, 256, Duration::from_millis(200)).await?;
        asked += slice.latencies.count() as usize;
    }
    Ok(())
}

/// One stream with `in_flight` requests under way, for `time`.
pub async fn stream(
    channel: &Channel,
    what: What,
    calls: &Calls,
    in_flight: usize,
    time: Duration,
) -> Result<Measured, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let (sender, receiver) = mpsc::unbounded_channel();
    let path = path_of(what, true);
    let codec: ProstCodec<EvaluateStreamRequest, EvaluateStreamResponse> = ProstCodec::default();
    let mut began = vec![Instant::now(); in_flight];
    let ask = |slot: u64, began: &mut Vec<Instant>| {
        began[slot as usize] = Instant::now();
        let call = Some(calls.next());
        sender.send(EvaluateStreamRequest { tag: slot, call, ..EvaluateStreamRequest::default() }).is_ok()
    };
    (0..in_flight as u64).for_each(|slot| {
        ask(slot, &mut began);
    });
    let requests = UnboundedReceiverStream::new(receiver);
    let mut answers = grpc.streaming(Request::new(requests), path, codec).await?.into_inner();
    let start = Instant::now();
    let mut found = Measured::default();
    let mut under_way = in_flight;
    while under_way > 0 {
        let Some(answer) = answers.message().await? else { break };
        under_way -= 1;
        match answer.result {
            Some(evaluate_stream_response::Result::Decision(_)) => {
                found.latencies.add(began[answer.tag as usize].elapsed().as_nanos() as u64);
            }
            _ => found.errors += 1,
        }
        if start.elapsed() < time && ask(answer.tag, &mut began) {
            under_way += 1;
        }
    }
    found.elapsed = start.elapsed();
    Ok(found)
}
