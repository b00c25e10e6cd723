//! One line of recorded tool calls (JSON lines) to a checked value. Pure functions.
//!
//! Only the fields named here are ever read: labels, notes, verdicts and whatever else a line holds are
//! passed over unparsed, so that nothing of them can reach a score. Deliberately absent: files,
//! compression, the network, and the limits of the API, which the engine's own door checks.

use crate::domain::call::OutcomeStatus;
use crate::domain::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Longest call id that is sent.
const CALL_ID_BYTES_MAX: usize = crate::domain::call::limits::CALL_ID_BYTES_MAX;

/// A recorded call.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceLine {
    /// Data set; the tenant is made of it.
    pub dataset: String,
    /// MCP server, or the suite of a benchmark; may be empty.
    pub suite: String,
    /// Session id.
    pub session: String,
    /// Who acted.
    pub principal: String,
    /// Place in the session.
    pub index: u64,
    /// Number of the assistant message.
    pub turn: Option<u32>,
    /// When; none if not recorded.
    pub ts: Option<Timestamp>,
    /// Tool name.
    pub tool: String,
    /// Arguments: the text of a JSON value, as it stood in the line.
    pub args: String,
    /// Minutes ahead of UTC, from `args.tz`.
    pub utc_offset_minutes: Option<i32>,
    /// Result text.
    pub result: String,
    /// Error text shown to the agent.
    pub error: String,
    /// Full size of the result, bytes.
    pub result_bytes: Option<u64>,
    /// How long the call took, microseconds.
    pub latency_us: Option<u64>,
    /// How it ended; none if not recorded.
    pub outcome: Option<OutcomeStatus>,
}

/// A recorded session: what its user asked, and when it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionLine {
    /// Data set.
    pub dataset: String,
    /// Session id.
    pub session: String,
    /// What the user said, each with the index of the next call, in order.
    pub requests: Vec<(u64, String)>,
    /// When it began.
    pub start: Option<Timestamp>,
}

/// A tool definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolLine {
    /// Data set.
    pub dataset: String,
    /// MCP server or suite.
    pub suite: String,
    /// Tool name.
    pub tool: String,
    /// Description.
    pub description: String,
    /// JSON Schema of the arguments, as text.
    pub parameters: String,
}

/// Why a line was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct LineFault {
    /// The field; `line` for the line as a whole.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

fn fault(field: &str, why: impl Into<String>) -> LineFault {
    LineFault { field: field.to_owned(), why: why.into() }
}

impl TraceLine {
    /// The tenant: the data set in lower case, with `-` for what a tenant's name may not hold.
    pub fn tenant(&self) -> String {
        tenant_of(&self.dataset)
    }

    /// The idempotency key `dataset/session/index`; too long a one keeps its end behind a hash of the whole.
    pub fn call_id(&self) -> String {
        let whole = format!("{}/{}/{}", self.dataset, self.session, self.index);
        if whole.len() <= CALL_ID_BYTES_MAX {
            return whole;
        }
        use sha2::{Digest, Sha256};
        let hash = Sha256::digest(whole.as_bytes());
        let mut id: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        id.push('/');
        let room = CALL_ID_BYTES_MAX - id.len();
        let mut start = whole.len() - room;
        while !whole.is_char_boundary(start) {
            start += 1;
        }
        id.push_str(&whole[start..]);
        id
    }

    /// Whether the session of this call is over when `next` comes: `next` is of another session, and is
    /// either without a time or from before this call, so that no pause can tell.
    pub fn ends_session_before(&self, next: &Self) -> bool {
        let other = (&self.dataset, &self.session) != (&next.dataset, &next.session);
        other
            && match (self.ts, next.ts) {
                (Some(at), Some(then)) => then < at,
                _ => true,
            }
    }
}

/// A tenant's name made of a data set's.
pub fn tenant_of(dataset: &str) -> String {
    let allowed =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_.".contains(letter);
    let letters = dataset.chars().map(|letter| letter.to_ascii_lowercase());
    letters.map(|letter| if allowed(letter) { letter } else { '-' }).take(64).collect()
}

/// The fields that are read; serde passes over all others.
#[derive(Deserialize)]
struct RawCall<'a> {
    #[serde(borrow)]
    dataset: Option<&'a RawValue>,
    #[serde(borrow)]
    suite: Option<&'a RawValue>,
    #[serde(borrow)]
    session: Option<&'a RawValue>,
    #[serde(borrow)]
    principal: Option<&'a RawValue>,
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    turn: Option<&'a RawValue>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    tool: Option<&'a RawValue>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    result_bytes: Option<&'a RawValue>,
    #[serde(borrow)]
    latency_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    outcome: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawSession<'a> {
    #[serde(borrow)]
    dataset: Option<&'a RawValue>,
    #[serde(borrow)]
    session: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    user_turns: Option<&'a RawValue>,
    #[serde(borrow)]
    started_at: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawTurn<'a> {
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawTool<'a> {
    #[serde(borrow)]
    dataset: Option<&'a RawValue>,
    #[serde(borrow)]
    suite: Option<&'a RawValue>,
    #[serde(borrow)]
    tool: Option<&'a RawValue>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

/// Reads one recorded call.
pub fn parse_call(line: &[u8]) -> Result<TraceLine, LineFault> {
    let raw: RawCall<'_> = object(line)?;
    let args = given(raw.args).unwrap_or("{}");
    if !args.starts_with('{') {
        return Err(fault("args", "is not a JSON object"));
    }
    let latency_ms = number("latency_ms", raw.latency_ms)?;
    Ok(TraceLine {
        dataset: required("dataset", raw.dataset)?,
        suite: text("suite", raw.suite)?,
        session: required("session", raw.session)?,
        principal: required("principal", raw.principal)?,
        index: number("index", raw.index)?.ok_or_else(|| fault("index", "is missing"))?,
        turn: number("turn", raw.turn)?
            .map(|turn| u32::try_from(turn).map_err(|_| fault("turn", "is too large")))
            .transpose()?,
        ts: time("ts", raw.ts)?,
        tool: required("tool", raw.tool)?,
        utc_offset_minutes: utc_offset(args),
        args: args.to_owned(),
        result: text("result", raw.result)?,
        error: text("error", raw.error)?,
        result_bytes: number("result_bytes", raw.result_bytes)?,
        latency_us: latency_ms.map(|ms| ms.saturating_mul(1_000)),
        outcome: outcome(raw.outcome)?,
    })
}

/// Reads one recorded session.
pub fn parse_session(line: &[u8]) -> Result<SessionLine, LineFault> {
    let raw: RawSession<'_> = object(line)?;
    let mut requests = Vec::new();
    match given(raw.user_turns) {
        Some(turns) => {
            let turns: Vec<RawTurn<'_>> =
                serde_json::from_str(turns).map_err(|fault_| fault("user_turns", fault_.to_string()))?;
            for turn in turns {
                let before = number("user_turns.before", turn.before)?.unwrap_or(0);
                requests.push((before, text("user_turns.text", turn.text)?));
            }
        }
        None => requests.extend(Some((0, text("prompt", raw.prompt)?)).filter(|(_, text)| !text.is_empty())),
    }
    Ok(SessionLine {
        dataset: required("dataset", raw.dataset)?,
        session: required("session", raw.session)?,
        requests,
        start: time("started_at", raw.started_at)?,
    })
}

/// Reads one tool definition.
pub fn parse_tool(line: &[u8]) -> Result<ToolLine, LineFault> {
    let raw: RawTool<'_> = object(line)?;
    Ok(ToolLine {
        dataset: required("dataset", raw.dataset)?,
        suite: text("suite", raw.suite)?,
        tool: required("tool", raw.tool)?,
        description: text("description", raw.description)?,
        parameters: given(raw.parameters).unwrap_or("").to_owned(),
    })
}

fn object<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, LineFault> {
    let text = std::str::from_utf8(line)
        .map_err(|fault_| fault("line", format!("is not UTF-8 at byte {}", fault_.valid_up_to() + 1)))?;
    if !text.trim_start().starts_with('{') {
        return Err(fault("line", "is not a JSON object"));
    }
    serde_json::from_str(text).map_err(|error| {
        let why = error.to_string();
        match why.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`')) {
            Some((field, _)) => fault(field, "is there twice"),
            None => fault("line", format!("is not acceptable JSON: {why}")),
        }
    })
}

/// The text of a value that is there and not null.
fn given(raw: Option<&RawValue>) -> Option<&str> {
    raw.map(RawValue::get).filter(|text| *text != "null")
}

fn text(field: &str, raw: Option<&RawValue>) -> Result<String, LineFault> {
    let Some(raw) = given(raw) else { return Ok(String::new()) };
    serde_json::from_str::<Cow<'_, str>>(raw)
        .map(Cow::into_owned)
        .map_err(|_| fault(field, format!("is {}, not a text", shape(raw))))
}

fn required(field: &str, raw: Option<&RawValue>) -> Result<String, LineFault> {
    let value = text(field, raw)?;
    let why = if raw.is_some() { "is empty" } else { "is missing" };
    if value.is_empty() { Err(fault(field, why)) } else { Ok(value) }
}

fn number(field: &str, raw: Option<&RawValue>) -> Result<Option<u64>, LineFault> {
    let Some(raw) = given(raw) else { return Ok(None) };
    if let Ok(number) = serde_json::from_str(raw) {
        return Ok(Some(number));
    }
    // A whole number written as a float, such as 12.0, or a latency such as 12.5: the whole part counts.
    match serde_json::from_str::<f64>(raw) {
        Ok(float) if (0.0..9e15).contains(&float) => Ok(Some(float as u64)),
        _ => Err(fault(field, format!("is {}, not a number from 0", shape(raw)))),
    }
}

fn time(field: &str, raw: Option<&RawValue>) -> Result<Option<Timestamp>, LineFault> {
    let value = text(field, raw)?;
    if value.is_empty() {
        return Ok(None);
    }
    match Timestamp::parse(&value) {
        Some(at) => Ok(Some(at)),
        None => Err(fault(field, "is not a time such as 2026-01-06T12:38:45.433Z")),
    }
}

fn outcome(raw: Option<&RawValue>) -> Result<Option<OutcomeStatus>, LineFault> {
    match text("outcome", raw)?.as_str() {
        "" => Ok(None),
        "ok" => Ok(Some(OutcomeStatus::Ok)),
        "error" => Ok(Some(OutcomeStatus::Error)),
        "abandoned" => Ok(Some(OutcomeStatus::Abandoned)),
        _ => Err(fault("outcome", "is none of `ok`, `error`, `abandoned`")),
    }
}

/// What a value is, without showing it.
fn shape(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'"') => "a text",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "true or false",
        _ => "a number",
    }
}

/// Minutes ahead of UTC from `args.tz`, such as `-0700`.
fn utc_offset(args: &str) -> Option<i32> {
    #[derive(Deserialize)]
    struct Zone<'a> {
        #[serde(borrow)]
        tz: Option<Cow<'a, str>>,
    }
    if !args.contains("\"tz\"") {
        return None;
    }
    let tz = serde_json::from_str::<Zone<'_>>(args).ok()?.tz?;
    let (sign, digits) = match tz.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, tz.strip_prefix('+')?),
    };
    if digits.len() != 4 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: i32 = digits.parse().ok()?;
    let minutes = number / 100 * 60 + number % 100;
    (number % 100 < 60 && minutes <= 14 * 60).then_some(sign * minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"dataset":"Agent Dojo","session":"s/1","principal":"gpt","suite":"banking","index":3,"ts":null,"tool":"read_file","args":{"b": 1.0, "a":"x"},"result_bytes":403,"outcome":"ok","label":1,"note":"hijacked","turn":2,"result":"text","latency_ms":12.7}"#;

    #[test]
    fn a_good_line() {
        let line = parse_call(GOOD.as_bytes()).unwrap();
        assert_eq!((line.tenant().as_str(), line.call_id().as_str()), ("agent-dojo", "Agent Dojo/s/1/3"));
        assert_eq!(line.args, r#"{"b": 1.0, "a":"x"}"#, "the text of the arguments is kept as it stood");
        assert_eq!((line.turn, line.index, line.ts), (Some(2), 3, None));
        assert_eq!((line.latency_us, line.result_bytes), (Some(12_000), Some(403)));
        assert_eq!((line.outcome, line.result.as_str()), (Some(OutcomeStatus::Ok), "text"));
    }

    fn refused(line: &str, field: &str, why: &str) {
        let fault = parse_call(line.as_bytes()).unwrap_err();
        assert_eq!(fault.field, field, "{fault}");
        assert!(fault.why.contains(why), "{fault}");
    }

    #[test]
    fn bad_lines_name_the_field() {
        refused("", "line", "not a JSON object");
        refused("[1]", "line", "not a JSON object");
        refused("{\"dataset\":", "line", "EOF");
        refused(&GOOD.replace("\"index\":3", "\"index\":null"), "index", "missing");
        refused(&GOOD.replace("\"index\":3", "\"index\":-1"), "index", "not a number from 0");
        refused(&GOOD.replace("\"index\":3", "\"index\":\"3\""), "index", "a text, not a number");
        refused(&GOOD.replace("\"s/1\"", "\"\""), "session", "empty");
        refused(&GOOD.replace("\"tool\"", "\"tol\""), "tool", "missing");
        refused(&GOOD.replace("\"ts\":null", "\"ts\":\"yesterday\""), "ts", "not a time");
        refused(&GOOD.replace("\"ok\"", "\"fine\""), "outcome", "none of");
        refused(&GOOD.replace("{\"b\": 1.0, \"a\":\"x\"}", "[1]"), "args", "not a JSON object");
        refused(&GOOD.replace("\"label\"", "\"tool\""), "tool", "twice");
        let fault = parse_call(b"{\"dataset\":\"\xff\"}").unwrap_err();
        assert!(fault.why.contains("UTF-8 at byte 13"), "{fault}");
    }

    #[test]
    fn zones() {
        assert_eq!(utc_offset(r#"{"files":3,"tz":"-0700"}"#), Some(-420));
        assert_eq!(utc_offset(r#"{"tz":"+0530"}"#), Some(330));
        for other in [r#"{"tz":"CET"}"#, r#"{"tz":5}"#, r#"{"tz":"+9900"}"#, "{}", r#"{"x":{"tz":"-0700"}}"#]
        {
            assert_eq!(utc_offset(other), None, "{other}");
        }
    }

    #[test]
    fn long_ids_stay_unique_and_short() {
        let mut line = parse_call(GOOD.as_bytes()).unwrap();
        line.session = "ü".repeat(120);
        let one = line.call_id();
        line.index = 4;
        let other = line.call_id();
        assert!(one.len() <= 128 && other.len() <= 128 && one != other, "{one} {other}");
    }

    #[test]
    fn a_session_ends_where_no_pause_can_tell() {
        let at = |session: &str, ts: Option<&str>| {
            let mut line = parse_call(GOOD.as_bytes()).unwrap();
            line.session = session.to_owned();
            line.ts = ts.and_then(Timestamp::parse);
            line
        };
        let (early, late) = (Some("2026-01-01T00:00:00Z"), Some("2026-01-02T00:00:00Z"));
        assert!(at("a", None).ends_session_before(&at("b", None)));
        assert!(!at("a", None).ends_session_before(&at("a", None)));
        assert!(!at("a", early).ends_session_before(&at("b", late)));
        assert!(at("a", late).ends_session_before(&at("b", early)));
    }

    #[test]
    fn sessions_and_tools() {
        let prompt = parse_session(
            br#"{"dataset":"d","session":"s","prompt":"pay","started_at":"2026-01-05T12:17:36Z"}"#,
        );
        let prompt = prompt.unwrap();
        assert_eq!(prompt.requests, [(0, "pay".to_owned())]);
        assert!(prompt.start.is_some());
        let turns = br#"{"dataset":"d","session":"s","prompt":"a","user_turns":[{"before":0,"text":"a"},{"before":2,"text":"b"}]}"#;
        assert_eq!(parse_session(turns).unwrap().requests.len(), 2);
        let tool =
            parse_tool(br#"{"dataset":"d","suite":"w","tool":"t","parameters":{"type":"object"}}"#).unwrap();
        assert_eq!((tool.parameters.as_str(), tool.description.as_str()), (r#"{"type":"object"}"#, ""));
    }
}
