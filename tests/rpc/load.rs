//! How fast the plumbing is. Run with `cargo test --release --test rpc load -- --ignored --nocapture`.

use crate::support::{Server, call, evaluate};
use askance::proto::v1;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

fn varied(number: usize) -> v1::ToolCall {
    let mut call = call(&format!("call-{number}"));
    call.session.as_mut().unwrap().session_id = format!("s-{}", number / 50);
    call.arguments_json =
        format!(r#"{{"city":"Bern {}","days":{},"note":"{}"}}"#, number % 97, number % 7, "x".repeat(300))
            .into_bytes()
            .into();
    call
}

async fn stream(server: &Server, count: usize, in_flight: usize) -> f64 {
    let mut gateway = server.gateway().await;
    let (sender, receiver) = mpsc::channel(in_flight);
    let mut answers = gateway.evaluate_stream(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let base = rand_base();
    let begin = Instant::now();
    let send = |tag: usize| v1::EvaluateStreamRequest {
        tag: tag as u64,
        call: Some(varied(base + tag)),
        timeout: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    for tag in 0..in_flight {
        sender.send(send(tag)).await.unwrap();
    }
    let mut next = in_flight;
    for _ in 0..count {
        let answer = answers.message().await.unwrap().unwrap();
        assert!(matches!(answer.result, Some(v1::evaluate_stream_response::Result::Decision(_))));
        if next < count {
            sender.send(send(next)).await.unwrap();
            next += 1;
        }
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

fn rand_base() -> usize {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as usize
}

async fn unary(server: &Server, count: usize, in_flight: usize) -> f64 {
    let channel = server.channel().await;
    let base = rand_base();
    let begin = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|task| {
            let mut gateway = v1::gateway_service_client::GatewayServiceClient::new(channel.clone());
            tokio::spawn(async move {
                for number in 0..count / in_flight {
                    let number = base + task * 10_000_000 + number;
                    gateway.evaluate(evaluate(varied(number))).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput() {
    let server = Server::start().await;
    for in_flight in [1, 64, 256] {
        let count = if in_flight == 1 { 2_000 } else { 30_000 };
        println!("unary  {in_flight:4} in flight: {:8.0}/s", unary(&server, count, in_flight).await);
    }
    for in_flight in [64, 256] {
        println!("stream {in_flight:4} in flight: {:8.0}/s", stream(&server, 60_000, in_flight).await);
    }
    server.stop().await;
}
