//! Why a decision was made, deciding again, and finding sessions by what happened in them.

use crate::support::{Server, call, decide, reason};
use askance::proto::v1;
use askance::proto::v1::timeline_service_client::TimelineServiceClient;
use tonic::Code;
use tonic::transport::Channel;

const DENY_ALL: &str = "version: 1\nrules:\n  - {id: never, tool: \"*\", effect: deny}\n";

/// Nine calls in three sessions, of three tools.
async fn traffic(server: &Server) -> TimelineServiceClient<Channel> {
    let mut gateway = server.gateway().await;
    for number in 0..9 {
        let tool = ["get_weather", "send_email", "delete_database"][number / 3];
        let session =
            Some(v1::SessionHints { session_id: format!("s-{}", number / 3), ..Default::default() });
        let call = v1::ToolCall { tool: tool.to_owned(), session, ..call(&format!("c-{number}")) };
        decide(&mut gateway, call).await;
    }
    TimelineServiceClient::new(server.channel().await)
}

fn list(change: impl FnOnce(&mut v1::ListSessionsRequest)) -> v1::ListSessionsRequest {
    let mut request = v1::ListSessionsRequest::default();
    change(&mut request);
    request
}

async fn ids(timeline: &mut TimelineServiceClient<Channel>, request: v1::ListSessionsRequest) -> Vec<String> {
    let page = timeline.list_sessions(request).await.unwrap().into_inner();
    page.sessions.into_iter().map(|session| session.session_id).collect()
}

#[tokio::test]
async fn sessions_are_found_by_tool_and_sorted_by_risk() {
    let server = Server::start().await;
    let mut timeline = traffic(&server).await;
    let by_tool = list(|request| request.tool = "send_email".to_owned());
    assert_eq!(ids(&mut timeline, by_tool).await, ["s-1"]);
    let by_server = list(|request| request.server = "weather".to_owned());
    assert_eq!(ids(&mut timeline, by_server).await.len(), 3);
    let nobody = list(|request| {
        request.tool = "send_email".to_owned();
        request.server = "elsewhere".to_owned();
    });
    assert!(ids(&mut timeline, nobody).await.is_empty());

    let by_risk = list(|request| request.order = v1::SessionOrder::Risk.into());
    let sorted = timeline.list_sessions(by_risk.clone()).await.unwrap().into_inner().sessions;
    let risks: Vec<u32> = sorted.iter().map(|session| session.risk_max).collect();
    assert!(risks.is_sorted_by(|one, other| one >= other) && risks[0] > risks[2], "{risks:?}");
    assert_eq!(sorted[0].session_id, "s-2");
    // The same a page at a time.
    let mut paged = Vec::new();
    let mut request = v1::ListSessionsRequest { page_size: 1, ..by_risk };
    loop {
        let page = timeline.list_sessions(request.clone()).await.unwrap().into_inner();
        paged.extend(page.sessions.into_iter().map(|session| session.session_key));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(paged, sorted.into_iter().map(|session| session.session_key).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn a_decision_is_explained_as_it_was() {
    let server = Server::start().await;
    let mut timeline = traffic(&server).await;
    let ask = |id: &str| v1::ExplainDecisionRequest { call_id: id.to_owned(), ..Default::default() };
    let explained = timeline.explain_decision(ask("c-6")).await.unwrap().into_inner();
    let decision = explained.decision.unwrap();
    assert_eq!((decision.call_id.as_str(), decision.findings.len()), ("c-6", 7));
    assert!(
        decision
            .findings
            .iter()
            .all(|finding| finding.status() == v1::FindingStatus::Abstained || !finding.sentence.is_empty())
    );
    let risk = explained.risk.unwrap();
    assert!(risk.base > 0 && risk.raised >= risk.base && decision.risk == risk.raised.max(risk.floor));
    assert!(
        explained.counterfactuals[0].contains("A rule that allows delete_database"),
        "{:?}",
        explained.counterfactuals
    );
    let allowed = timeline.explain_decision(ask("c-0")).await.unwrap().into_inner();
    assert!(allowed.counterfactuals[0].contains("more of evidence"), "{:?}", allowed.counterfactuals);

    let unknown = timeline.explain_decision(ask("c-99")).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "NOT_FOUND"));
    let other = v1::ExplainDecisionRequest { tenant: "other".to_owned(), ..ask("c-0") };
    assert_eq!(timeline.explain_decision(other).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(timeline.explain_decision(ask("")).await.unwrap_err().code(), Code::InvalidArgument);
    server.stop().await;
}

async fn session_key(timeline: &mut TimelineServiceClient<Channel>, id: &str) -> String {
    let request = v1::GetSessionRequest { session_key: id.to_owned(), ..Default::default() };
    timeline.get_session(request).await.unwrap().into_inner().session.unwrap().session_key
}

#[tokio::test]
async fn a_session_is_decided_again_bit_for_bit_and_by_another_policy() {
    use v1::replay_session_response::Step;
    let server = Server::start().await;
    let mut timeline = traffic(&server).await;
    let key = session_key(&mut timeline, "s-1").await;
    let replay = async |policy: &str, to: Option<u64>| {
        let options = v1::ReplayOptions { policy_text: policy.to_owned(), ..Default::default() };
        let request = v1::ReplaySessionRequest {
            session_key: key.clone(),
            options: Some(options),
            to_position: to,
            include_events: true,
            ..Default::default()
        };
        let mut steps = timeline.clone().replay_session(request).await?.into_inner();
        let (mut calls, mut events, mut end) = (Vec::new(), 0, None);
        while let Some(step) = steps.message().await? {
            match step.step.unwrap() {
                Step::Call(call) => calls.push(call),
                Step::Event(_) => events += 1,
                Step::Summary(summary) => end = Some(summary),
            }
        }
        Ok::<_, tonic::Status>((calls, events, end.expect("a replay ends with its summary")))
    };
    let (calls, events, end) = replay("", None).await.unwrap();
    assert_eq!((calls.len(), events, end.calls, end.calls_differing), (3, 10, 3, 0));
    assert!(calls.iter().all(|call| call.equal && call.difference.is_empty()));
    assert_eq!(replay("", None).await.unwrap().2.state_digest, end.state_digest);

    let (calls, _, end) = replay(DENY_ALL, None).await.unwrap();
    assert!(calls.iter().all(|call| !call.equal && call.difference.contains("never")), "{calls:?}");
    assert_eq!((end.calls_differing, end.verdicts_differing), (3, 3));
    assert_eq!((end.changes[0].rule_id.as_str(), end.changes[0].calls), ("never", 3));
    assert_eq!(end.changes[0].to(), v1::Verdict::Deny);

    let first = calls[0].position;
    assert_eq!(replay("", Some(first)).await.unwrap().2.calls, 1);
    let broken = replay("version: 1\nrules: 7\n", None).await.unwrap_err();
    assert_eq!((broken.code(), reason(&broken).as_str()), (Code::InvalidArgument, "POLICY_INVALID"));
    let unknown = v1::ReplaySessionRequest { session_key: "0".repeat(32), ..Default::default() };
    assert_eq!(timeline.replay_session(unknown).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}

#[tokio::test]
async fn the_whole_log_is_decided_again() {
    use v1::replay_log_response::Step;
    let server = Server::start().await;
    let mut timeline = traffic(&server).await;
    let mut run = async |options: v1::ReplayOptions, most: u32| {
        let request =
            v1::ReplayLogRequest { options: Some(options), differences_max: most, ..Default::default() };
        let mut steps = timeline.replay_log(request).await.unwrap().into_inner();
        let (mut differences, mut end) = (0, None);
        while let Some(step) = steps.message().await.unwrap() {
            match step.step.unwrap() {
                Step::Difference(_) => differences += 1,
                Step::Summary(summary) => end = Some(summary),
                Step::Progress(_) => {}
            }
        }
        (differences, end.unwrap())
    };
    let (differences, end) = run(v1::ReplayOptions::default(), 0).await;
    assert_eq!((differences, end.calls, end.calls_differing), (0, 9, 0));
    let deny = v1::ReplayOptions { policy_text: DENY_ALL.to_owned(), ..Default::default() };
    let (differences, end) = run(deny, 2).await;
    assert_eq!((differences, end.calls_differing), (2, 9), "as many as asked for are sent, all are counted");
    // By the revision that was in force: as recorded.
    let adopted = v1::ReplayOptions { policy_revision: "2".to_owned(), ..Default::default() };
    assert_eq!(run(adopted, 0).await.1.calls_differing, 0);
    server.stop().await;
}
