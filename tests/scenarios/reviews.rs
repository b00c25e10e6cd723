//! Reviews: approval, denial, silence, and everything a vote or a claim can get wrong.

use crate::stage::{
    Stage, ask, call, call_of, eventually, get, migration, refusal, says, state, tuesday, vote,
};
use askance::clock::Clock;
use askance::proto::v1::await_decision_response::Step;
use askance::proto::v1::{self, ReasonCode, ReviewState, Role, Verdict, VoteChoice};
use std::time::Duration;
use tonic::Code;

async fn stage() -> (tempfile::TempDir, Stage) {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::open(dir.path(), &Clock::manual(tuesday())).await;
    (dir, stage)
}

/// The agent wants to run a migration on production. A reviewer sees the exact call, approves it, and the
/// call runs once.
#[tokio::test(flavor = "multi_thread")]
async fn an_approved_call_runs_once() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &["sre"]).await;

    ask(&mut gateway, call("c-0", "get_service_status", r#"{"service":"api"}"#)).await;
    let asked = ask(&mut gateway, migration("c-1")).await;
    assert_eq!(says(&asked), (Verdict::Review, ReasonCode::ReviewByDefault));
    assert!(!asked.review_id.is_empty());

    let seen = get(&mut bob, &asked.review_id).await;
    let review = seen.review.unwrap();
    let view = review.arguments.unwrap();
    assert!(view.text.contains(r#""migration_id": "0047_drop_legacy_users""#), "{}", view.text);
    assert_eq!(review.call.unwrap().tool, "run_database_migration");
    assert!(seen.votable_by_me && seen.session_events.len() >= 4, "{:?}", seen.session_events.len());
    assert_eq!(review.call_digest, asked.call_digest);

    let approved = vote(&mut bob, &asked, VoteChoice::Approve).await.unwrap();
    assert_eq!(approved.state(), ReviewState::Approved);
    let released = ask(&mut gateway, migration("c-1")).await;
    assert_eq!(says(&released), (Verdict::Allow, ReasonCode::AllowedByApproval));
    assert_eq!(state(&mut bob, &asked.review_id).await, ReviewState::Consumed);
    let again = ask(&mut gateway, migration("c-1")).await;
    assert_eq!(says(&again), (Verdict::Allow, ReasonCode::AllowedByApproval), "the first result stands");

    let another = ask(&mut gateway, migration("c-2")).await;
    assert_eq!(another.verdict(), Verdict::Review, "the approval is used up; a new call is a new review");
    assert_ne!(another.review_id, asked.review_id);
    stage.close().await;
}

/// One no is enough, and the agent is told why.
#[tokio::test(flavor = "multi_thread")]
async fn a_denied_call_stays_denied_and_says_why() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let asked = ask(&mut gateway, migration("c-1")).await;
    vote(&mut bob, &asked, VoteChoice::Deny).await.unwrap();
    for _ in 0..2 {
        let denied = ask(&mut gateway, migration("c-1")).await;
        assert_eq!(says(&denied), (Verdict::Deny, ReasonCode::DeniedByReviewer));
        assert!(denied.reason.contains("as said on the phone"), "{}", denied.reason);
    }
    stage.close().await;
}

/// A gateway that can hold the call waits inside `Evaluate`; one that cannot awaits on a stream. Both get
/// the decision the moment it is made.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_inside_evaluate_and_on_a_stream() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let mut holder = stage.gateway().await;
    let held = tokio::spawn(async move {
        let wait = Some(prost_types::Duration { seconds: 30, nanos: 0 });
        let request =
            v1::EvaluateRequest { call: Some(migration("c-1")), wait, ..v1::EvaluateRequest::default() };
        holder.evaluate(request).await.unwrap().into_inner().decision.unwrap()
    });
    let mut asked = v1::Decision::default();
    for _ in 0..500 {
        let list = bob.list_reviews(v1::ListReviewsRequest::default()).await.unwrap().into_inner();
        if let Some(review) = list.reviews.first() {
            asked.review_id.clone_from(&review.review_id);
            asked.call_digest = review.call_digest.clone();
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!held.is_finished(), "it holds the call");
    let mut steps = gateway
        .await_decision(v1::AwaitDecisionRequest { call_id: "c-1".to_owned(), ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    let first = steps.message().await.unwrap().unwrap().step.unwrap();
    assert!(matches!(first, Step::Decision(decision) if decision.verdict() == Verdict::Review));
    vote(&mut bob, &asked, VoteChoice::Approve).await.unwrap();
    let held = held.await.unwrap();
    assert_eq!(says(&held), (Verdict::Allow, ReasonCode::AllowedByApproval));
    let mut last = None;
    while let Some(message) = steps.message().await.unwrap() {
        if let Some(Step::Decision(decision)) = message.step {
            last = Some(decision);
        }
    }
    assert_eq!(
        says(&last.unwrap()),
        (Verdict::Allow, ReasonCode::AllowedByApproval),
        "the stream ends with it"
    );
    stage.close().await;
}

/// An agent host gives up after ten seconds and asks again under new ids while the human thinks. Whoever
/// comes first after the approval gets it; nobody gets it twice.
#[tokio::test(flavor = "multi_thread")]
async fn asking_again_under_another_id_shares_the_review_and_not_the_approval() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let first = ask(&mut gateway, migration("c-1")).await;
    let second = ask(&mut gateway, migration("c-2")).await;
    assert_eq!(second.review_id, first.review_id, "the very same call joins the open review");
    vote(&mut bob, &first, VoteChoice::Approve).await.unwrap();
    let third = ask(&mut gateway, migration("c-3")).await;
    assert_eq!(says(&third), (Verdict::Allow, ReasonCode::AllowedByApproval), "by digest");
    for loser in ["c-1", "c-2"] {
        let lost = ask(&mut gateway, migration(loser)).await;
        assert_eq!(says(&lost), (Verdict::Deny, ReasonCode::AlreadyConsumed), "{loser}");
    }
    stage.close().await;
}

/// Between the approval and the call, somebody changes the arguments, or the chain, or claims what is not
/// theirs.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_holds_for_the_very_call_and_no_other() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let asked = ask(&mut gateway, migration("c-1")).await;
    vote(&mut bob, &asked, VoteChoice::Approve).await.unwrap();

    let changed = |id: &str| {
        call(id, "run_database_migration", r#"{"migration_id":"0048_drop_everything","db":"prod-postgres"}"#)
    };
    let request = |call: v1::ToolCall, review: &str| v1::EvaluateRequest {
        call: Some(call),
        review_id: review.to_owned(),
        ..v1::EvaluateRequest::default()
    };
    let answer = gateway.evaluate(request(changed("c-2"), &asked.review_id)).await.unwrap();
    let answer = answer.into_inner().decision.unwrap();
    assert_eq!(says(&answer), (Verdict::Deny, ReasonCode::ActionDigestMismatch));
    let reused = gateway.evaluate(request(changed("c-1"), "")).await;
    assert_eq!(refusal(reused), (Code::AlreadyExists, "CALL_ID_REUSED".to_owned()));
    let other_chain = v1::ToolCall {
        principal_chain: vec!["user:mallory".to_owned(), "agent:deployer".to_owned()],
        ..migration("c-3")
    };
    let answer = gateway.evaluate(request(other_chain, &asked.review_id)).await.unwrap();
    let answer = answer.into_inner().decision.unwrap();
    assert_eq!(says(&answer), (Verdict::Deny, ReasonCode::PrincipalChainMismatch));
    let unknown = gateway.evaluate(request(migration("c-4"), "r0-99999")).await.unwrap();
    let unknown = unknown.into_inner().decision.unwrap();
    assert_eq!(says(&unknown), (Verdict::Deny, ReasonCode::UnknownReview));

    let rightful = gateway.evaluate(request(migration("c-5"), &asked.review_id)).await.unwrap();
    let rightful = rightful.into_inner().decision.unwrap();
    assert_eq!(says(&rightful), (Verdict::Allow, ReasonCode::AllowedByApproval));
    let twice = gateway.evaluate(request(migration("c-6"), &asked.review_id)).await.unwrap();
    let twice = twice.into_inner().decision.unwrap();
    assert_eq!(says(&twice), (Verdict::Deny, ReasonCode::AlreadyConsumed));
    stage.close().await;
}

/// What a vote can get wrong.
#[tokio::test(flavor = "multi_thread")]
async fn votes_that_do_not_count() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let mut alice = stage.reviewer("Alice", &[]).await;
    let mut agent = stage.reviewer("agent:deployer", &[]).await;
    let mut eve = stage.reviewer("user:eve", &[]).await;
    let asked = ask(&mut gateway, migration("c-1")).await;

    let wrong = v1::Decision { call_digest: vec![1; 32].into(), ..asked.clone() };
    let approve = VoteChoice::Approve;
    let refused = refusal(vote(&mut bob, &wrong, approve).await);
    assert_eq!(refused, (Code::Aborted, "ACTION_DIGEST_MISMATCH".to_owned()));
    let refused = refusal(vote(&mut alice, &asked, approve).await);
    assert_eq!(refused, (Code::PermissionDenied, "REQUESTER_IS_APPROVER".to_owned()), "user:alice is Alice");
    let refused = refusal(vote(&mut agent, &asked, approve).await);
    assert_eq!(refused, (Code::PermissionDenied, "REQUESTER_IS_APPROVER".to_owned()));
    let unknown = v1::Decision { review_id: "r0-424242".to_owned(), ..asked.clone() };
    assert_eq!(refusal(vote(&mut bob, &unknown, approve).await).0, Code::NotFound);
    let bad = v1::Decision { review_id: "latest".to_owned(), ..asked.clone() };
    assert_eq!(refusal(vote(&mut bob, &bad, approve).await).0, Code::InvalidArgument);

    let mut control = stage.control().await;
    let lock = v1::PlaceLockRequest {
        scope: v1::LockScope::Principal.into(),
        target: "user:eve".to_owned(),
        reason: "her laptop is stolen".to_owned(),
        ..v1::PlaceLockRequest::default()
    };
    control.place_lock(lock).await.unwrap();
    let refused = refusal(vote(&mut eve, &asked, approve).await);
    assert_eq!(refused, (Code::PermissionDenied, "REVIEWER_LOCKED".to_owned()));

    let mut loopback = stage.reviews(&crate::stage::Who::default()).await;
    let refused = refusal(vote(&mut loopback, &asked, approve).await);
    assert_eq!(refused, (Code::Unauthenticated, "UNAUTHENTICATED".to_owned()));
    let auditor = stage.token("user:audit", Role::Auditor, &[]).await;
    let refused = refusal(vote(&mut stage.reviews(&auditor).await, &asked, approve).await);
    assert_eq!(refused, (Code::PermissionDenied, "NOT_PERMITTED".to_owned()));

    assert_eq!(state(&mut bob, &asked.review_id).await, ReviewState::Pending, "nothing of this counted");
    stage.pass(16);
    let refused = refusal(vote(&mut bob, &asked, approve).await);
    assert_eq!(refused, (Code::FailedPrecondition, "REVIEW_CLOSED".to_owned()), "too late");
    stage.close().await;
}

/// A vote cast twice is one vote; a change of mind does not count.
#[tokio::test(flavor = "multi_thread")]
async fn a_vote_cast_twice_counts_once() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let asked = ask(&mut gateway, migration("c-1")).await;
    vote(&mut bob, &asked, VoteChoice::Approve).await.unwrap();
    let again = vote(&mut bob, &asked, VoteChoice::Approve).await.unwrap();
    assert_eq!(again.votes.len(), 1);
    let other = refusal(vote(&mut bob, &asked, VoteChoice::Deny).await);
    assert_eq!(other, (Code::FailedPrecondition, "REVIEW_CLOSED".to_owned()));
    stage.close().await;
}

/// Nobody is there: the call is denied when its time is over, once, and the agent learns of it.
#[tokio::test(flavor = "multi_thread")]
async fn silence_is_denial() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let bob = stage.reviewer("user:bob", &[]).await;
    let asked = ask(&mut gateway, migration("c-1")).await;
    stage.pass(14);
    assert_eq!(ask(&mut gateway, migration("c-1")).await.verdict(), Verdict::Review, "a minute is left");
    stage.pass(1);
    eventually("the deadline fires by itself", async || {
        state(&mut bob.clone(), &asked.review_id).await == ReviewState::Expired
    })
    .await;
    let denied = ask(&mut gateway, migration("c-1")).await;
    assert_eq!(says(&denied), (Verdict::Deny, ReasonCode::Expired));
    stage.close().await;
}

/// An approval that nobody uses runs out.
#[tokio::test(flavor = "multi_thread")]
async fn an_unused_approval_expires() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let asked = ask(&mut gateway, migration("c-1")).await;
    vote(&mut bob, &asked, VoteChoice::Approve).await.unwrap();
    stage.pass(10);
    let late = ask(&mut gateway, migration("c-1")).await;
    assert_eq!(says(&late), (Verdict::Deny, ReasonCode::Expired));
    stage.close().await;
}

/// The wall's clock is put back and forth around a deadline: back delays nothing, and forth approves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let back = ask(&mut gateway, migration("c-1")).await;
    stage.pass(14);
    stage.clock.jump(tuesday().plus_micros(-3_600_000_000));
    let refused = vote(&mut bob, &back, VoteChoice::Approve).await;
    assert!(refused.is_ok(), "a minute is left by the time that passed");
    stage.it_is(tuesday().plus_micros(25 * 60_000_000));
    stage.clock.jump(tuesday());
    let late = ask(&mut gateway, migration("c-1")).await;
    assert_eq!(
        says(&late),
        (Verdict::Deny, ReasonCode::Expired),
        "the approval is over though the wall says not"
    );

    let forth = ask(&mut gateway, call_of("s-2", "c-2", "delete_database", "{}")).await;
    stage.clock.jump(tuesday().plus_micros(86_400_000_000));
    eventually("it is over", async || {
        state(&mut bob.clone(), &forth.review_id).await == ReviewState::Expired
    })
    .await;
    assert_eq!(
        says(&ask(&mut gateway, call_of("s-2", "c-2", "delete_database", "{}")).await).0,
        Verdict::Deny
    );
    stage.close().await;
}

/// What the session did in the meantime makes the approved call worse than what the approver saw.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_does_not_cover_what_became_of_the_session() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let send = || call("c-1", "send_email", r#"{"to":"x@example.com","body":"hello"}"#);
    let asked = ask(&mut gateway, send()).await;
    assert_eq!(asked.verdict(), Verdict::Review);
    vote(&mut bob, &asked, VoteChoice::Approve).await.unwrap();
    let read = ask(&mut gateway, call("c-2", "get_secret", r#"{"name":"deploy-key"}"#)).await;
    if read.verdict() == Verdict::Review {
        vote(&mut bob, &read, VoteChoice::Approve).await.unwrap();
    }
    let refused = ask(&mut gateway, send()).await;
    assert_eq!(says(&refused), (Verdict::Deny, ReasonCode::ScoreRose), "{}", refused.reason);
    stage.close().await;
}

/// A call that names its review's people by hand: delegation to one, feedback afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn handing_on_and_looking_back() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let asked = ask(&mut gateway, migration("c-1")).await;
    let target = Some(v1::delegate_review_request::Target::Delegate("user:dan".to_owned()));
    let request = v1::DelegateReviewRequest {
        review_id: asked.review_id.clone(),
        target,
        comment: "you know this database".to_owned(),
        ..v1::DelegateReviewRequest::default()
    };
    let review = bob.delegate_review(request).await.unwrap().into_inner().review.unwrap();
    assert_eq!(review.delegates, ["user:dan"]);
    vote(&mut bob, &asked, VoteChoice::Deny).await.unwrap();
    let feedback = v1::GiveFeedbackRequest {
        call_id: "c-1".to_owned(),
        feedback: v1::Feedback::TrueAlarm.into(),
        ..v1::GiveFeedbackRequest::default()
    };
    assert!(bob.give_feedback(feedback.clone()).await.unwrap().into_inner().position > 0);
    let unknown = v1::GiveFeedbackRequest { call_id: "nothing".to_owned(), ..feedback };
    assert_eq!(refusal(bob.give_feedback(unknown).await).0, Code::NotFound);
    stage.close().await;
}

/// The host ends the session: what waits for humans is cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_session_cancels_its_reviews() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let asked = ask(&mut gateway, migration("c-1")).await;
    let end = v1::EndSessionRequest { session_key: asked.session_key.clone(), ..Default::default() };
    gateway.end_session(end).await.unwrap();
    assert_eq!(state(&mut bob, &asked.review_id).await, ReviewState::Cancelled);
    assert_eq!(says(&ask(&mut gateway, migration("c-1")).await), (Verdict::Deny, ReasonCode::Cancelled));
    stage.close().await;
}
