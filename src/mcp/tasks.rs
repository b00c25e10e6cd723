//! Calls that their clients follow as tasks while people look at them, and what becomes of them: the extension
//! `io.modelcontextprotocol/tasks` of revision 2026-07-28.
//!
//! A task is `working` until its call was refused or answered. A refusal and a tool's failure are `completed` with a
//! result that says so; `failed` is for errors of the protocol. Tasks live as long as this process: one that it does
//! not know any more is answered as the extension says, and the same call may be made again.

use super::peek::{INVALID_PARAMS, Id, TaskAsk, TaskVerb};
use super::refusal::answer;
use crate::domain::hex::hex;
use crate::domain::time::Timestamp;
use crate::proto::v1::Decision;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Tasks known at a time; beyond it calls are held as they are for clients that follow no tasks.
pub const TASKS_MAX: usize = 256;
/// Bytes of calls and results that are kept for tasks.
pub const TASK_BYTES_MAX: usize = 64 << 20;
/// Bytes of one result.
pub const RESULT_BYTES_MAX: usize = 16 << 20;
/// Time that a task waits for people at most. Reviews end by their own time-outs, commonly long before.
pub const WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// Time that what became of a task is kept.
const KEPT_MICROS: i64 = 600_000_000;
/// Milliseconds between two questions of a client.
const POLL_MS: u32 = 1_000;
/// Milliseconds after which a client may give up a task.
const TTL_MS: u64 = 24 * 3_600_000 + 600_000;
/// What our tasks' ids begin with.
const OURS: &str = "askance-task-";
/// MCP: the client lacks what the request needs.
const MISSING_ABILITY: i32 = -32_021;
/// JSON-RPC: something failed inside.
const INTERNAL_ERROR: i32 = -32_603;

/// Who may ask about a task: a digest of what its call was authorised with.
pub type Owner = [u8; 32];

#[derive(Debug)]
enum State {
    /// Waits for people, or runs. To let go of the sender stops the waiting.
    Working(Option<oneshot::Sender<()>>),
    /// Over: a member of the task, as JSON.
    Over(&'static str, Option<(&'static str, String)>),
}

#[derive(Debug)]
struct Task {
    owner: Owner,
    created: Timestamp,
    updated: Timestamp,
    message: String,
    state: State,
    bytes: usize,
}

/// The tasks of a proxy.
#[derive(Debug, Default)]
pub struct Tasks {
    all: BTreeMap<String, Task>,
    bytes: usize,
}

/// A task that was made.
#[derive(Debug)]
pub struct Made {
    /// Its id.
    pub id: String,
    /// Hears when its client cancels it.
    pub stopped: oneshot::Receiver<()>,
}

/// The `result` or `error` of an answer.
#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    result_type: Option<String>,
}

impl Tasks {
    /// Makes a task of a call of so many bytes that waits. `random` makes its id one that cannot be guessed. An error
    /// says why there is no room.
    pub fn make(
        &mut self,
        random: [u8; 16],
        owner: Owner,
        decision: &Decision,
        bytes: usize,
        now: Timestamp,
    ) -> Result<Made, &'static str> {
        self.sweep(now);
        if self.all.len() >= TASKS_MAX {
            return Err("256 tasks are known");
        }
        if self.bytes + bytes > TASK_BYTES_MAX {
            return Err("64 MiB are kept for tasks");
        }
        let id = format!("{OURS}{}", hex(&random));
        let (stop, stopped) = oneshot::channel();
        let message = format!("waits for a person to approve review {}", decision.review_id);
        let state = State::Working(Some(stop));
        self.bytes += bytes;
        let task = Task { owner, created: now, updated: now, message, state, bytes };
        self.all.insert(id.clone(), task);
        Ok(Made { id, stopped })
    }

    /// Takes a task back that nobody was told of.
    pub fn forget(&mut self, id: &str) {
        if let Some(task) = self.all.remove(id) {
            self.bytes -= task.bytes;
        }
    }

    /// The answer to the call that became a task.
    pub fn created(&self, request: &Id, id: &str) -> Option<Vec<u8>> {
        let mut shown = self.all.get(id)?.shown(id);
        shown.insert("resultType".to_owned(), "task".into());
        Some(answer(request, &Value::Object(shown)))
    }

    /// Its call was allowed and runs.
    pub fn runs(&mut self, id: &str, now: Timestamp) {
        if let Some(task) = self.all.get_mut(id).filter(|task| matches!(task.state, State::Working(_))) {
            "was approved, and runs".clone_into(&mut task.message);
            task.updated = now;
            task.state = State::Working(None);
        }
    }

    /// Its call ended with this tool result.
    pub fn completed(&mut self, id: &str, result: &Value, now: Timestamp) {
        self.over(id, "completed", Some(("result", result.to_string())), now);
    }

    /// The server answered its call with this message.
    pub fn answered(&mut self, id: &str, message: &[u8], now: Timestamp) {
        let parts: Option<Parts<'_>> = serde_json::from_slice(message).ok();
        match parts.map(|parts| (parts.result, parts.error)) {
            Some((Some(result), _)) => {
                let kind = serde_json::from_str(result.get()).map(|Kind { result_type }| result_type);
                match kind.unwrap_or_default().as_deref() {
                    None | Some("complete") => {
                        self.over(id, "completed", Some(("result", result.get().to_owned())), now);
                    }
                    Some(_) => self.failed(id, "the server asks for more than a task can carry", now),
                }
            }
            Some((None, Some(error))) => {
                self.over(id, "failed", Some(("error", error.get().to_owned())), now);
            }
            _ => self.failed(id, "the server's answer cannot be read", now),
        }
    }

    /// Its call came to no answer.
    pub fn failed(&mut self, id: &str, why: &str, now: Timestamp) {
        let error = json!({ "code": INTERNAL_ERROR, "message": why }).to_string();
        self.over(id, "failed", Some(("error", error)), now);
    }

    fn over(
        &mut self,
        id: &str,
        status: &'static str,
        member: Option<(&'static str, String)>,
        now: Timestamp,
    ) {
        let Some(task) = self.all.get_mut(id).filter(|task| matches!(task.state, State::Working(_))) else {
            return;
        };
        self.bytes -= task.bytes;
        let bytes = member.as_ref().map_or(0, |(_, json)| json.len());
        let (status, member) = if self.bytes + bytes > TASK_BYTES_MAX {
            let error = json!({ "code": INTERNAL_ERROR, "message": "64 MiB are kept for tasks: no room for the result" });
            ("failed", Some(("error", error.to_string())))
        } else {
            (status, member)
        };
        task.bytes = member.as_ref().map_or(0, |(_, json)| json.len());
        self.bytes += task.bytes;
        task.updated = now;
        "is over".clone_into(&mut task.message);
        task.state = State::Over(status, member);
    }

    /// The answer to a request about a task; none if it is none of ours, and so the server's to answer.
    pub fn answer(&mut self, ask: &TaskAsk, owner: &Owner, now: Timestamp) -> Option<Vec<u8>> {
        if !ask.task.starts_with(OURS) {
            return None;
        }
        self.sweep(now);
        if !ask.is_able {
            let needs =
                json!({ "requiredCapabilities": { "extensions": { "io.modelcontextprotocol/tasks": {} } } });
            let error = json!({ "code": MISSING_ABILITY, "message": "Missing required client capability", "data": needs });
            return Some(refused(&ask.id, &error));
        }
        let Some(task) = self.all.get_mut(&ask.task).filter(|task| task.owner == *owner) else {
            let error = json!({ "code": INVALID_PARAMS, "message": "askance knows no such task (any more)" });
            return Some(refused(&ask.id, &error));
        };
        let mut shown = match ask.verb {
            TaskVerb::Get => task.shown(&ask.task),
            TaskVerb::Update => serde_json::Map::new(),
            TaskVerb::Cancel => {
                // One that runs cannot be stopped any more.
                if matches!(&task.state, State::Working(Some(_))) {
                    self.over(&ask.task, "cancelled", None, now);
                }
                serde_json::Map::new()
            }
        };
        shown.insert("resultType".to_owned(), "complete".into());
        let member = match (ask.verb, self.all.get(&ask.task).map(|task| &task.state)) {
            (TaskVerb::Get, Some(State::Over(_, Some((name, json))))) => format!(r#","{name}":{json}"#),
            _ => String::new(),
        };
        // The result is put in as it stands.
        let shown = Value::Object(shown).to_string();
        let shown = shown.strip_suffix('}').unwrap_or(&shown);
        Some(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{shown}{member}}}}}"#, ask.id.json()).into_bytes())
    }

    /// Stops every waiting.
    pub fn close(&mut self) {
        self.all.clear();
        self.bytes = 0;
    }

    fn sweep(&mut self, now: Timestamp) {
        let is_old =
            |task: &Task| matches!(task.state, State::Over(..)) && now.since(task.updated) > KEPT_MICROS;
        self.all.retain(|_, task| {
            let goes = is_old(task);
            self.bytes -= if goes { task.bytes } else { 0 };
            !goes
        });
    }
}

impl Task {
    /// Its members but for what became of it.
    fn shown(&self, id: &str) -> serde_json::Map<String, Value> {
        let status = match &self.state {
            State::Working(_) => "working",
            State::Over(status, _) => status,
        };
        let shown = json!({
            "taskId": id,
            "status": status,
            "statusMessage": self.message,
            "createdAt": self.created.to_string(),
            "lastUpdatedAt": self.updated.to_string(),
            "ttlMs": TTL_MS,
            "pollIntervalMs": POLL_MS,
        });
        if let Value::Object(shown) = shown { shown } else { serde_json::Map::new() }
    }
}

fn refused(id: &Id, error: &Value) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id.json()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Owner = [1; 32];

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn made(tasks: &mut Tasks, seed: u8) -> Made {
        let decision = Decision { review_id: "0-7".to_owned(), ..Decision::default() };
        tasks.make([seed; 16], ANN, &decision, 100, at(0)).unwrap()
    }

    fn asked(tasks: &mut Tasks, verb: TaskVerb, task: &str, owner: Owner, now: Timestamp) -> Value {
        let ask = TaskAsk { id: Id::of_text("q"), verb, task: task.to_owned(), is_able: true };
        serde_json::from_slice(&tasks.answer(&ask, &owner, now).unwrap()).unwrap()
    }

    fn get(tasks: &mut Tasks, task: &str) -> Value {
        asked(tasks, TaskVerb::Get, task, ANN, at(1))["result"].take()
    }

    #[test]
    fn a_task_works_until_its_call_is_answered() {
        let mut tasks = Tasks::default();
        let made = made(&mut tasks, 5);
        let created: Value =
            serde_json::from_slice(&tasks.created(&Id::of_text("c"), &made.id).unwrap()).unwrap();
        assert_eq!((&created["id"], &created["result"]["resultType"]), (&"c".into(), &"task".into()));
        assert_eq!(created["result"]["status"], "working");
        assert_eq!(created["result"]["createdAt"], "1970-01-01T00:00:00.000Z");
        assert!(created["result"]["statusMessage"].as_str().unwrap().contains("review 0-7"), "{created:#}");
        assert_eq!(get(&mut tasks, &made.id)["resultType"], "complete");
        tasks.runs(&made.id, at(2));
        assert_eq!(get(&mut tasks, &made.id)["status"], "working");
        tasks.answered(&made.id, br#"{"id":1,"result":{"content":[],"n":1.50},"jsonrpc":"2.0"}"#, at(3));
        let over = asked(&mut tasks, TaskVerb::Get, &made.id, ANN, at(4));
        assert_eq!(over["result"]["status"], "completed");
        assert_eq!(over["result"]["result"]["content"], json!([]));
        tasks.completed(&made.id, &json!({"late": 1}), at(5));
        assert_eq!(get(&mut tasks, &made.id)["result"]["n"], 1.5, "what is over stays as it is");
    }

    #[test]
    fn errors_of_the_protocol_fail_a_task() {
        let mut tasks = Tasks::default();
        let cases: [(&[u8], &str); 4] = [
            (br#"{"id":1,"error":{"code":-1,"message":"broken"}}"#, "broken"),
            (br#"{"id":1}"#, "cannot be read"),
            (b"rubbish", "cannot be read"),
            (br#"{"id":1,"result":{"resultType":"input_required"}}"#, "more than a task can carry"),
        ];
        for (seed, (message, why)) in (1..).zip(cases) {
            let made = made(&mut tasks, seed);
            tasks.answered(&made.id, message, at(3));
            let over = get(&mut tasks, &made.id);
            assert_eq!(over["status"], "failed", "{over:#}");
            assert!(over["error"]["message"].as_str().unwrap().contains(why), "{over:#}");
        }
    }

    #[test]
    fn a_task_is_its_owners_alone_and_ends_when_they_say_so() {
        let mut tasks = Tasks::default();
        let mut made = made(&mut tasks, 5);
        let foreign = asked(&mut tasks, TaskVerb::Get, &made.id, [2; 32], at(1));
        assert_eq!(foreign["error"]["code"], INVALID_PARAMS);
        asked(&mut tasks, TaskVerb::Cancel, &made.id, [2; 32], at(1));
        assert!(made.stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let ask =
            TaskAsk { id: Id::of_text("q"), verb: TaskVerb::Get, task: made.id.clone(), is_able: false };
        let unable: Value = serde_json::from_slice(&tasks.answer(&ask, &ANN, at(1)).unwrap()).unwrap();
        assert_eq!(unable["error"]["code"], MISSING_ABILITY);
        assert_eq!(
            asked(&mut tasks, TaskVerb::Cancel, &made.id, ANN, at(1))["result"]["resultType"],
            "complete"
        );
        assert!(made.stopped.try_recv() == Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(get(&mut tasks, &made.id)["status"], "cancelled");
        let other = TaskAsk { task: "786512e2".to_owned(), ..ask };
        assert!(tasks.answer(&other, &ANN, at(1)).is_none(), "a server's own task is the server's");
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let mut tasks = Tasks::default();
        let all: Vec<Made> = (0..=255).map(|seed| made(&mut tasks, seed)).collect();
        let decision = Decision::default();
        assert!(tasks.make([7; 16], ANN, &decision, 1, at(1)).is_err());
        all.iter().for_each(|made| tasks.completed(&made.id, &json!("x"), at(1)));
        assert!(
            tasks.make([7; 16], ANN, &decision, 1, at(600)).is_err(),
            "what became of them is still kept"
        );
        assert!(tasks.make([7; 16], ANN, &decision, TASK_BYTES_MAX + 1, at(700)).is_err());
        let made = tasks.make([7; 16], ANN, &decision, 1, at(700)).unwrap();
        assert_eq!(tasks.bytes, 1);
        tasks.completed(&made.id, &Value::from("x".repeat(TASK_BYTES_MAX)), at(701));
        assert_eq!(get(&mut tasks, &made.id)["status"], "failed", "no room for such a result");
        tasks.forget(&made.id);
        assert_eq!(tasks.bytes, 0);
    }
}
