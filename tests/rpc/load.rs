//! How fast the plumbing is: Evaluate beside an echo of the same requests on the same server. Run with
//! `cargo test --release --test rpc load -- --ignored --nocapture`.

use crate::echo::Echo;
use crate::support::{Server, call};
use askance::proto::v1;
use askance::rpc::Extra;
use http::uri::PathAndQuery;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

/// Who answers.
#[derive(Clone, Copy, Debug)]
enum What {
    Evaluate,
    Echo,
}

impl What {
    fn path(self, stream: bool) -> PathAndQuery {
        PathAndQuery::from_static(match (self, stream) {
            (Self::Evaluate, false) => "/askance.v1.GatewayService/Evaluate",
            (Self::Evaluate, true) => "/askance.v1.GatewayService/EvaluateStream",
            (Self::Echo, false) => "/test.Echo/Evaluate",
            (Self::Echo, true) => "/test.Echo/EvaluateStream",
        })
    }
}

fn varied(number: usize) -> v1::ToolCall {
    let mut call = call(&format!("call-{number}"));
    call.session.as_mut().unwrap().session_id = format!("s-{}", number / 50);
    let note = "x".repeat(300);
    let (city, days) = (number % 97, number % 7);
    call.arguments_json = format!(r#"{{"city":"Bern {city}","days":{days},"note":"{note}"}}"#).into();
    call
}

fn base() -> usize {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as usize
}

async fn stream(channel: Channel, what: What, count: usize, in_flight: usize) -> f64 {
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let (sender, receiver) = mpsc::channel(in_flight);
    let codec = ProstCodec::<v1::EvaluateStreamRequest, v1::EvaluateStreamResponse>::default();
    let requests = Request::new(ReceiverStream::new(receiver));
    let mut answers = client.streaming(requests, what.path(true), codec).await.unwrap().into_inner();
    let base = base();
    let request = |tag: usize| v1::EvaluateStreamRequest {
        tag: tag as u64,
        call: Some(varied(base + tag)),
        timeout: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    let begin = Instant::now();
    for tag in 0..in_flight {
        sender.send(request(tag)).await.unwrap();
    }
    for next in in_flight..count + in_flight {
        let answer = answers.message().await.unwrap().unwrap();
        assert!(matches!(answer.result, Some(v1::evaluate_stream_response::Result::Decision(_))));
        if next < count {
            sender.send(request(next)).await.unwrap();
        }
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

async fn unary(channel: Channel, what: What, count: usize, in_flight: usize) -> f64 {
    let base = base();
    let begin = Instant::now();
    let task = |task: usize| {
        let mut client = Grpc::new(channel.clone());
        tokio::spawn(async move {
            for number in 0..count / in_flight {
                let call = Some(varied(base + task * 10_000_000 + number));
                let request = Request::new(v1::EvaluateRequest { call, ..Default::default() });
                let codec = ProstCodec::<v1::EvaluateRequest, v1::EvaluateResponse>::default();
                client.ready().await.unwrap();
                client.unary(request, what.path(false), codec).await.unwrap();
            }
        })
    };
    for task in (0..in_flight).map(task).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    count as f64 / begin.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extra_services_answer_beside_ours() {
    let server = Server::with_extra(|_| {}, |_| {}, vec![Extra::new(Echo)]).await;
    unary(server.channel().await, What::Echo, 10, 2).await;
    stream(server.channel().await, What::Echo, 10, 2).await;
    unary(server.channel().await, What::Evaluate, 10, 2).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_requests_on_one_connection_are_not_throttled() {
    let server = Server::with(|_| {}, |options| options.decision_timeout = Duration::from_secs(30)).await;
    let channel = server.channel().await;
    let held = crate::support::Held::new(&server.engine).await;
    let load = tokio::spawn(unary(channel, What::Evaluate, 256, 256));
    crate::support::eventually("all are in the queue", || server.engine.health()[0].queue_len == 256).await;
    held.release();
    load.await.unwrap();
    server.stop().await;
}

/// CPU seconds of the process's threads so far, by name.
fn cpu() -> std::collections::BTreeMap<String, f64> {
    let mut by_name = std::collections::BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let (head, tail) = stat.rsplit_once(')').unwrap();
        let name = head.split_once('(').unwrap().1.to_owned();
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        *by_name.entry(name).or_default() += ticks / 100.0;
    }
    by_name
}

fn cpu_since(before: &std::collections::BTreeMap<String, f64>, count: usize) -> String {
    let used = cpu().into_iter().map(|(name, now)| {
        let us = (now - before.get(&name).copied().unwrap_or(0.0)) * 1e6 / count as f64;
        (name, us)
    });
    let shown = used.filter(|(_, us)| *us >= 0.1).map(|(name, us)| format!("{name} {us:.1}"));
    shown.collect::<Vec<_>>().join(", ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput() {
    let server = Server::with_extra(|_| {}, |_| {}, vec![Extra::new(Echo)]).await;
    for what in [What::Echo, What::Evaluate] {
        for in_flight in [1, 64, 256] {
            let count = if in_flight == 1 { 2_000 } else { 40_000 };
            let before = cpu();
            let rate = unary(server.channel().await, what, count, in_flight).await;
            let cpu = cpu_since(&before, count);
            println!("{what:?} unary  {in_flight:4} in flight: {rate:8.0}/s; CPU us a call: {cpu}");
        }
        for in_flight in [64, 256, 1_000] {
            let before = cpu();
            let rate = stream(server.channel().await, what, 150_000, in_flight).await;
            let cpu = cpu_since(&before, 150_000);
            println!("{what:?} stream {in_flight:4} in flight: {rate:8.0}/s; CPU us a call: {cpu}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "something to profile"]
async fn one_stream() {
    let server = Server::start().await;
    let before = cpu();
    let rate = stream(server.channel().await, What::Evaluate, 300_000, 256).await;
    println!("{rate:8.0}/s; CPU us a call: {}", cpu_since(&before, 300_000));
    server.stop().await;
}
