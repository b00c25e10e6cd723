//! Messages as gateways send them, what is understood, and what is answered: one file a gateway.
//!
//! `ASKANCE_GOLDEN=write` writes what is missing.

use super::golden::{denied, shown};
use askance::adapter::envelope::Ruling;
use askance::adapter::gateway::{self, Gateway};
use askance::mcp::refusal::Refusal;
use askance::proto::v1::{Decision, ReasonCode};
use serde_json::{Value, json};
use std::path::Path;

fn waits() -> Ruling {
    let decision = Decision {
        risk: 64,
        reason: "nothing like it was seen before".to_owned(),
        reason_code: ReasonCode::RiskOverReviewThreshold.into(),
        review_id: "0-17".to_owned(),
        call_id: "hook-0123".to_owned(),
        ..Decision::default()
    };
    Ruling::Refuse(Refusal::Waits(Box::new(decision)))
}

fn filled(gateway: Gateway, case: &Value) -> Value {
    let query = case["query"].as_str().unwrap();
    let message = gateway::read(gateway, case["message"].to_string().as_bytes(), query);
    let envelope = message.read.as_ref().unwrap_or_else(|why| panic!("{gateway:?} {}: {why}", case["name"]));
    let answered = |ruling: &Ruling| {
        let answer = gateway::answer(gateway, &message, ruling);
        let body = serde_json::from_str::<Value>(&answer.body).unwrap_or(Value::Null);
        json!({ "status": answer.status, "body": body, "bytes": answer.body.len() })
    };
    json!({
        "name": case["name"],
        "query": query,
        "message": case["message"],
        "understood": shown(envelope),
        "principals": envelope.principals,
        "passed": answered(&Ruling::Pass),
        "denied": answered(&denied(ReasonCode::DeniedByRule)),
        "waits": answered(&waits()),
    })
}

#[test]
fn every_message_is_understood_and_answered_as_its_gateway_wants() {
    for gateway in Gateway::ALL {
        let path = format!("tests/golden/gateways/{}.json", gateway.name());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(cases.len() > 3, "{gateway:?}");
        let found: Vec<Value> = cases.iter().map(|case| filled(gateway, case)).collect();
        let missing = cases.iter().any(|case| case.get("understood").is_none());
        if missing && std::env::var("ASKANCE_GOLDEN").as_deref() == Ok("write") {
            std::fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
            continue;
        }
        cases.iter().zip(&found).for_each(|(case, found)| assert_eq!(found, case, "{}", path.display()));
    }
}
