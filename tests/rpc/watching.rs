//! Watches: nothing missing, nothing twice, and a reader that does not read is cut.

use crate::support::{Server, call, decide, eventually, reason};
use askance::proto::v1;
use askance::proto::v1::timeline_service_client::TimelineServiceClient;
use askance::proto::v1::watch_events_response::Update;
use std::time::Duration;
use tonic::{Code, Streaming};
use tonic_types::StatusExt;

async fn watch(
    timeline: &mut TimelineServiceClient<tonic::transport::Channel>,
    request: v1::WatchEventsRequest,
) -> Streaming<v1::WatchEventsResponse> {
    timeline.watch_events(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<v1::WatchEventsResponse>) -> (u64, String) {
    let message = tokio::time::timeout(Duration::from_secs(10), stream.message()).await;
    let message = message.expect("an event").unwrap().unwrap();
    match message.update.unwrap() {
        Update::Event(event) => (event.position, message.resume_token),
        Update::Heartbeat(_) => (0, message.resume_token),
    }
}

#[tokio::test]
async fn a_watch_catches_up_goes_live_and_resumes() {
    let server = Server::start().await;
    let mut gateway = server.gateway().await;
    for number in 0..300 {
        decide(&mut gateway, call(&format!("a-{number}"))).await;
    }
    let mut timeline = TimelineServiceClient::new(server.channel().await);
    let from_start = v1::WatchEventsRequest { from_position: Some(1), ..Default::default() };
    let mut stream = watch(&mut timeline, from_start.clone()).await;
    let mut live = watch(&mut timeline, v1::WatchEventsRequest::default()).await;
    let before = server.engine.tail("default").borrow().get();
    let background = tokio::spawn(async move {
        for number in 0..100 {
            decide(&mut gateway, call(&format!("b-{number}"))).await;
        }
    });
    let mut token = String::new();
    for expected in 1..=before + 60 {
        let (position, resume) = next(&mut stream).await;
        assert_eq!(position, expected);
        token = resume;
    }
    drop(stream);
    assert_eq!(next(&mut live).await.0, before + 1, "a watch without a position shows what is new");
    background.await.unwrap();
    let tail = server.engine.tail("default").borrow().get();
    let resumed = v1::WatchEventsRequest { resume_token: token.clone(), ..from_start };
    let mut stream = watch(&mut timeline, resumed).await;
    for expected in before + 61..=tail {
        assert_eq!(next(&mut stream).await.0, expected);
    }
    let filter = Some(v1::EventFilter { call_id: "x".to_owned(), ..Default::default() });
    let foreign = v1::WatchEventsRequest { resume_token: token, filter, ..Default::default() };
    assert_eq!(reason(&timeline.watch_events(foreign).await.unwrap_err()), "INVALID_TOKEN");
    server.stop().await;
}

#[tokio::test]
async fn a_watch_of_a_session_shows_that_session_alone() {
    let server = Server::start().await;
    let mut gateway = server.gateway().await;
    let of_session = |id: &str, session: &str| {
        let mut call = call(id);
        call.session.as_mut().unwrap().session_id = session.to_owned();
        call
    };
    let key = decide(&mut gateway, of_session("c-1", "one")).await.session_key;
    decide(&mut gateway, of_session("c-2", "two")).await;
    let mut timeline = TimelineServiceClient::new(server.channel().await);
    let filter = Some(v1::EventFilter { session_key: key, ..Default::default() });
    let request = v1::WatchEventsRequest { from_position: Some(1), filter, ..Default::default() };
    let mut stream = watch(&mut timeline, request).await;
    let mut positions = Vec::new();
    for _ in 0..3 {
        positions.push(next(&mut stream).await.0);
    }
    decide(&mut gateway, of_session("c-3", "two")).await;
    decide(&mut gateway, of_session("c-4", "one")).await;
    for _ in 0..2 {
        positions.push(next(&mut stream).await.0);
    }
    assert_eq!(positions.iter().map(|position| position - positions[0]).collect::<Vec<_>>(), [0, 1, 2, 8, 9]);
    server.stop().await;
}

#[tokio::test]
async fn a_quiet_watch_sends_heartbeats() {
    let server = Server::with(|_| {}, |options| options.heartbeat = Duration::from_millis(50)).await;
    let mut timeline = TimelineServiceClient::new(server.channel().await);
    let mut stream = watch(&mut timeline, v1::WatchEventsRequest::default()).await;
    let (position, token) = next(&mut stream).await;
    assert_eq!(position, 0);
    let request = v1::WatchEventsRequest { resume_token: token, ..Default::default() };
    assert_eq!(next(&mut watch(&mut timeline, request).await).await.0, 0);
    server.stop().await;
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_cut_and_can_resume() {
    let server = Server::with(|_| {}, |options| options.watcher_stall = Duration::from_millis(300)).await;
    let mut gateway = server.gateway().await;
    let requests = tokio_stream::iter((0..4_000_u64).map(|tag| v1::EvaluateStreamRequest {
        tag,
        call: Some(call(&format!("c-{tag}"))),
        ..Default::default()
    }));
    let mut answers = gateway.evaluate_stream(requests).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    let tail = server.engine.tail("default").borrow().get();

    let channel = server.endpoint().initial_stream_window_size(65_535).connect().await.unwrap();
    let mut timeline = TimelineServiceClient::new(channel);
    let request = v1::WatchEventsRequest { from_position: Some(1), ..Default::default() };
    let mut slow = watch(&mut timeline, request.clone()).await;
    // The control: a watcher that reads at the same time is not cut.
    let mut quick = watch(&mut timeline, request.clone()).await;
    for expected in 1..=tail {
        assert_eq!(next(&mut quick).await.0, expected);
    }
    eventually("the watcher is cut", || server.engine.counters()[0].watchers_cut == 1).await;
    let mut last = 0;
    let status = loop {
        match slow.message().await {
            Ok(Some(message)) => match message.update.unwrap() {
                Update::Event(event) => {
                    assert_eq!(event.position, last + 1);
                    last = event.position;
                }
                Update::Heartbeat(_) => {}
            },
            Ok(None) => panic!("the stream ended as if all were well"),
            Err(status) => break status,
        }
    };
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "WATCHER_TOO_SLOW"));
    assert!(last < tail);
    let details = status.get_error_details();
    let token = details.error_info().unwrap().metadata["resume_token"].clone();
    let resumed = v1::WatchEventsRequest { resume_token: token, ..request };
    assert_eq!(next(&mut watch(&mut timeline, resumed).await).await.0, last + 1);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(server.engine.counters()[0].watchers_cut, 1, "an idle watch is not cut");
    server.stop().await;
}

#[tokio::test]
async fn watches_are_limited() {
    let server = Server::with(|_| {}, |options| options.limits.watches_max = 2).await;
    let mut timeline = TimelineServiceClient::new(server.channel().await);
    let request = v1::WatchEventsRequest::default;
    let first = watch(&mut timeline, request()).await;
    let _second = watch(&mut timeline, request()).await;
    let status = timeline.watch_events(request()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
    drop(first);
    let mut freed = false;
    for _ in 0..200 {
        if timeline.watch_events(request()).await.is_ok() {
            freed = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(freed, "a watch that is dropped makes room");
    server.stop().await;
}
