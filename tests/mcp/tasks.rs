//! Calls under review that their client follows as tasks.

use crate::http::{JSON, Pair, ask, pair, whole};
use crate::support::{Client, Place, eventually};
use serde_json::{Value, json};

/// A call by a client that follows tasks.
fn call(id: u64, tool: &str, arguments: &Value) -> String {
    request(id, "tools/call", &json!({ "name": tool, "arguments": arguments }))
}

fn request(id: u64, method: &str, params: &Value) -> String {
    let mut params = params.clone();
    params["_meta"] = json!({
        "progressToken": "p",
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "follower", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": { "extensions": { "io.modelcontextprotocol/tasks": {} } },
    });
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// A client over either transport.
trait Asks {
    fn asks(&mut self, message: &str) -> Value;

    fn task(&mut self, method: &str, task: &str) -> Value {
        self.asks(&request(77, method, &json!({ "taskId": task })))["result"].take()
    }

    /// The task once it is over.
    fn over(&mut self, task: &str) -> Value {
        let mut last = Value::Null;
        eventually("the task's end", || {
            last = self.task("tasks/get", task);
            last["status"] != "working"
        });
        last
    }
}

impl Asks for Client {
    fn asks(&mut self, message: &str) -> Value {
        let id = serde_json::from_str::<Value>(message).unwrap()["id"].take();
        self.send(message);
        let answer = self.next();
        assert_eq!(answer["id"], id, "nothing else comes: {answer:#}");
        answer
    }
}

impl Asks for Pair {
    fn asks(&mut self, message: &str) -> Value {
        let (status, head, body) = whole(ask(self.port, JSON, message));
        assert_eq!(status, 200, "{head}");
        serde_json::from_slice(&body).unwrap()
    }
}

/// Begins a task; tells its id and its review's.
fn begun(client: &mut impl Asks, tool: &str, arguments: &Value) -> (String, String) {
    let created = client.asks(&call(1, tool, arguments));
    assert_eq!(created["result"]["resultType"], "task", "{created:#}");
    assert_eq!(created["result"]["status"], "working");
    let message = created["result"]["statusMessage"].as_str().unwrap();
    let review = message.rsplit(' ').next().unwrap().to_owned();
    (created["result"]["taskId"].as_str().unwrap().to_owned(), review)
}

fn events(place: &Place, kind: &str) -> Vec<Value> {
    let of_kind = place.calls().into_iter().filter(|event| event["kind"] == kind);
    of_kind.map(|mut event| event["data"].take()).collect()
}

/// The story of both transports: approved, denied, taken back.
fn story(place: &Place, client: &mut impl Asks) {
    let (task, review) = begun(client, "delete_database", &json!({ "name": "main" }));
    assert_eq!(client.task("tasks/get", &task)["status"], "working");
    assert_eq!(place.run(&["review", "approve", &review]).0, 0);
    let over = client.over(&task);
    assert_eq!((&over["status"], &over["resultType"]), (&"completed".into(), &"complete".into()), "{over:#}");
    let text = &over["result"]["content"][0]["text"];
    assert_eq!(text, r#"delete_database ran with {"name": "main"}"#, "{over:#}");
    let (task, review) = begun(client, "delete_database", &json!({ "name": "other" }));
    assert_eq!(place.run(&["review", "deny", &review, "--comment", "not this one"]).0, 0);
    let over = client.over(&task);
    assert_eq!(
        (&over["status"], &over["result"]["isError"]),
        (&"completed".into(), &true.into()),
        "{over:#}"
    );
    let (task, _) = begun(client, "delete_database", &json!({ "name": "third" }));
    assert_eq!(client.task("tasks/update", &task)["resultType"], "complete");
    assert_eq!(client.task("tasks/cancel", &task)["resultType"], "complete");
    assert_eq!(client.over(&task)["status"], "cancelled");
    let unknown = client.asks(&request(5, "tasks/get", &json!({ "taskId": "askance-task-00" })));
    assert_eq!(unknown["error"]["code"], -32_602, "{unknown:#}");
    let unable = json!({ "jsonrpc": "2.0", "id": 6, "method": "tasks/get", "params": { "taskId": task } });
    assert_eq!(client.asks(&unable.to_string())["error"]["code"], -32_021);
    let seen = place.seen();
    assert_eq!(seen.matches("delete_database").count(), 1, "{seen}");
    assert!(!seen.contains("progressToken\":\"p\",\"task") && !seen.contains("other"), "{seen}");
    let ran: Value = seen
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| message["params"]["name"] == "delete_database")
        .unwrap();
    let meta = &ran["params"]["_meta"];
    assert!(meta.get("progressToken").is_none(), "{ran:#}");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({}), "{ran:#}");
}

fn ended_well(place: &Place) {
    let completed = events(place, "call_completed");
    let statuses: Vec<&str> = completed.iter().filter_map(|event| event["status"].as_str()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == "ok").count(), 1, "{statuses:?}");
    assert!(events(place, "call_proposed").len() == 3);
}

#[test]
fn a_stdio_client_follows_its_call_as_a_task() {
    let place = Place::new();
    let mut client = place.wrap(&[]);
    story(&place, &mut client);
    // A task of the server's own is the server's to answer.
    let own = client.asks(&request(9, "tasks/get", &json!({ "taskId": "786512e2" })));
    assert_eq!(own["result"]["echo"], "tasks/get", "{own:#}");
    client.hang_up();
    assert!(client.ended().0.success());
    ended_well(&place);
}

#[test]
fn an_http_client_follows_its_call_as_a_task() {
    let place = Place::new();
    let mut pair = pair(&place, &[]);
    story(&place, &mut pair);
    let (task, review) = begun(&mut pair, "delete_streaming", &json!({}));
    let foreign = format!("{JSON}Authorization: Bearer other\r\n");
    let get = request(3, "tasks/get", &json!({ "taskId": task }));
    let (_, _, body) = whole(ask(pair.port, &foreign, &get));
    assert!(String::from_utf8_lossy(&body).contains("no such task"), "{}", String::from_utf8_lossy(&body));
    assert_eq!(place.run(&["review", "approve", &review]).0, 0);
    let over = pair.over(&task);
    assert_eq!(over["result"]["content"][0]["text"], "delete_streaming ran with {}", "{over:#}");
    pair.stop();
}

#[test]
fn an_answer_that_is_too_long_fails_the_task_and_never_reaches_the_client() {
    let place = Place::new();
    let mut client = place.wrap(&[]);
    let (task, review) = begun(&mut client, "delete_big", &json!({ "megabytes": 17 }));
    assert_eq!(place.run(&["review", "approve", &review]).0, 0);
    let over = client.over(&task);
    assert_eq!(over["status"], "failed", "{over:#}");
    assert!(over["error"]["message"].as_str().unwrap().contains("16 MiB"), "{over:#}");
    // One of 10 MiB is kept, and what else comes passes meanwhile.
    let (task, review) = begun(&mut client, "delete_big", &json!({ "megabytes": 10 }));
    assert_eq!(place.run(&["review", "approve", &review]).0, 0);
    let over = client.over(&task);
    assert_eq!(over["result"]["content"][0]["text"].as_str().unwrap().len(), 10 << 20);
}

#[test]
fn a_client_that_leaves_ends_what_its_tasks_wait_for() {
    let place = Place::new();
    let mut client = place.wrap(&[]);
    begun(&mut client, "delete_database", &json!({ "name": "main" }));
    client.hang_up();
    assert!(client.ended().0.success());
    assert!(!place.seen().contains("delete_database"), "{}", place.seen());
    let completed = events(&place, "call_completed");
    assert_eq!(completed.len(), 1, "{completed:#?}");
    assert_eq!(completed[0]["status"], "abandoned");
}
