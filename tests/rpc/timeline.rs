//! Looking back: sessions, events, status, health, reflection, and what is not there yet.

use crate::support::{Server, call, decide, fields, reason};
use askance::proto::v1;
use askance::proto::v1::event::Data;
use askance::proto::v1::timeline_service_client::TimelineServiceClient;
use tonic::Code;

async fn three_sessions(server: &Server) {
    let mut gateway = server.gateway().await;
    for session in 1..=3 {
        for number in 0..5 {
            let mut call = call(&format!("c-{session}-{number}"));
            call.session.as_mut().unwrap().session_id = format!("s-{session}");
            if session == 2 && number == 3 {
                call.tool = "delete_database".to_owned();
            }
            if session == 3 {
                call.session.as_mut().unwrap().parent_session_id = "s-2".to_owned();
            }
            decide(&mut gateway, call).await;
        }
    }
}

#[tokio::test]
async fn sessions_are_listed_newest_first_with_their_present_figures() {
    let server = Server::start().await;
    three_sessions(&server).await;
    let mut timeline = TimelineServiceClient::new(server.channel().await);
    let list = |request: v1::ListSessionsRequest| {
        let mut timeline = timeline.clone();
        async move { timeline.list_sessions(request).await.map(tonic::Response::into_inner) }
    };
    let ids = |page: &v1::ListSessionsResponse| {
        page.sessions.iter().map(|session| session.session_id.clone()).collect::<Vec<_>>()
    };
    let all = list(v1::ListSessionsRequest::default()).await.unwrap();
    assert_eq!(
        (ids(&all), all.next_page_token.as_str()),
        (vec!["s-3".into(), "s-2".into(), "s-1".into()], "")
    );
    assert!(all.sessions.iter().all(|session| session.calls == 5));
    assert_eq!((all.sessions[1].calls_reviewed, all.sessions[0].calls_reviewed), (1, 0));
    assert_eq!(all.sessions[0].state(), v1::SessionState::Open);

    let by_verdict = v1::ListSessionsRequest { verdict: v1::Verdict::Review.into(), ..Default::default() };
    assert_eq!(ids(&list(by_verdict).await.unwrap()), ["s-2"]);
    let highest = all.sessions.iter().max_by_key(|session| session.risk_max).unwrap();
    let by_risk = v1::ListSessionsRequest { risk_min: highest.risk_max, ..Default::default() };
    assert_eq!(ids(&list(by_risk).await.unwrap()), std::slice::from_ref(&highest.session_id));
    let other = v1::ListSessionsRequest { tenant: "other".to_owned(), ..Default::default() };
    assert!(list(other).await.unwrap().sessions.is_empty());

    let first = list(v1::ListSessionsRequest { page_size: 2, ..Default::default() }).await.unwrap();
    assert_eq!(ids(&first), ["s-3", "s-2"]);
    let next =
        |page_size, page_token| v1::ListSessionsRequest { page_size, page_token, ..Default::default() };
    let second = list(next(2, first.next_page_token.clone())).await.unwrap();
    assert_eq!((ids(&second), second.next_page_token.as_str()), (vec!["s-1".to_owned()], ""));
    let foreign = v1::ListSessionsRequest { risk_min: 1, ..next(2, first.next_page_token) };
    assert_eq!(reason(&list(foreign).await.unwrap_err()), "INVALID_TOKEN");
    let ancestor = v1::ListSessionsRequest { ancestor_session_key: "x".to_owned(), ..Default::default() };
    assert_eq!(list(ancestor).await.unwrap_err().code(), Code::InvalidArgument);
    let below =
        |key: &str| v1::ListSessionsRequest { ancestor_session_key: key.to_owned(), ..Default::default() };
    assert_eq!(ids(&list(below(&all.sessions[1].session_key)).await.unwrap()), ["s-3"]);
    assert!(list(below(&all.sessions[2].session_key)).await.unwrap().sessions.is_empty());

    let key = all.sessions[1].session_key.clone();
    for asked in [key.clone(), key[..8].to_owned(), key.to_uppercase()] {
        let request = v1::GetSessionRequest { session_key: asked, ..Default::default() };
        let got = timeline.get_session(request).await.unwrap().into_inner();
        let session = got.session.unwrap();
        assert_eq!((session.session_id.as_str(), session.calls, session.revision), ("s-2", 5, 12));
        assert_eq!(session.principal_chain, ["user:alice", "agent:planner"]);
        assert_eq!((got.children.len(), got.children[0].session_id.as_str()), (1, "s-3"));
    }
    let request = v1::GetSessionRequest { session_key: key, tenant: "other".to_owned() };
    assert_eq!(timeline.get_session(request).await.unwrap_err().code(), Code::NotFound);
    let named = |name: &str| v1::GetSessionRequest { session_key: name.to_owned(), ..Default::default() };
    let by_id = timeline.get_session(named("s-2")).await.unwrap().into_inner().session.unwrap();
    assert_eq!((by_id.session_id.as_str(), by_id.calls), ("s-2", 5));
    assert_eq!(timeline.get_session(named("abc")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(fields(&timeline.get_session(named("")).await.unwrap_err()), ["session_key"]);
    server.stop().await;
}

#[tokio::test]
async fn events_are_listed_in_both_directions_and_by_pages() {
    let server = Server::start().await;
    three_sessions(&server).await;
    let mut timeline = TimelineServiceClient::new(server.channel().await);
    let tail = server.engine.tail("default").borrow().get();
    let mut pages = Vec::new();
    for descending in [false, true] {
        let mut request = v1::ListEventsRequest { descending, page_size: 4, ..Default::default() };
        let mut positions = Vec::new();
        loop {
            let page = timeline.list_events(request.clone()).await.unwrap().into_inner();
            assert!(page.events.len() <= 4);
            positions.extend(page.events.iter().map(|event| event.position));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        pages.push(positions);
    }
    assert_eq!(pages[0], (1..=tail).collect::<Vec<_>>());
    assert_eq!(pages[1], (1..=tail).rev().collect::<Vec<_>>());

    let all = timeline.list_events(v1::ListEventsRequest::default()).await.unwrap().into_inner().events;
    assert!(matches!(all[0].data, Some(Data::LogCreated(_))));
    let decided = all.iter().find_map(|event| match &event.data {
        Some(Data::CallDecided(decided)) => decided.decision.clone(),
        _ => None,
    });
    let decided = decided.unwrap();
    assert_eq!((decided.call_id.as_str(), decided.call_digest.len()), ("c-1-0", 32));
    let session = all.iter().find(|event| !event.session_key.is_empty()).unwrap().session_key.clone();

    let filter =
        |filter: v1::EventFilter| v1::ListEventsRequest { filter: Some(filter), ..Default::default() };
    let of_session = v1::EventFilter { session_key: session, include_payloads: true, ..Default::default() };
    let events = timeline.list_events(filter(of_session.clone())).await.unwrap().into_inner().events;
    assert_eq!(events.iter().map(|event| event.revision).collect::<Vec<_>>(), (1..=11).collect::<Vec<_>>());
    let Some(Data::CallProposed(proposed)) = &events[1].data else { panic!("{:?}", events[1]) };
    assert_eq!(proposed.call.as_ref().unwrap().arguments_json, call("").arguments_json);
    let back = v1::ListEventsRequest { descending: true, page_size: 3, ..filter(of_session.clone()) };
    let back = timeline.list_events(back).await.unwrap().into_inner().events;
    assert_eq!(back.iter().map(|event| event.revision).collect::<Vec<_>>(), [11, 10, 9]);
    let foreign = v1::EventFilter { tenant: "other".to_owned(), ..of_session };
    assert!(timeline.list_events(filter(foreign)).await.unwrap().into_inner().events.is_empty());

    let of_call = v1::EventFilter { call_id: "c-2-3".to_owned(), ..Default::default() };
    let events = timeline.list_events(filter(of_call)).await.unwrap().into_inner().events;
    assert_eq!(events.len(), 3, "proposed, decided, review opened: {events:?}");
    let types = vec![v1::EventType::SessionOpened.into()];
    let opened = v1::EventFilter { tenant: "default".to_owned(), types, ..Default::default() };
    assert_eq!(timeline.list_events(filter(opened)).await.unwrap().into_inner().events.len(), 3);

    let some = v1::ListEventsRequest { from_position: 5, to_position: Some(8), ..Default::default() };
    let some = timeline.list_events(some).await.unwrap().into_inner().events;
    assert_eq!(some.iter().map(|event| event.position).collect::<Vec<_>>(), [5, 6, 7, 8]);
    let beyond = v1::ListEventsRequest { from_position: tail + 2, ..Default::default() };
    let status = timeline.list_events(beyond).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "POSITION_OUT_OF_RANGE"));
    server.stop().await;
}

#[tokio::test]
async fn status_tells_positions_tenants_and_counters() {
    let server = Server::start().await;
    three_sessions(&server).await;
    let mut control = v1::control_service_client::ControlServiceClient::new(server.channel().await);
    let status = control.get_status(v1::GetStatusRequest::default()).await.unwrap().into_inner();
    let partition = &status.partitions[0];
    assert!(partition.writable && partition.queue_len_max == 8_192);
    assert_eq!(partition.tail_position, server.engine.tail("default").borrow().get());
    let counter = |name: &str| partition.counters.iter().find(|counter| counter.name == name).unwrap().value;
    assert_eq!((counter("calls_decided"), counter("answers_degraded")), (15, 0));
    let tenant = &status.tenants[0];
    assert_eq!((tenant.tenant.as_str(), tenant.calls, tenant.sessions_open), ("default", 15, 3));
    assert!(tenant.warming_up && tenant.budget.as_ref().unwrap().threshold_millibits > 0);
    assert!(status.storage.unwrap().free_bytes > 0 && status.connections.unwrap().open >= 1);
    server.stop().await;
}

#[tokio::test]
async fn health_and_reflection_answer() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let server = Server::start().await;
    let mut health = HealthClient::new(server.channel().await);
    for service in ["", "askance.v1.GatewayService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    }
    let unknown = HealthCheckRequest { service: "nobody".to_owned() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);

    let mut reflection = ServerReflectionClient::new(server.channel().await);
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol("askance.v1.GatewayService".to_owned())),
    };
    let mut answers =
        reflection.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert!(matches!(answer.message_response, Some(MessageResponse::FileDescriptorResponse(_))));
    server.stop().await;
}

#[tokio::test]
async fn every_rpc_answers_or_says_what_it_will_do() {
    let server = Server::start().await;
    let rpcs = crate::wire::all_rpcs();
    assert_eq!(rpcs.len(), 58, "the list of RPCs changed; look at `unimplemented` too");
    let (mut waiting, mut closed) = (0, 0);
    for rpc in rpcs {
        let status = crate::wire::call_empty(server.address, &format!("/askance.v1.{rpc}")).await;
        if status.code() == Code::Unimplemented {
            waiting += 1;
            assert_eq!(reason(&status), "NOT_IMPLEMENTED");
            let begin = format!("{rpc} is not available in this version: it ");
            assert!(status.message().starts_with(&begin), "{rpc}: {}", status.message());
        }
        closed += u32::from(status.code() == Code::PermissionDenied);
    }
    // Over loopback without a credential nobody votes, lifts locks, makes tokens or rules, changes how it runs or
    // what it has learnt.
    let not_yet = ["SetMode", "TakeSnapshot", "CreateBackup", "ErasePayload"];
    assert_eq!(closed, 14 + not_yet.len() as u32);
    // ARCHITECTURE.md lists them, too.
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/ARCHITECTURE.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `") && line.contains("Service` |"));
    let listed = rows.map(|line| line.matches(',').count() + 1).sum::<usize>();
    assert_eq!(waiting + not_yet.len(), listed);
    for path in ["/askance.v1.GatewayService/Nothing", "/no.Such/Thing", "/", "//"] {
        assert_eq!(crate::wire::call_empty(server.address, path).await.code(), Code::Unimplemented, "{path}");
    }
    server.stop().await;
}

/// A session that started another, which started a third: its events with theirs, page by page and watched.
#[tokio::test]
async fn events_of_a_session_come_with_those_of_the_sessions_below_it() {
    let server = Server::start().await;
    let mut gateway = server.gateway().await;
    let mut keys = Vec::new();
    for round in 0..3 {
        for (session, parent) in [("s-1", ""), ("s-2", "s-1"), ("s-3", "s-2"), ("s-4", "")] {
            let mut call = call(&format!("c-{session}-{round}"));
            let hints = call.session.as_mut().unwrap();
            (hints.session_id, hints.parent_session_id) = (session.to_owned(), parent.to_owned());
            keys.push(decide(&mut gateway, call).await.session_key);
        }
    }
    let mut timeline = TimelineServiceClient::new(server.channel().await);
    let mut listed = async |key: &str, include_children, page_size| {
        let filter = v1::EventFilter { session_key: key.to_owned(), include_children, ..Default::default() };
        let mut request = v1::ListEventsRequest { filter: Some(filter), page_size, ..Default::default() };
        let mut events = Vec::new();
        loop {
            let page = timeline.list_events(request.clone()).await.unwrap().into_inner();
            events.extend(page.events);
            if page.next_page_token.is_empty() {
                return events;
            }
            request.page_token = page.next_page_token;
        }
    };
    let alone = listed(&keys[0], false, 100).await;
    let all = listed(&keys[0], true, 100).await;
    let inner = listed(&keys[1], true, 100).await;
    // An opening and three calls of two events each.
    assert_eq!((alone.len(), inner.len(), all.len()), (7, 14, 21));
    assert!(all.is_sorted_by_key(|event| event.position));
    assert!(all.iter().all(|event| event.session_key != keys[3]));
    assert_eq!(listed(&keys[0], true, 4).await, all, "page by page");
    let filter = v1::EventFilter { include_children: true, ..Default::default() };
    let request = v1::WatchEventsRequest { filter: Some(filter.clone()), ..Default::default() };
    assert_eq!(timeline.watch_events(request).await.unwrap_err().code(), Code::InvalidArgument);
    let filter = v1::EventFilter { session_key: keys[0].clone(), ..filter };
    let request =
        v1::WatchEventsRequest { filter: Some(filter), from_position: Some(1), ..Default::default() };
    let mut watch = timeline.watch_events(request).await.unwrap().into_inner();
    for expected in &all {
        let message = watch.message().await.unwrap().unwrap();
        let Some(v1::watch_events_response::Update::Event(event)) = message.update else {
            panic!("{message:?}")
        };
        assert_eq!(event.position, expected.position);
    }
}
