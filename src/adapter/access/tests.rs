//! What is read and answered, without a daemon.

use super::super::envelope::{About, Ruling};
use super::super::fields::{Fault, Fields};
use super::super::gateway::Place as Query;
use super::evaluation::{Asked, EVALUATIONS_MAX, Presented, Semantic, decision, several};
use super::problem::{Kind, Problem};
use super::*;
use crate::domain::time::Timestamp;
use crate::mcp::refusal::Refusal;
use crate::proto::v1::{
    Decision, GetCallReviewResponse, ReasonCode, ReviewProgress, ReviewState, TimeoutAction,
};
use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

const CALL_ID: &str = "hook-0123456789abcdef0123456789abcdef";
/// 2026-11-23T02:00:00Z.
const NOW: i64 = 1_795_399_200;

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: NOW + seconds, nanos: 0 })
}

fn place() -> Place {
    Place { url: "https://askance.example".to_owned(), query: "server=files".to_owned() }
}

fn handle() -> Handle {
    Handle::of_evaluation(CALL_ID).unwrap()
}

fn review(state: ReviewState) -> GetCallReviewResponse {
    let is_open = matches!(state, ReviewState::Pending | ReviewState::Escalated);
    let was_approved = matches!(state, ReviewState::Approved | ReviewState::Consumed);
    GetCallReviewResponse {
        state: state.into(),
        progress: Some(ReviewProgress {
            review_id: "r0-17".to_owned(),
            approvals: 1,
            approvals_needed: 2,
            deadline: at(600).filter(|_| is_open),
            escalated: state == ReviewState::Escalated,
        }),
        on_deadline: TimeoutAction::Deny.into(),
        open_time: at(-60),
        resolve_time: at(-30).filter(|_| !is_open),
        resolve_reason: ReasonCode::Unspecified.into(),
        approval_expire_time: at(900).filter(|_| was_approved),
        same_call: true,
    }
}

fn waits() -> Ruling {
    let decision = Decision {
        risk: 64,
        reason: "nothing like it was seen before".to_owned(),
        reason_code: ReasonCode::RiskOverReviewThreshold.into(),
        review_id: "r0-17".to_owned(),
        call_id: CALL_ID.to_owned(),
        ..Decision::default()
    };
    Ruling::Refuse(Refusal::Waits(Box::new(decision)))
}

fn message(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut message = json!({
        "subject": { "type": "user", "id": "ann" },
        "action": { "name": "tools/call" },
        "resource": { "type": "tool", "id": "read_text" },
        "context": { "session_id": "s-1", "arguments": { "path": "/a" } },
        "denial": { "evaluation_id": CALL_ID, "expires_at": "2026-11-23T02:10:00Z", "reason": "x" },
    });
    change(&mut message);
    message.to_string().into_bytes()
}

fn told(review: &GetCallReviewResponse) -> Result<Value, Problem> {
    task::task(review, &handle(), &place(), Timestamp::from_micros(NOW * 1_000_000))
}

#[test]
fn golden_answers() {
    let found = json!({
        "denied, and may be requested": decision(&waits(), None, &Presented::Nothing, Some(&review(ReviewState::Pending)), &place()),
        "pending": told(&review(ReviewState::Pending)).unwrap(),
        "approved": told(&review(ReviewState::Approved)).unwrap(),
        "denied": told(&review(ReviewState::Denied)).unwrap(),
        "expired": told(&review(ReviewState::Expired)).unwrap(),
        "cancelled": told(&review(ReviewState::Cancelled)).unwrap(),
        "of another call": serde_json::from_str::<Value>(
            &Problem::new(Kind::InvalidDenialBinding, "resource").body()).unwrap(),
    });
    let path = format!("{}/tests/golden/gateways/authzen_access.json", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("ASKANCE_GOLDEN").as_deref() == Ok("write") && !std::path::Path::new(&path).exists() {
        std::fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
    }
    let golden: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(found, golden, "{path}");
}

#[test]
fn a_request_names_its_denial_and_repeats_the_call() {
    let asked = request::read(&message(|_| {}), "server=files").unwrap();
    assert_eq!(asked.handle, handle());
    let About::Before(call) = &asked.envelope.about else { panic!("{asked:?}") };
    assert_eq!((call.server.as_str(), call.tool.as_str()), ("files", "read_text"));
    assert_eq!(call.arguments, br#"{"path":"/a"}"#);
    let kind = |change: fn(&mut Value)| request::read(&message(change), "").unwrap_err().kind;
    assert_eq!(kind(|m| m["items"] = json!([])), Kind::NotOffered);
    assert_eq!(kind(|m| m["callback"] = json!({ "endpoint": "https://x" })), Kind::NotOffered);
    assert_eq!(kind(|m| m["denial"] = Value::Null), Kind::InvalidDenialBinding);
    assert_eq!(kind(|m| m["denial"]["evaluation_id"] = json!("r0-17")), Kind::InvalidDenialBinding);
    assert_eq!(kind(|m| m["denial"]["binding_token"] = json!("x")), Kind::InvalidDenialBinding);
    assert_eq!(kind(|m| m["denial"]["expires_at"] = json!("soon")), Kind::InvalidDenialBinding);
    assert_eq!(kind(|m| m["subject"] = json!({ "type": "user" })), Kind::Malformed);
    assert_eq!(request::read(b"[]", "").unwrap_err().kind, Kind::Malformed);
}

#[test]
fn an_actor_beside_the_subject_is_the_one_within_it() {
    let who = |change: fn(&mut Value)| {
        request::read(&message(change), "").map(|asked| asked.envelope.principals.join(" "))
    };
    let chain = "user:ann agent:planner agent:coder";
    let within = |m: &mut Value| {
        m["subject"]["properties"] = json!({ "act": { "sub": "coder", "act": { "sub": "planner" } } });
    };
    let beside = |m: &mut Value| {
        m["client"] = json!({ "actor": { "id": "coder", "act": { "sub": "planner" } } });
    };
    assert_eq!(who(within).unwrap(), chain);
    assert_eq!(who(beside).unwrap(), chain);
    assert_eq!(
        who(|m| {
            m["subject"]["properties"] = json!({ "act": { "sub": "coder" } });
            m["client"] = json!({ "actor": { "id": "coder" } });
        })
        .unwrap(),
        "user:ann agent:coder"
    );
    let other = who(|m| {
        m["subject"]["properties"] = json!({ "act": { "sub": "coder" } });
        m["client"] = json!({ "actor": { "id": "somebody" } });
    });
    assert_eq!(other.unwrap_err().kind, Kind::InvalidDenialBinding);
}

#[test]
fn ids_are_of_their_kind_and_hold_random_bits() {
    let one = handle();
    assert_eq!(Handle::of_task(&one.task()), Some(one.clone()));
    assert_eq!(Handle::of_approval(&one.approval()), Some(one.clone()));
    assert_eq!(one.call_id(), CALL_ID);
    for bad in
        ["", "r0-17", "arq_", "arq_0123456789ABCDEF0123456789abcdef", CALL_ID, "hook-0123456789ab-toolu_1"]
    {
        assert_eq!(Handle::of_task(bad), None, "{bad}");
    }
    assert_eq!(Handle::of_evaluation("hook-0123456789ab-0123456789abcdef01"), None);
}

#[test]
fn tasks_are_told_of_for_a_day() {
    let mut old = review(ReviewState::Denied);
    old.resolve_time = at(-24 * 3_600);
    assert_eq!(told(&old).unwrap_err().kind, Kind::TaskExpired);
    old.resolve_time = at(-24 * 3_600 + 1);
    assert_eq!(told(&old).unwrap()["task"]["status"], "denied");
    let mut silent = review(ReviewState::Pending);
    silent.on_deadline = TimeoutAction::Escalate.into();
    assert!(told(&silent).unwrap()["task"].get("expires_at").is_none(), "somebody else is asked then");
    let mut unused = review(ReviewState::Expired);
    unused.approval_expire_time = at(-1);
    let answer = told(&unused).unwrap();
    assert_eq!(answer["task"]["status"], "approved", "it had been, and does not become something else");
    assert_eq!(answer["result"]["approval"]["approved_until"], "2026-11-23T01:59:59Z");
    assert!(told(&review(ReviewState::Cancelled)).unwrap().get("result").is_none());
    assert_eq!(told(&review(ReviewState::Consumed)).unwrap()["task"]["status"], "approved");
}

fn referred() -> evaluation::Evaluation {
    let message = message(|m| m["context"]["approval"] = json!({ "id": handle().approval() }));
    let (fields, _) = Fields::read(&message);
    evaluation::read(&fields, &Query::default()).unwrap()
}

#[test]
fn an_approval_is_told_what_became_of_it() {
    let one = referred();
    let after = |ruling: &Ruling, presented: &Presented, waits: Option<&GetCallReviewResponse>| {
        let told = decision(ruling, one.approval.as_ref(), presented, waits, &place());
        let word = |name: &str| told["context"][name].as_str().unwrap_or("-").to_owned();
        format!("{} {} {}", told["decision"], word("reason"), word("next_action"))
    };
    let of = |state| Presented::Of(Box::new(review(state)));
    let open = review(ReviewState::Pending);
    assert_eq!(after(&Ruling::Pass, &Presented::Unknown, None), "true - -");
    let yes = decision(&Ruling::Pass, one.approval.as_ref(), &of(ReviewState::Approved), None, &place());
    assert_eq!(yes["context"]["approval"]["approved_until"], "2026-11-23T02:15:00Z");
    assert_eq!(after(&waits(), &of(ReviewState::Consumed), Some(&open)), "false approval_expired request");
    assert_eq!(after(&waits(), &of(ReviewState::Cancelled), None), "false approval_expired none");
    assert_eq!(after(&waits(), &of(ReviewState::Approved), None), "false policy_denied none");
    assert_eq!(
        after(&waits(), &of(ReviewState::Pending), Some(&open)),
        "false approval_unverifiable request"
    );
    let foreign = GetCallReviewResponse { same_call: false, ..review(ReviewState::Approved) };
    let foreign = Presented::Of(Box::new(foreign));
    assert_eq!(after(&waits(), &foreign, None), "false approval_unverifiable none");
    assert_eq!(after(&Ruling::Pass, &foreign, None), "true - -", "it says nothing of an approval");
    let away = Ruling::Refuse(Refusal::Away(crate::domain::risk::RiskCategory::High, "x".to_owned()));
    assert_eq!(after(&away, &Presented::Unknown, None), "false approval_unverifiable retry");
}

fn asked(message: &Value) -> Result<Asked, Fault> {
    let text = message.to_string();
    let (fields, fault) = Fields::read(text.as_bytes());
    assert_eq!(fault, None);
    several(&fields, &Query::default())
}

#[test]
fn what_one_evaluation_lacks_stands_above_them() {
    let tool = |name: &str| json!({ "type": "tool", "id": name });
    let message = json!({
        "subject": { "type": "user", "id": "ann" }, "action": { "name": "tools/call" }, "context": { "session": "s" },
        "evaluations": [
            { "resource": tool("a") },
            { "resource": tool("b"), "subject": { "type": "user", "id": "bob" }, "context": {} },
            { "resource": tool("c"), "subject": null },
            {},
            7,
        ],
        "options": { "evaluations_semantic": "deny_on_first_deny", "other": 1 },
    });
    let Ok(Asked::Several(found, semantic)) = asked(&message) else { panic!("not several") };
    assert_eq!(semantic, Semantic::FirstDeny);
    let said: Vec<String> = found
        .iter()
        .map(|one| match one {
            Ok(one) => format!("{} {}", one.envelope.principals.join(","), one.envelope.session),
            Err(Fault(why)) => why.clone(),
        })
        .collect();
    assert_eq!(said.first().unwrap(), "user:ann s");
    assert_eq!(said.get(1).unwrap(), "user:bob ");
    assert_eq!(said.get(2).unwrap(), "user:ann s");
    assert!(said.get(3).unwrap().contains("resource") && said.get(4).unwrap().contains("object"), "{said:?}");
    let alone = json!({ "subject": { "type": "user", "id": "ann" }, "action": { "name": "x" }, "resource": tool("a"), "evaluations": [] });
    assert!(matches!(asked(&alone), Ok(Asked::One(_))));
    let many = json!({ "evaluations": vec![json!({}); EVALUATIONS_MAX + 1] });
    assert!(asked(&many).unwrap_err().0.contains("at most 64"));
    let odd = json!({ "evaluations": [{}], "options": { "evaluations_semantic": "first" } });
    assert!(asked(&odd).is_err());
    assert!(Semantic::FirstPermit.ends_with(true) && !Semantic::FirstPermit.ends_with(false));
    assert!(Semantic::FirstDeny.ends_with(false) && !Semantic::All.ends_with(false));
}

#[test]
fn routes() {
    let of = |method: Method, path: &str| Route::of(&method, path);
    assert_eq!(of(Method::POST, "/access/v1/requests"), Some(Route::Request));
    assert_eq!(of(Method::GET, "/access/v1/requests/arq_1"), Some(Route::Task("arq_1".to_owned())));
    for path in ["/access/v1/requests/arq_1/cancel", "/access/v1/evaluation"] {
        assert_eq!(of(Method::GET, path), Some(Route::OtherMethod), "{path}");
    }
    assert_eq!(of(Method::POST, "/access/v1/requests/arq_1/cancel"), Some(Route::OtherMethod));
    assert_eq!(of(Method::OPTIONS, "/access/v1/requests/arq_1/cancel"), Some(Route::OtherMethod));
    assert_eq!(of(Method::GET, "/access/v1/requestsx"), None);
    assert_eq!(of(Method::GET, "/.well-known/authzen-configuration"), Some(Route::Metadata));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _read = request::read(&bytes, "");
        let (fields, _) = Fields::read(&bytes);
        let _several = several(&fields, &Query::default());
    }
}
