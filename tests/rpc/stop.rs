//! Stopping: health first, what is open is answered, streams are told, the rest is cut.

use crate::support::{Held, Server, call, decide, reason};
use askance::proto::v1;
use askance::proto::v1::evaluate_stream_response::Result as Answer;
use askance::proto::v1::timeline_service_client::TimelineServiceClient;
use std::time::{Duration, Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

#[tokio::test]
async fn what_is_open_is_answered_and_streams_are_told() {
    let mut server = Server::with(|_| {}, |options| options.decision_timeout = Duration::from_secs(5)).await;
    let mut gateway = server.gateway().await;
    decide(&mut gateway, call("c-0")).await;
    let mut health = HealthClient::new(server.channel().await);
    let mut states = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(states.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut timeline = TimelineServiceClient::new(server.channel().await);
    let request = v1::WatchEventsRequest::default();
    let mut watch = timeline.watch_events(request).await.unwrap().into_inner();
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let mut answers = gateway.evaluate_stream(ReceiverStream::new(receiver)).await.unwrap().into_inner();

    let held = Held::new(&server.engine).await;
    let mut other = gateway.clone();
    let open = tokio::spawn(async move { decide(&mut other, call("c-1")).await });
    let request = v1::EvaluateStreamRequest { tag: 9, call: Some(call("c-2")), ..Default::default() };
    sender.send(request).await.unwrap();
    crate::support::eventually("both are queued", || server.engine.health()[0].queue_len == 2).await;

    server.begin_stop();
    assert_eq!(states.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    drop(states);
    let status = watch.message().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "NOT_READY"));
    crate::support::eventually("nobody listens", || std::net::TcpStream::connect(server.address).is_err())
        .await;
    held.release();
    assert!(!open.await.unwrap().degraded);
    let answer = answers.message().await.unwrap().unwrap();
    assert!(matches!(answer.result, Some(Answer::Decision(_))) && answer.tag == 9);
    let status = answers.message().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "NOT_READY"));
    let begin = Instant::now();
    server.ended().await;
    assert!(begin.elapsed() < Duration::from_secs(1), "nothing was left to wait for");
    server.engine.stop().await.unwrap();
}

#[tokio::test]
async fn what_does_not_end_is_cut_after_the_grace() {
    let mut server = Server::with(
        |_| {},
        |options| {
            options.decision_timeout = Duration::from_secs(30);
            options.grace = Duration::from_millis(200);
        },
    )
    .await;
    let mut gateway = server.gateway().await;
    let held = Held::new(&server.engine).await;
    let open = tokio::spawn(async move { gateway.evaluate(crate::support::evaluate(call("c-1"))).await });
    crate::support::eventually("it is queued", || server.engine.health()[0].queue_len == 1).await;
    let begin = Instant::now();
    server.begin_stop();
    server.ended().await;
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(2), "{took:?}");
    assert!(open.await.unwrap().is_err());
    held.release();
    server.engine.stop().await.unwrap();
}
