//! `Evaluate` as a client sees it, over loopback with durability on: one call after another, and many in flight
//! on one stream. Daemon and client share this process; `askance bench` keeps them apart and measures the ceilings
//! beside them.

#![allow(clippy::unwrap_used, reason = "a bench may stop")]

use askance::bench::load::Calls;
use askance::bench::server;
use askance::proto::v1::gateway_service_client::GatewayServiceClient;
use askance::proto::v1::{EvaluateRequest, EvaluateStreamRequest};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

/// Requests in flight on a stream.
const IN_FLIGHT: [u64; 2] = [16, 256];

type Client = GatewayServiceClient<Channel>;

async fn unary(client: &mut Client, calls: &Calls, count: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        let request = EvaluateRequest { call: Some(calls.next()), ..EvaluateRequest::default() };
        assert!(client.evaluate(request).await.unwrap().into_inner().decision.is_some());
    }
    start.elapsed()
}

async fn stream(client: &mut Client, calls: &Calls, in_flight: u64, count: u64) -> Duration {
    let (sender, receiver) = mpsc::unbounded_channel();
    let ask = |tag: u64| {
        let call = Some(calls.next());
        sender.send(EvaluateStreamRequest { tag, call, ..EvaluateStreamRequest::default() }).unwrap();
    };
    let start = Instant::now();
    let mut asked = in_flight.min(count);
    (0..asked).for_each(&ask);
    let requests = UnboundedReceiverStream::new(receiver);
    let mut answers = client.evaluate_stream(requests).await.unwrap().into_inner();
    for _ in 0..count {
        assert!(answers.message().await.unwrap().unwrap().result.is_some());
        if asked < count {
            ask(asked);
            asked += 1;
        }
    }
    start.elapsed()
}

fn evaluate(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (mut client, engine) = runtime.block_on(async {
        let server = server::open(dir.path(), false).unwrap();
        let address = format!("http://{}", server.bound.tcp().unwrap());
        tokio::spawn(server.bound.run(std::future::pending()));
        (Client::connect(address).await.unwrap(), server.engine)
    });
    let calls = Calls::new(1, "bench");
    let mut group = criterion.benchmark_group("evaluate");
    group.throughput(Throughput::Elements(1));
    group.bench_function("unary", |bench| {
        bench.iter_custom(|count| runtime.block_on(unary(&mut client, &calls, count)));
    });
    for in_flight in IN_FLIGHT {
        group.bench_function(format!("stream/{in_flight}"), |bench| {
            bench.iter_custom(|count| runtime.block_on(stream(&mut client, &calls, in_flight, count)));
        });
    }
    group.finish();
    runtime.block_on(engine.stop()).unwrap();
}

criterion_group!(benches, evaluate);
criterion_main!(benches);
