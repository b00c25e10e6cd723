//! What a client's message asks for. Only what decides is read; nothing is built or changed.
//!
//! A message that two readers could take for two things is not let through: duplicate keys, keys that a reader
//! which ignores case takes for ours, a batch that holds a call. What is no call passes, known or not.

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Bytes of one message from a client; a longer one is refused.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Bytes of an id or a progress token, as JSON.
pub const ID_BYTES_MAX: usize = 1_024;
/// The protocol revision from which on requests carry everything with them and results have a type.
pub const MODERN: &str = "2026-07-28";

/// JSON-RPC: the text is no JSON.
pub const PARSE_ERROR: i32 = -32_700;
/// JSON-RPC: the message is none.
pub const INVALID_REQUEST: i32 = -32_600;
/// JSON-RPC: the parameters are wrong.
pub const INVALID_PARAMS: i32 = -32_602;

/// The id of a request, as JSON in one spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(String);

impl Id {
    /// The id of this JSON text; none if it is neither a number nor a string.
    pub fn parse(json: &str) -> Option<Self> {
        let json = json.trim();
        if json.len() > ID_BYTES_MAX {
            return None;
        }
        if json.starts_with('"') {
            let text: Cow<'_, str> = serde_json::from_str(json).ok()?;
            return Some(Self::of_text(&text));
        }
        let number: serde_json::Number = serde_json::from_str(json).ok()?;
        Some(Self(number.to_string()))
    }

    /// The id that is this string.
    pub fn of_text(text: &str) -> Self {
        Self(serde_json::Value::from(text).to_string())
    }

    /// As JSON.
    pub fn json(&self) -> &str {
        &self.0
    }
}

/// What a message asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Peek<'a> {
    /// A tool is to be called.
    Call(Box<Call<'a>>),
    /// The tools are to be listed.
    List(Id),
    /// The client introduces itself.
    Initialize(Id, Hello),
    /// A request is taken back.
    Cancel(Id),
    /// A task is asked about.
    Task(TaskAsk),
    /// Anything else: not ours to look at.
    Other,
    /// What must not be let through.
    Malformed(Malformed),
}

/// What a client wants of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskVerb {
    /// How it stands.
    Get,
    /// Answers that it waits for.
    Update,
    /// Its end.
    Cancel,
}

/// A request about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskAsk {
    /// The request's id.
    pub id: Id,
    /// What is wanted.
    pub verb: TaskVerb,
    /// The task's id.
    pub task: String,
    /// Whether the request says that its client follows tasks.
    pub is_able: bool,
}

/// A message that is not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The id to answer; none: nobody waits for an answer, or it cannot be told.
    pub id: Option<Id>,
    /// JSON-RPC's code.
    pub code: i32,
    /// What is wrong and what to do.
    pub why: &'static str,
}

/// How a client introduces itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Its name. Self-reported.
    pub client: String,
    /// What it says it can do.
    pub abilities: Abilities,
}

/// How a client can be told of a review.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// It opens URLs for its user.
    pub elicits_urls: bool,
    /// It follows tasks.
    pub follows_tasks: bool,
}

/// A call of a tool.
#[derive(Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// The request's id; none: nobody waits for an answer, though the tool would run.
    pub id: Option<Id>,
    /// Name of the tool.
    pub tool: String,
    /// The arguments' JSON as it stands; empty: none.
    pub arguments: &'a [u8],
    /// What is said beside them.
    pub meta: Meta,
    /// What a client was given to bring back.
    pub request_state: Option<String>,
    /// Whether it brings back that its user opened what we asked to be opened.
    pub is_accepted: bool,
}

/// What `_meta` of a request says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Progress is to be told under this token, as JSON.
    pub progress_token: Option<String>,
    /// Protocol revision, if it is told with every request.
    pub revision: String,
    /// Name of the client, if it is told with every request.
    pub client: String,
    /// What it can do, if it is told with every request.
    pub abilities: Option<Abilities>,
    /// W3C trace context.
    pub traceparent: String,
    /// W3C trace state.
    pub tracestate: String,
    /// W3C baggage.
    pub baggage: String,
    /// Who acts for whom, as the client tells it: `dev.askance/session`, `/parentSession`, `/principals`.
    pub claims: Claims,
}

/// What a client says of itself in fields of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Its session.
    pub session: String,
    /// The session that started this one.
    pub parent: String,
    /// Who acts for whom, outermost first, beneath the principals that the proxy was started with.
    pub principals: Vec<String>,
}

impl Meta {
    /// Whether the request is of a protocol revision whose results have a type.
    pub fn is_modern(&self) -> bool {
        self.revision.as_str() >= MODERN
    }
}

/// Looks at a client's message.
pub fn peek(message: &[u8]) -> Peek<'_> {
    let refuse = |code, why| Peek::Malformed(Malformed { id: None, code, why });
    let Ok(text) = std::str::from_utf8(message) else {
        return refuse(PARSE_ERROR, "the message is not UTF-8");
    };
    match text.trim_start().bytes().next() {
        None => Peek::Other,
        Some(b'{') => of_object(text).unwrap_or_else(Peek::Malformed),
        Some(b'[') => of_batch(text),
        Some(_) => refuse(PARSE_ERROR, "the message is no JSON object"),
    }
}

fn of_batch(text: &str) -> Peek<'_> {
    let malformed = |why| Peek::Malformed(Malformed { id: None, code: INVALID_REQUEST, why });
    let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(text) else {
        return malformed("the message is no JSON that has one meaning");
    };
    let harmless = |part: &&RawValue| {
        let found = if part.get().starts_with('{') { of_object(part.get()) } else { Ok(Peek::Other) };
        matches!(found, Ok(peek) if !matches!(peek, Peek::Call(_)))
    };
    if parts.iter().all(harmless) {
        return Peek::Other;
    }
    malformed("calls of tools do not pass in a batch: send each as a message of its own")
}

fn of_object(text: &str) -> Result<Peek<'_>, Malformed> {
    let broken =
        Malformed { id: None, code: PARSE_ERROR, why: "the message is no JSON that has one meaning" };
    let [id, method, params] = fields(text, ["id", "method", "params"]).map_err(|()| broken.clone())?;
    let Some(method) = method else { return Ok(Peek::Other) };
    let wrong = |id: &Option<Id>, code, why| Malformed { id: id.clone(), code, why };
    let id = match id.map(RawValue::get) {
        None => None,
        Some(raw) => {
            let why = "the id is neither a number nor a string, or too long";
            Some(Id::parse(raw).ok_or_else(|| wrong(&None, INVALID_REQUEST, why))?)
        }
    };
    let Ok(method) = serde_json::from_str::<Cow<'_, str>>(method.get()) else {
        return Err(wrong(&id, INVALID_REQUEST, "the method is no string"));
    };
    let params = params.map_or("{}", RawValue::get);
    let unclear = "the parameters are no JSON object that has one meaning";
    match (method.as_ref(), id) {
        ("tools/call", id) => {
            let call = of_call(params, id.clone()).map_err(|why| wrong(&id, INVALID_PARAMS, why))?;
            Ok(Peek::Call(Box::new(call)))
        }
        ("tools/list", Some(id)) => Ok(Peek::List(id)),
        ("initialize", Some(id)) => {
            let hello = hello(params).map_err(|()| wrong(&Some(id.clone()), INVALID_PARAMS, unclear))?;
            Ok(Peek::Initialize(id, hello))
        }
        ("notifications/cancelled", id) => {
            let [request] =
                fields(params, ["requestId"]).map_err(|()| wrong(&id, INVALID_PARAMS, unclear))?;
            Ok(request.and_then(|raw| Id::parse(raw.get())).map_or(Peek::Other, Peek::Cancel))
        }
        ("tasks/get", Some(id)) => Ok(of_task(params, id, TaskVerb::Get)),
        ("tasks/update", Some(id)) => Ok(of_task(params, id, TaskVerb::Update)),
        ("tasks/cancel", Some(id)) => Ok(of_task(params, id, TaskVerb::Cancel)),
        _ => Ok(Peek::Other),
    }
}

/// A request about a task; what cannot be read is the server's to refuse.
fn of_task<'a>(params: &str, id: Id, verb: TaskVerb) -> Peek<'a> {
    let Ok([task, meta]) = fields(params, ["taskId", "_meta"]) else { return Peek::Other };
    let abilities = meta.and_then(|raw| meta_of(raw.get()).ok()).and_then(|meta| meta.abilities);
    let is_able = abilities.is_some_and(|abilities| abilities.follows_tasks);
    task.map(text_of).map_or(Peek::Other, |task| Peek::Task(TaskAsk { id, verb, task, is_able }))
}

fn of_call(params: &str, id: Option<Id>) -> Result<Call<'_>, &'static str> {
    let unclear = "the parameters are no JSON object that has one meaning";
    let [name, arguments, meta, state, responses] =
        fields(params, ["name", "arguments", "_meta", "requestState", "inputResponses"])
            .map_err(|()| unclear)?;
    let name = name.ok_or("the tool's name is missing")?;
    let tool: Cow<'_, str> = serde_json::from_str(name.get()).map_err(|_| "the tool's name is no string")?;
    let arguments = arguments.map(RawValue::get).filter(|raw| *raw != "null").unwrap_or_default();
    let meta = match meta.map(RawValue::get).filter(|raw| *raw != "null") {
        Some(raw) => meta_of(raw).map_err(|()| "`_meta` is no JSON object that has one meaning")?,
        None => Meta::default(),
    };
    Ok(Call {
        id,
        tool: tool.into_owned(),
        arguments: arguments.as_bytes(),
        meta,
        request_state: state.map(text_of).filter(|state| !state.is_empty()),
        is_accepted: responses.is_some_and(|raw| is_accepted(raw.get())),
    })
}

fn is_accepted(responses: &str) -> bool {
    let ours = fields(responses, [super::carry::ASKED]).ok().and_then(|[ours]| ours);
    let action = ours.and_then(|raw| fields(raw.get(), ["action"]).ok()).and_then(|[action]| action);
    action.is_some_and(|raw| text_of(raw) == "accept")
}

fn meta_of(raw: &str) -> Result<Meta, ()> {
    let [token, revision, client, abilities, traceparent, tracestate, baggage, session, parent, principals] =
        fields(
            raw,
            [
                "progressToken",
                "io.modelcontextprotocol/protocolVersion",
                "io.modelcontextprotocol/clientInfo",
                "io.modelcontextprotocol/clientCapabilities",
                "traceparent",
                "tracestate",
                "baggage",
                "dev.askance/session",
                "dev.askance/parentSession",
                "dev.askance/principals",
            ],
        )?;
    let text = |raw: Option<&RawValue>| raw.map(text_of).unwrap_or_default();
    let token = token.and_then(|raw| Id::parse(raw.get())).map(|id| id.0);
    Ok(Meta {
        progress_token: token,
        revision: text(revision),
        client: client.map(name_of).transpose()?.unwrap_or_default(),
        abilities: abilities.map(|raw| abilities_of(raw.get())).transpose()?,
        traceparent: text(traceparent),
        tracestate: text(tracestate),
        baggage: text(baggage),
        claims: Claims {
            session: text(session),
            parent: text(parent),
            principals: principals.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default(),
        },
    })
}

fn hello(params: &str) -> Result<Hello, ()> {
    let [client, abilities] = fields(params, ["clientInfo", "capabilities"])?;
    Ok(Hello {
        client: client.map(name_of).transpose()?.unwrap_or_default(),
        abilities: abilities.map(|raw| abilities_of(raw.get())).transpose()?.unwrap_or_default(),
    })
}

fn abilities_of(raw: &str) -> Result<Abilities, ()> {
    let [elicitation, extensions] = fields(raw, ["elicitation", "extensions"])?;
    let has = |raw: Option<&RawValue>, name| match raw {
        Some(raw) if raw.get().starts_with('{') => fields(raw.get(), [name]).map(|[found]| found.is_some()),
        _ => Ok(false),
    };
    Ok(Abilities {
        elicits_urls: has(elicitation, "url")?,
        follows_tasks: has(extensions, "io.modelcontextprotocol/tasks")?,
    })
}

/// The `name` of an object.
fn name_of(raw: &RawValue) -> Result<String, ()> {
    if !raw.get().starts_with('{') {
        return Ok(String::new());
    }
    let [name] = fields(raw.get(), ["name"])?;
    Ok(name.map(text_of).unwrap_or_default())
}

/// A string's text; of anything else nothing.
fn text_of(raw: &RawValue) -> String {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// The values of these keys of an object. An error: it is no object, holds one of them twice, or holds another key
/// that a reader which ignores case takes for one of them.
fn fields<'a, const N: usize>(
    text: &'a str,
    names: [&'static str; N],
) -> Result<[Option<&'a RawValue>; N], ()> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_map(Fields(names)).map_err(|_| ())?;
    reader.end().map_err(|_| ())?;
    Ok(found)
}

struct Fields<const N: usize>([&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for Fields<N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(key) = access.next_key_seed(Key)? {
            match self.0.iter().position(|name| *name == key) {
                Some(at) => match found.get_mut(at) {
                    Some(slot @ None) => *slot = Some(access.next_value::<&RawValue>()?),
                    _ => return Err(A::Error::custom("a key is there twice")),
                },
                None if self.0.iter().any(|name| looks_like(&key, name)) => {
                    return Err(A::Error::custom("a key looks like another"));
                }
                None => {
                    access.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Whether a reader that folds case takes one for the other; two letters beyond ASCII fold into it.
fn looks_like(key: &str, name: &str) -> bool {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

/// An object's key, borrowed where it stands plainly.
pub(super) struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(text: &str) -> Call<'_> {
        match peek(text.as_bytes()) {
            Peek::Call(call) => *call,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refused(text: &str, code: i32, part: &str) -> Option<Id> {
        match peek(text.as_bytes()) {
            Peek::Malformed(malformed) => {
                assert_eq!(malformed.code, code, "{text}: {malformed:?}");
                assert!(malformed.why.contains(part), "{text}: {malformed:?}");
                malformed.id
            }
            other => panic!("{text} passed as {other:?}"),
        }
    }

    #[test]
    fn a_call_is_seen_whatever_the_order_and_spelling() {
        let found = call(
            r#" {"params":{"arguments":{"a": [1, 2]},"name":"re\u0061d","x":1},"id":"\u0061","jsonrpc":"2.0","method":"tools\/call"} "#,
        );
        assert_eq!(found.tool, "read");
        assert_eq!(found.arguments, br#"{"a": [1, 2]}"#);
        assert_eq!(found.id, Id::parse("\"a\""));
        let bare = call(r#"{"method":"tools/call","params":{"name":"t","arguments":null}}"#);
        assert_eq!((bare.id, bare.arguments), (None, &b""[..]));
    }

    #[test]
    fn what_is_beside_a_call_is_read() {
        let found = call(
            r#"{"id":7,"method":"tools/call","params":{"name":"t","_meta":{"progressToken":3,"traceparent":"00-x-y-01","baggage":"a=b",
            "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},
            "io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}},"extensions":{"io.modelcontextprotocol/tasks":{}}},
            "dev.askance/session":"s","dev.askance/parentSession":"p","dev.askance/principals":["agent:a"]}}}"#,
        );
        let meta = found.meta;
        assert!(meta.is_modern());
        assert_eq!(meta.abilities, Some(Abilities { elicits_urls: true, follows_tasks: true }));
        assert_eq!((meta.progress_token.as_deref(), meta.client.as_str()), (Some("3"), "c"));
        assert_eq!((meta.traceparent.as_str(), meta.baggage.as_str()), ("00-x-y-01", "a=b"));
        let claims = Claims { session: "s".into(), parent: "p".into(), principals: vec!["agent:a".into()] };
        assert_eq!(meta.claims, claims);
    }

    #[test]
    fn what_is_brought_back_is_taken_out_and_the_rest_stays() {
        let text = r#"{"id":1, "method":"tools/call","params":{"name":"t","requestState":"s","arguments":{"a": 1.50},
            "inputResponses":{"askance":{"action":"accept"}}},"x":[1,  2]}"#;
        let found = call(text);
        assert!(found.is_accepted && found.request_state.as_deref() == Some("s"));
        let bare = super::super::rewrite::without_answers(format!("{text}\n").as_bytes()).unwrap();
        let expected =
            r#"{"id":1,"method":"tools/call","params":{"name":"t","arguments":{"a": 1.50}},"x":[1,  2]}"#;
        assert_eq!(String::from_utf8(bare).unwrap(), format!("{expected}\n"));
        assert!(!call(&text.replace("accept", "decline")).is_accepted);
        assert_eq!(super::super::rewrite::without_answers(b"[]"), None);
    }

    #[test]
    fn other_messages_pass() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"method":"tools/call"}}"#,
            r#"{"method":"resources/read","params":{"name":1,"Name":2}}"#,
            r#"[{"method":"ping"},{"id":1,"result":{}}]"#,
            "  ",
            r#"{"method":"tools/list"}"#,
        ] {
            assert_eq!(peek(text.as_bytes()), Peek::Other, "{text}");
        }
        assert_eq!(peek(br#"{"id":1,"method":"tools/list"}"#), Peek::List(Id("1".to_owned())));
        let cancel = br#"{"method":"notifications/cancelled","params":{"requestId":"x"}}"#;
        assert_eq!(peek(cancel), Peek::Cancel(Id("\"x\"".to_owned())));
    }

    #[test]
    fn two_meanings_are_none() {
        let id = refused(
            r#"{"id":4,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            INVALID_PARAMS,
            "one meaning",
        );
        assert_eq!(id, Id::parse("4"));
        refused(r#"{"method":"ping","method":"tools/call"}"#, PARSE_ERROR, "one meaning");
        refused(r#"{"Method":"tools/call"}"#, PARSE_ERROR, "one meaning");
        refused(
            r#"{"id":1,"method":"tools/call","params":{"name":"a","argumentſ":{}}}"#,
            INVALID_PARAMS,
            "one meaning",
        );
        refused(r#"{"id":1,"method":["tools/call"]}"#, INVALID_REQUEST, "no string");
        refused(r#"{"id":null,"method":"tools/call","params":{"name":"a"}}"#, INVALID_REQUEST, "id");
        refused(r#"{"id":1,"method":"tools/call","params":["a"]}"#, INVALID_PARAMS, "one meaning");
        refused(r#"{"id":1,"method":"tools/call"}"#, INVALID_PARAMS, "missing");
        refused("{\"a\":1}\r{\"method\":\"tools/call\"}", PARSE_ERROR, "one meaning");
        refused(r#"{"id":NaN,"method":"ping"}"#, PARSE_ERROR, "one meaning");
        refused(r#"[{"id":1,"method":"tools/call","params":{"name":"a"}}]"#, INVALID_REQUEST, "batch");
        refused(r#"[{"method":"ping","method":"tools/call"}]"#, INVALID_REQUEST, "batch");
        refused("hello", PARSE_ERROR, "no JSON object");
    }

    proptest! {
        #[test]
        fn a_call_cannot_hide_behind_other_fields(
            before in "[a-z]{1,6}", name in "[a-z_]{1,12}", id in any::<i64>(), pad in 0..3usize,
        ) {
            prop_assume!(!["id", "method", "params"].contains(&before.as_str()));
            let value = ["null", "{\"method\":\"ping\"}", "\"tools/list\""][pad];
            let text = format!(r#"{{"{before}":{value},"method":"tools/call","params":{{"name":"{name}"}},"id":{id}}}"#);
            match peek(text.as_bytes()) {
                Peek::Call(call) => prop_assert_eq!(call.tool, name),
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _looked = peek(&bytes);
        }
    }
}
