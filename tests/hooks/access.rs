//! AuthZEN's requests for access, over HTTP to the real daemon: denied, requested, approved, evaluated again.

use crate::http::{ask, serve};
use crate::support::{Daemon, Place, eventually};
use serde_json::{Value, json};

struct Pdp {
    place: Place,
    _daemon: Daemon,
    address: String,
    headers: String,
}

impl Pdp {
    fn start(policy: Option<&str>) -> Self {
        let place = Place::new();
        if let Some(policy) = policy {
            std::fs::write(place.path().join("policy.yaml"), policy).unwrap();
        }
        let (daemon, address) = serve(&place);
        Self { place, _daemon: daemon, address, headers: String::new() }
    }

    fn say(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
        let (address, own) = (&self.address, &self.headers);
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{own}{headers}");
        let (status, body) = ask(address, &head, body);
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    fn evaluated(&self, call: &Value) -> Value {
        let (status, answer) = self.say("POST", "/access/v1/evaluation", "", &call.to_string());
        assert_eq!(status, 200, "{answer}");
        answer
    }

    fn requested(&self, call: &Value, denied: &Value, headers: &str) -> (u16, Value) {
        let mut request = call.clone();
        request["context"]["business_justification"] = json!("a ticket");
        request["denial"] = json!({
            "evaluation_id": denied["context"]["evaluation_id"],
            "expires_at": denied["context"]["access_request"]["expires_at"],
        });
        self.say("POST", "/access/v1/requests", headers, &request.to_string())
    }

    /// The path of a task's status endpoint.
    fn status_of(&self, answer: &Value) -> (u16, Value) {
        let at = answer["task"]["status_endpoint"].as_str().unwrap();
        let path = at.strip_prefix(&format!("http://{}", self.address)).unwrap_or_else(|| panic!("{at}"));
        self.say("GET", path, "", "")
    }

    fn review(&self, what: &str, denied: &Value) {
        let id = denied["context"]["review_id"].as_str().unwrap();
        let (code, told) = self.place.run(&["review", what, id]);
        assert_eq!(code, 0, "{told}");
    }
}

fn call(tool: &str, path: &str) -> Value {
    json!({
        "subject": { "type": "user", "id": "dora" }, "action": { "name": "tools/call" },
        "resource": { "type": "tool", "id": tool, "properties": { "server": "files" } },
        "context": { "session_id": "s-1", "arguments": { "path": path } },
    })
}

fn word(answer: &Value) -> String {
    let kind = answer["type"].as_str().unwrap_or_else(|| panic!("{answer}"));
    kind.rsplit(':').next().unwrap().to_owned()
}

#[test]
fn approved_it_passes_once() {
    let pdp = Pdp::start(None);
    let call = call("delete_note", "/a");
    let denied = pdp.evaluated(&call);
    assert_eq!(denied["decision"], false);
    let asked = &denied["context"]["access_request"];
    assert_eq!(asked["endpoint"], format!("http://{}/access/v1/requests", pdp.address), "{denied}");
    let key = "Idempotency-Key: k-1\r\n";
    let (status, pending) = pdp.requested(&call, &denied, key);
    assert_eq!((status, &pending["task"]["status"]), (202, &json!("pending")), "{pending}");
    assert_eq!(pending["task"]["progress"], json!({ "current_step": 1, "total_steps": 1 }));
    assert!(pending["task"]["expires_at"].is_string() && pending.get("result").is_none());
    assert!(
        !pending.to_string().contains(denied["context"]["review_id"].as_str().unwrap()),
        "it is guessable"
    );
    assert_eq!(pdp.requested(&call, &denied, key), (status, pending.clone()), "the same task");
    assert_eq!(pdp.status_of(&pending), (200, pending.clone()));

    pdp.review("approve", &denied);
    let (status, approved) = pdp.status_of(&pending);
    assert_eq!((status, &approved["task"]["status"]), (200, &json!("approved")), "{approved}");
    assert_eq!(approved["result"]["mode"], "reevaluate");
    let approval = &approved["result"]["approval"];
    let again = |path: &str, approval: &Value| {
        let mut again = call.clone();
        again["context"]["arguments"]["path"] = json!(path);
        again["context"]["approval"] = approval.clone();
        pdp.evaluated(&again)
    };
    let other = again("/b", approval);
    assert_eq!(other["decision"], false, "an approval is for its own call: {other}");
    assert_eq!(
        (&other["context"]["reason"], &other["context"]["next_action"]),
        (&json!("approval_unverifiable"), &json!("request"))
    );
    let looked: Vec<Value> = (0..3).map(|_| pdp.status_of(&pending).1["task"]["status"].clone()).collect();
    assert_eq!(looked, ["approved", "approved", "approved"], "looking uses nothing up");
    let passed = again("/a", approval);
    assert_eq!(passed["decision"], true, "{passed}");
    assert_eq!(passed["context"]["approval"]["id"], approval["id"]);
    assert_eq!(passed["context"]["approval"]["approved_until"], approval["approved_until"]);
    let spent = again("/a", approval);
    assert_eq!(
        (&spent["decision"], &spent["context"]["reason"]),
        (&json!(false), &json!("approval_expired"))
    );
    assert_eq!(spent["context"]["next_action"], "request");
    assert!(spent["context"]["access_request"].is_object(), "a review of its own: {spent}");
    assert_eq!(pdp.status_of(&pending).1["task"]["status"], "approved");
}

#[test]
fn what_is_not_the_denied_call_is_not_taken() {
    let pdp = Pdp::start(None);
    let mine = call("delete_note", "/a");
    let denied = pdp.evaluated(&mine);
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut other = mine.clone();
        change(&mut other);
        let (status, problem) = pdp.requested(&other, &denied, "");
        (status, word(&problem))
    };
    let unbound = (400, "invalid_denial_binding".to_owned());
    assert_eq!(refused(&|call| call["subject"]["id"] = json!("carl")), unbound);
    assert_eq!(refused(&|call| call["resource"]["id"] = json!("delete_all")), unbound);
    assert_eq!(refused(&|call| call["context"]["arguments"]["path"] = json!("/b")), unbound);
    assert_eq!(refused(&|call| call["context"]["session_id"] = json!("s-2")), unbound);
    let mut unknown = denied.clone();
    unknown["context"]["evaluation_id"] = json!(format!("hook-{}", "0".repeat(32)));
    let (status, problem) = pdp.requested(&mine, &unknown, "");
    assert_eq!((status, word(&problem)), unbound, "{problem}");
    let never = call("drop_table", "/a");
    let mut flat = pdp.evaluated(&never);
    assert!(flat["context"].get("access_request").is_none(), "nobody is asked: {flat}");
    flat["context"]["access_request"] = denied["context"]["access_request"].clone();
    let (status, problem) = pdp.requested(&never, &flat, "");
    assert_eq!((status, word(&problem)), (400, "not_requestable".to_owned()));
    let key = "Idempotency-Key: k-1\r\n";
    let (status, pending) = pdp.requested(&mine, &denied, key);
    assert_eq!(status, 202);
    let (status, problem) = pdp.requested(&never, &flat, key);
    assert_eq!((status, word(&problem)), (409, "duplicate_request".to_owned()));
    pdp.review("deny", &denied);
    let (status, answer) = pdp.status_of(&pending);
    assert_eq!((status, &answer["task"]["status"]), (200, &json!("denied")));
    assert!(answer.get("result").is_none());
    let task = format!("/access/v1/requests/arq_{}", "0".repeat(32));
    let (status, problem) = pdp.say("GET", &task, "", "");
    assert_eq!((status, word(&problem)), (404, "unknown_task".to_owned()));
    let cancel = format!("{}/cancel", pending["task"]["status_endpoint"].as_str().unwrap());
    let path = cancel.split_once("/access").map(|(_, path)| format!("/access{path}")).unwrap();
    assert_eq!(pdp.say("POST", &path, "", "{}").0, 405);
}

#[test]
fn silence_ends_it() {
    let policy = r#"version: 1
defaults: {low: allow, medium: allow, high: review, critical: review}
rules:
  - {id: asks, tool: "delete_*", effect: review, approvers: 2, timeout: {after: 2s, then: deny}}
"#;
    let pdp = Pdp::start(Some(policy));
    let call = call("delete_note", "/a");
    let denied = pdp.evaluated(&call);
    let (status, pending) = pdp.requested(&call, &denied, "Idempotency-Key: k\r\n");
    assert_eq!(status, 202, "{pending}");
    assert_eq!(pending["task"]["progress"]["total_steps"], 2);
    eventually("its time to be over", || pdp.status_of(&pending).1["task"]["status"] == "expired");
    let (status, problem) = pdp.requested(&call, &denied, "");
    assert_eq!((status, word(&problem)), (410, "expired_denial".to_owned()));
    let (status, again) = pdp.requested(&call, &denied, "Idempotency-Key: k\r\n");
    assert_eq!((status, &again["task"]["status"]), (201, &json!("expired")), "a retry finds its task");
}

#[test]
fn who_may_ask_is_as_over_grpc() {
    let mut pdp = Pdp::start(None);
    let token = |place: &Place, role: &str| {
        let (code, told) =
            place.run(&["token", "create", "--subject", &format!("agent:{role}"), "--role", role, "--json"]);
        assert_eq!(code, 0, "{told}");
        let told: Value =
            serde_json::from_str(told.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
        format!("Authorization: Bearer {}\r\n", told["secret"].as_str().unwrap())
    };
    let (gateway, auditor) = (token(&pdp.place, "gateway"), token(&pdp.place, "auditor"));
    pdp.headers.clone_from(&gateway);
    let call = call("delete_note", "/a");
    let denied = pdp.evaluated(&call);
    let (status, pending) = pdp.requested(&call, &denied, "");
    assert_eq!(status, 202, "{pending}");
    for (headers, wanted) in [("", 401), ("Authorization: Bearer wrong\r\n", 401), (auditor.as_str(), 403)] {
        headers.clone_into(&mut pdp.headers);
        assert_eq!(pdp.requested(&call, &denied, "").0, wanted, "{headers}");
        assert_eq!(pdp.status_of(&pending).0, wanted, "{headers}");
    }
    let foreign = format!("{gateway}askance-tenant: other\r\n");
    pdp.headers = foreign;
    assert_eq!(pdp.status_of(&pending).0, 404, "another tenant's");
}

#[test]
fn several_evaluations_and_the_metadata() {
    let pdp = Pdp::start(None);
    let tool = |name: &str| json!({ "resource": { "type": "tool", "id": name } });
    let several = |semantic: &str| {
        let message = json!({
            "subject": { "type": "user", "id": "dora" }, "action": { "name": "tools/call" },
            "evaluations": [tool("get_note"), tool("drop_table"), tool("get_all"), { "resource": 7 }],
            "options": { "evaluations_semantic": semantic },
        });
        let (status, answer) =
            pdp.say("POST", "/access/v1/evaluations?server=files", "", &message.to_string());
        assert_eq!(status, 200, "{answer}");
        let all = answer["evaluations"].as_array().unwrap().clone();
        (all.iter().map(|one| one["decision"].as_bool().unwrap()).collect::<Vec<_>>(), all)
    };
    let (decisions, all) = several("execute_all");
    assert_eq!(decisions, [true, false, true, false]);
    assert_eq!(all[3]["context"]["error"]["status"], 400);
    assert_eq!(several("deny_on_first_deny").0, [true, false]);
    assert_eq!(several("permit_on_first_permit").0, [true]);
    let one = pdp.say("POST", "/access/v1/evaluations", "", &call("get_note", "/a").to_string());
    assert_eq!(one, (200, json!({ "decision": true })));
    assert_eq!(pdp.say("POST", "/access/v1/evaluations", "", "{\"evaluations\":{}}").0, 400);
    let (status, about) = pdp.say("GET", "/.well-known/authzen-configuration", "", "");
    let base = format!("http://{}", pdp.address);
    assert_eq!((status, &about["policy_decision_point"]), (200, &json!(base)));
    assert_eq!(about["access_request_endpoint"], format!("{base}/access/v1/requests"));
    assert_eq!(about["capabilities"], json!(["urn:openid:authzen:capability:access-request"]));
}
