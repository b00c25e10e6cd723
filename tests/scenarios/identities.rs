//! Who may do what: without tokens, with them, and after they are gone.

use crate::stage::{Stage, Who, ask, migration, refusal, tuesday, vote};
use askance::clock::Clock;
use askance::proto::v1::access_service_client::AccessServiceClient;
use askance::proto::v1::gateway_service_client::GatewayServiceClient;
use askance::proto::v1::review_service_client::ReviewServiceClient;
use askance::proto::v1::timeline_service_client::TimelineServiceClient;
use askance::proto::v1::{self, Role, VoteChoice};
use tonic::Code;

/// Without any token: loopback asks, and only the Unix socket votes, as the user behind it.
#[tokio::test(flavor = "multi_thread")]
async fn without_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::open(dir.path(), &Clock::manual(tuesday())).await;
    let mut loopback = GatewayServiceClient::new(stage.line(&Who::default()).await);
    let asked = ask(&mut loopback, migration("c-1")).await;
    let mut tcp = stage.reviews(&Who::default()).await;
    let refused = refusal(vote(&mut tcp, &asked, VoteChoice::Approve).await);
    assert_eq!(refused, (Code::PermissionDenied, "NOT_PERMITTED".to_owned()));
    let mut access = AccessServiceClient::new(stage.line(&Who::default()).await);
    let request = v1::CreateTokenRequest {
        subject: "user:me".to_owned(),
        role: Role::Operator.into(),
        ..Default::default()
    };
    assert_eq!(refusal(access.create_token(request).await).0, Code::PermissionDenied);

    let mut socket = ReviewServiceClient::new(stage.socket().await);
    let review = vote(&mut socket, &asked, VoteChoice::Approve).await.unwrap();
    let me = AccessServiceClient::new(stage.socket().await)
        .get_identity(v1::GetIdentityRequest {})
        .await
        .unwrap()
        .into_inner()
        .subject;
    assert!(me.starts_with("user:"), "{me}");
    assert_eq!(review.votes[0].reviewer, me, "the subject is the peer's own user");
    stage.close().await;
}

/// With tokens every request over TCP needs one, each does what its role says, and a revoked one nothing.
#[tokio::test(flavor = "multi_thread")]
async fn with_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let stage = Stage::open(dir.path(), &clock).await;
    let gateway = stage.token("gateway:proxy", Role::Gateway, &[]).await;
    let reviewer = stage.token("user:bob", Role::Reviewer, &["sre"]).await;
    let mut nobody = GatewayServiceClient::new(stage.line(&Who::default()).await);
    let request = v1::EvaluateRequest { call: Some(migration("c-0")), ..Default::default() };
    assert_eq!(refusal(nobody.evaluate(request.clone()).await).0, Code::Unauthenticated);
    let mut proxy = GatewayServiceClient::new(stage.line(&gateway).await);
    let asked = ask(&mut proxy, migration("c-1")).await;
    let mut wrong = GatewayServiceClient::new(stage.line(&reviewer).await);
    assert_eq!(refusal(wrong.evaluate(request.clone()).await).0, Code::PermissionDenied);
    let mut forger = stage.reviews(&gateway).await;
    assert_eq!(refusal(vote(&mut forger, &asked, VoteChoice::Approve).await).0, Code::PermissionDenied);
    let mut socket = ReviewServiceClient::new(stage.socket().await);
    let refused = refusal(vote(&mut socket, &asked, VoteChoice::Approve).await);
    assert_eq!(refused, (Code::PermissionDenied, "NOT_PERMITTED".to_owned()), "with tokens, votes need one");
    let mut bob = stage.reviews(&reviewer).await;
    vote(&mut bob, &asked, VoteChoice::Approve).await.unwrap();

    let mut timeline = TimelineServiceClient::new(stage.socket().await);
    let filter = v1::EventFilter { session_key: asked.session_key.clone(), ..Default::default() };
    let listing = v1::ListEventsRequest { filter: Some(filter), ..Default::default() };
    let events = timeline.list_events(listing).await.unwrap().into_inner().events;
    let proposed = events.iter().find(|event| matches!(event.data, Some(v1::event::Data::CallProposed(_))));
    assert_eq!(proposed.unwrap().actor, "gateway:proxy", "every use is attributed");

    let mut access = AccessServiceClient::new(stage.socket().await);
    let tokens = access.list_tokens(v1::ListTokensRequest::default()).await.unwrap().into_inner().tokens;
    assert_eq!(tokens.len(), 2);
    let of_proxy = tokens.iter().find(|token| token.subject == "gateway:proxy").unwrap();
    let revoke = v1::RevokeTokenRequest { token_id: of_proxy.token_id.clone(), reason: "leaked".to_owned() };
    assert!(access.revoke_token(revoke).await.unwrap().into_inner().token.unwrap().revoke_time.is_some());
    assert_eq!(
        refusal(proxy.evaluate(request.clone()).await).0,
        Code::Unauthenticated,
        "from the next request on"
    );
    stage.close().await;

    let stage = Stage::open(dir.path(), &clock).await;
    let mut bob = stage.reviews(&reviewer).await;
    bob.list_reviews(v1::ListReviewsRequest::default()).await.expect("tokens outlive a restart");
    let mut proxy = GatewayServiceClient::new(stage.line(&gateway).await);
    assert_eq!(refusal(proxy.evaluate(request).await).0, Code::Unauthenticated, "and so does their end");
    stage.close().await;
}

/// A token for one tenant sees that tenant alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_tenant() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::open(dir.path(), &Clock::manual(tuesday())).await;
    let mut access = AccessServiceClient::new(stage.socket().await);
    let mut make = async |role: Role| {
        let request = v1::CreateTokenRequest {
            subject: format!("user:{}", role.as_str_name()),
            role: role.into(),
            tenants: vec!["acme".to_owned()],
            ..Default::default()
        };
        Who::with(&access.create_token(request).await.unwrap().into_inner().secret)
    };
    let (gateway, reviewer) = (make(Role::Gateway).await, make(Role::Reviewer).await);
    let mut proxy = GatewayServiceClient::new(stage.line(&gateway).await);
    let of = |tenant: &str| v1::EvaluateRequest {
        call: Some(v1::ToolCall { tenant: tenant.to_owned(), ..migration("c-1") }),
        ..Default::default()
    };
    proxy.evaluate(of("acme")).await.unwrap();
    assert_eq!(refusal(proxy.evaluate(of("other")).await).0, Code::PermissionDenied);
    assert_eq!(refusal(proxy.evaluate(of("")).await).0, Code::PermissionDenied);
    let other = GatewayServiceClient::new(stage.socket().await).evaluate(of("other")).await.unwrap();
    let other = other.into_inner().decision.unwrap();
    let mut reviews = stage.reviews(&reviewer).await;
    let listed = reviews.list_reviews(v1::ListReviewsRequest::default()).await.unwrap().into_inner();
    assert!(listed.reviews.iter().all(|review| review.tenant == "acme") && listed.reviews.len() == 1);
    let refused = refusal(vote(&mut reviews, &other, VoteChoice::Approve).await);
    assert_eq!(refused, (Code::NotFound, "NOT_FOUND".to_owned()), "it is as if it were not there");
    stage.close().await;
}

/// What a stream shows ends with the credential that opened it: revoked, expired, or loopback's freedom
/// once there are tokens.
#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_their_credential() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::open(dir.path(), &Clock::manual(tuesday())).await;
    let watch = v1::WatchReviewsRequest::default;
    let mut free = stage.reviews(&Who::default()).await.watch_reviews(watch()).await.unwrap().into_inner();

    let mut access = AccessServiceClient::new(stage.socket().await);
    let mut make = async |subject: &str, expires: Option<i64>| {
        let request = v1::CreateTokenRequest {
            subject: subject.to_owned(),
            role: Role::Reviewer.into(),
            expire_time: expires.map(|minutes| prost_types::Timestamp {
                seconds: tuesday().as_micros() / 1_000_000 + minutes * 60,
                nanos: 0,
            }),
            ..Default::default()
        };
        access.create_token(request).await.unwrap().into_inner()
    };
    let (bob, eve) = (make("user:bob", None).await, make("user:eve", Some(5)).await);
    let ended = async |stream: &mut tonic::Streaming<v1::WatchReviewsResponse>| loop {
        match tokio::time::timeout(std::time::Duration::from_secs(10), stream.message())
            .await
            .expect("it ends")
        {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ends without a word"),
            Err(status) => return status.code(),
        }
    };
    assert_eq!(ended(&mut free).await, Code::Unauthenticated, "there are tokens now");

    let of = async |secret: &str| {
        stage.reviews(&Who::with(secret)).await.watch_reviews(watch()).await.unwrap().into_inner()
    };
    let (mut bobs, mut eves) = (of(&bob.secret).await, of(&eve.secret).await);
    let revoke = v1::RevokeTokenRequest {
        token_id: bob.token.unwrap().token_id,
        reason: "left the company".to_owned(),
    };
    access.revoke_token(revoke).await.unwrap();
    assert_eq!(ended(&mut bobs).await, Code::Unauthenticated, "at once");
    stage.pass(5);
    ask(&mut stage.gateway().await, migration("c-1")).await;
    assert_eq!(ended(&mut eves).await, Code::Unauthenticated, "before it shows anything more");
    stage.close().await;
}
