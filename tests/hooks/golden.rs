//! Messages as the clients' documentation has them, what is understood, and what is answered: one file a client.
//!
//! `ASKANCE_GOLDEN=write` writes what is missing.

use askance::adapter::envelope::{About, Call, Envelope, Ruling};
use askance::adapter::hook::{self, Client};
use askance::mcp::refusal::Refusal;
use askance::proto::v1::{Decision, ReasonCode};
use serde_json::{Value, json};
use std::path::Path;

fn call(call: &Call) -> Value {
    let arguments: Value = serde_json::from_slice(&call.arguments).unwrap();
    json!({ "id": call.id, "server": call.server, "tool": call.tool, "arguments": arguments })
}

pub(crate) fn shown(envelope: &Envelope) -> Value {
    let about = match &envelope.about {
        About::Before(before) => json!({ "before": call(before) }),
        About::After(after, ending) => json!({
            "after": call(after),
            "ending": {
                "status": ending.status.as_str_name(),
                "text": ending.text,
                "bytes": ending.bytes,
                "error": ending.error,
                "milliseconds": ending.milliseconds,
            },
        }),
        About::Request(text) => json!({ "request": text }),
        About::End => json!("the end of the session"),
        About::Nothing => json!("nothing"),
    };
    json!({
        "client": envelope.client,
        "session": envelope.session,
        "sub_agent": envelope.sub_agent,
        "about": about,
    })
}

pub(crate) fn denied(reason_code: ReasonCode) -> Ruling {
    let decision = Decision {
        risk: 71,
        reason: "the rule `never` denies it".to_owned(),
        reason_code: reason_code.into(),
        ..Decision::default()
    };
    Ruling::Refuse(Refusal::Denied(Box::new(decision)))
}

fn filled(client: Client, case: &Value) -> Value {
    let text = case["message"].to_string();
    let message = hook::read(client, text.as_bytes());
    let envelope = message.read.as_ref().unwrap_or_else(|why| panic!("{client:?} {}: {why}", case["name"]));
    let answered = |ruling: &Ruling| {
        let answer = hook::answer(client, &message, ruling);
        assert_eq!((answer.exit, answer.aside.as_str()), (0, ""), "{client:?} {}", case["name"]);
        serde_json::from_str::<Value>(&answer.line).unwrap()
    };
    json!({
        "name": case["name"],
        "message": case["message"],
        "understood": shown(envelope),
        "passed": answered(&Ruling::Pass),
        "denied": answered(&denied(ReasonCode::DeniedByRule)),
        "locked": answered(&denied(ReasonCode::SessionLocked)),
    })
}

#[test]
fn every_documented_message_is_understood_and_answered_as_its_client_wants() {
    for client in Client::ALL {
        let path = format!("tests/golden/hooks/{}.json", client.name());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(cases.len() > 5, "{client:?}");
        let found: Vec<Value> = cases.iter().map(|case| filled(client, case)).collect();
        let missing = cases.iter().any(|case| case.get("understood").is_none());
        if missing && std::env::var("ASKANCE_GOLDEN").as_deref() == Ok("write") {
            std::fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
            continue;
        }
        cases.iter().zip(&found).for_each(|(case, found)| assert_eq!(found, case, "{}", path.display()));
    }
}
