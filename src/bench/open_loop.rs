//! An open loop: requests come at a given rate whether or not earlier ones were answered, at random moments
//! as from many clients that know nothing of each other. A latency counts from the moment the request was
//! due, so that a request which had to wait to be sent is not let off (no coordinated omission).

use super::load::{Calls, Measured, What, ask, path_of};
use super::random::Random;
use crate::proto::v1::{
    EvaluateRequest, EvaluateStreamRequest, EvaluateStreamResponse, evaluate_stream_response,
};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// How long the clock of arrivals sleeps at most before it looks again.
const SLEEP: Duration = Duration::from_micros(100);

/// Moments at which requests are due, after the start, for `time`: a Poisson process of this rate, told by a
/// thread of its own, because the runtime's timers are a millisecond coarse.
fn arrivals(per_second: f64, time: Duration, seed: u64) -> mpsc::UnboundedReceiver<Duration> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mean_ns = 1e9 / per_second.max(1.0);
    std::thread::spawn(move || {
        let mut random = Random::new(seed);
        let start = Instant::now();
        let mut due = Duration::ZERO;
        while due < time {
            let now = start.elapsed();
            if now < due {
                std::thread::sleep((due - now).min(SLEEP));
                continue;
            }
            if sender.send(due).is_err() {
                return;
            }
            due += Duration::from_nanos(random.waiting(mean_ns) as u64);
        }
    });
    receiver
}

/// Unary requests over one connection at this rate.
pub async fn unary(
    channel: &Channel,
    what: What,
    calls: &Calls,
    per_second: f64,
    time: Duration,
) -> Measured {
    unary_from(channel, what, calls, per_second, time, 1).await
}

/// The same, at the moments of this seed.
pub async fn unary_from(
    channel: &Channel,
    what: What,
    calls: &Calls,
    per_second: f64,
    time: Duration,
    seed: u64,
) -> Measured {
    let mut due = arrivals(per_second, time, seed);
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let mut all = Measured::default();
    let mut count = |answered: Option<u64>| match answered {
        Some(nanos) => all.latencies.add(nanos),
        None => all.errors += 1,
    };
    while let Some(due) = due.recv().await {
        let (channel, call) = (channel.clone(), calls.next());
        tasks.spawn(async move {
            let mut grpc = tonic::client::Grpc::new(channel);
            let request = EvaluateRequest { call: Some(call), ..EvaluateRequest::default() };
            let ready = grpc.ready().await.is_ok();
            let answered = ready && ask(&mut grpc, what, request).await.is_ok();
            answered.then(|| start.elapsed().saturating_sub(due).as_nanos() as u64)
        });
        while let Some(done) = tasks.try_join_next() {
            count(done.ok().flatten());
        }
    }
    while let Some(done) = tasks.join_next().await {
        count(done.ok().flatten());
    }
    all.elapsed = start.elapsed();
    all
}

/// Requests on one stream at this rate. A request's tag is the moment it was due, in nanoseconds.
pub async fn stream(
    channel: &Channel,
    what: What,
    calls: &Calls,
    per_second: f64,
    time: Duration,
) -> Result<Measured, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let (sender, receiver) = mpsc::unbounded_channel();
    let codec: ProstCodec<EvaluateStreamRequest, EvaluateStreamResponse> = ProstCodec::default();
    let requests = Request::new(UnboundedReceiverStream::new(receiver));
    let mut due = arrivals(per_second, time, 2);
    let start = Instant::now();
    let calls = calls.clone();
    tokio::spawn(async move {
        while let Some(due) = due.recv().await {
            let call = Some(calls.next());
            let tag = due.as_nanos() as u64;
            let request = EvaluateStreamRequest { tag, call, ..EvaluateStreamRequest::default() };
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    let mut answers = grpc.streaming(requests, path_of(what, true), codec).await?.into_inner();
    let mut found = Measured::default();
    while let Some(answer) = answers.message().await? {
        match answer.result {
            Some(evaluate_stream_response::Result::Decision(_)) => {
                let due = Duration::from_nanos(answer.tag);
                found.latencies.add(start.elapsed().saturating_sub(due).as_nanos() as u64);
            }
            _ => found.errors += 1,
        }
    }
    found.elapsed = start.elapsed();
    Ok(found)
}
