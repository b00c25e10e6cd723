//! Hooks of coding agents: one JSON message in, one JSON line out.
//!
//! Whatever cannot be read is refused, since a client lets a call run that its hook says nothing about; only a message
//! that is known to be about something else than a call to come is let pass.

mod claude;
mod codex;
mod cursor;
mod gemini;
mod vscode;

use super::envelope::{About, Envelope, Ruling};
use super::fields::{Fault, Fields};
use serde_json::{Value, json};

/// Bytes of a message; a longer one is read no further.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Events that nothing can be refused by, in the words of every client.
const HARMLESS: &[&str] = &[
    "PostToolUse",
    "PostToolUseFailure",
    "PostToolBatch",
    "AfterTool",
    "postToolUse",
    "postToolUseFailure",
    "afterShellExecution",
    "afterMCPExecution",
    "UserPromptSubmit",
    "BeforeAgent",
    "beforeSubmitPrompt",
    "SessionStart",
    "SessionEnd",
    "sessionStart",
    "sessionEnd",
    "Stop",
    "stop",
];

/// A client that has hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Claude Code.
    Claude,
    /// VS Code, and Copilot CLI.
    VsCode,
    /// Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
    /// Cursor.
    Cursor,
}

impl Client {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Claude, Self::VsCode, Self::Codex, Self::Gemini, Self::Cursor];

    /// The name on the command line and in the path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::VsCode => "vscode",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Cursor => "cursor",
        }
    }

    /// The client of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|client| client.name() == name)
    }
}

/// A message that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The event's name, if it has one.
    event: String,
    /// What it says, or why it cannot be read.
    pub read: Result<Envelope, String>,
}

impl Message {
    /// A message of which nothing came in time.
    pub fn missing(why: &str) -> Self {
        Self { event: String::new(), read: Err(why.to_owned()) }
    }

    /// Whether a call waits for the answer, as far as can be told.
    pub fn is_asking(&self) -> bool {
        match &self.read {
            Ok(envelope) => matches!(envelope.about, About::Before(_)),
            Err(_) => !HARMLESS.contains(&self.event.as_str()),
        }
    }
}

/// What a client is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// One line of JSON, without its end.
    pub line: String,
    /// How the hook's process exits: 0, or 2 for a message that could not be read, which every client takes for a no.
    pub exit: u8,
    /// What is said on standard error; empty: nothing.
    pub aside: String,
}

/// Reads a message, of which at most [`MESSAGE_BYTES_MAX`] bytes and one are given.
pub fn read(client: Client, message: &[u8]) -> Message {
    let (fields, fault) = Fields::read(message);
    let event = fields.first_text(&["hook_event_name", "hookEventName"]).unwrap_or_default();
    let read = match fault {
        _ if message.len() > MESSAGE_BYTES_MAX => Err(Fault("the message is over 16 MiB long".to_owned())),
        Some(fault) => Err(fault),
        None => match client {
            Client::Claude => claude::read(&fields),
            Client::VsCode => vscode::read(&fields),
            Client::Codex => codex::read(&fields),
            Client::Gemini => gemini::read(&fields),
            Client::Cursor => cursor::read(&fields),
        },
    };
    Message { event, read: read.map_err(|Fault(why)| why) }
}

/// The answer to a message that was ruled on.
pub fn answer(client: Client, message: &Message, ruling: &Ruling) -> Answer {
    match (&message.read, ruling) {
        (Err(why), _) => unreadable(client, message, why),
        (Ok(_), Ruling::Refuse(refusal)) if message.is_asking() => {
            let line = refused(client, &refusal.text(), ruling.stops_the_session());
            Answer { line: line.to_string(), exit: 0, aside: String::new() }
        }
        (Ok(_), _) => {
            Answer { line: passed(client, &message.event).to_string(), exit: 0, aside: String::new() }
        }
    }
}

fn unreadable(client: Client, message: &Message, why: &str) -> Answer {
    let why = crate::detector::sentence::shown(why);
    if !message.is_asking() {
        let aside = format!("askance: this event is not recorded: {why}");
        return Answer { line: passed(client, &message.event).to_string(), exit: 0, aside };
    }
    let why =
        format!("This call was not run: askance cannot read what its hook was told. {why}. Tell the user.");
    Answer { line: refused(client, &why, false).to_string(), exit: 2, aside: why }
}

fn passed(client: Client, event: &str) -> Value {
    if client == Client::Cursor { cursor::pass(event) } else { json!({}) }
}

fn refused(client: Client, why: &str, stops: bool) -> Value {
    match client {
        Client::Claude => claude::refuse(why, stops),
        Client::VsCode => vscode::refuse(why, stops),
        Client::Codex => codex::refuse(why),
        Client::Gemini => gemini::refuse(why, stops),
        Client::Cursor => cursor::refuse(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::refusal::Refusal;
    use crate::proto::v1::{Decision, ReasonCode};
    use proptest::prelude::*;

    fn no(code: ReasonCode) -> Ruling {
        let decision = Decision { reason_code: code.into(), reason: "no".to_owned(), ..Decision::default() };
        Ruling::Refuse(Refusal::Denied(Box::new(decision)))
    }

    #[test]
    fn what_cannot_be_read_is_refused_unless_nothing_hangs_on_it() {
        for client in Client::ALL {
            for bad in [
                "",
                "hello",
                "{}",
                "[1]",
                "{\"hook_event_name\":7}",
                "{\"hook_event_name\":\"PreToolUse\"",
                "{\"tool_name\":\"x\"}",
            ] {
                let message = read(client, bad.as_bytes());
                let answer = answer(client, &message, &Ruling::Pass);
                assert_eq!((message.is_asking(), answer.exit), (true, 2), "{client:?} {bad}");
                assert!(
                    answer.line.contains("deny") && !answer.aside.is_empty(),
                    "{client:?} {bad}: {answer:?}"
                );
                assert!(!answer.line.contains('\n'));
            }
        }
        let torn = format!("{{\"hook_event_name\":\"PostToolUse\",\"x\":\"{}", "a".repeat(100));
        let message = read(Client::Claude, torn.as_bytes());
        let answer = answer(Client::Claude, &message, &Ruling::Pass);
        assert_eq!((answer.line.as_str(), answer.exit), ("{}", 0));
    }

    #[test]
    fn a_message_that_is_too_long_is_refused() {
        let long = format!(
            "{{\"hook_event_name\":\"PreToolUse\",\"tool_name\":\"t\",\"x\":\"{}\"}}",
            "a".repeat(MESSAGE_BYTES_MAX)
        );
        let message = read(Client::Codex, &long.as_bytes()[..=MESSAGE_BYTES_MAX]);
        assert_eq!(answer(Client::Codex, &message, &Ruling::Pass).exit, 2);
    }

    #[test]
    fn the_panic_button_stops_the_loop_where_the_client_lets_it() {
        let text =
            br#"{"session_id":"s","conversation_id":"s","hook_event_name":"PreToolUse","tool_name":"t"}"#;
        for client in [Client::Claude, Client::VsCode] {
            let message = read(client, text);
            let line = answer(client, &message, &no(ReasonCode::SessionLocked)).line;
            assert!(line.contains("\"continue\":false"), "{client:?}: {line}");
            let line = answer(client, &message, &no(ReasonCode::ToolLocked)).line;
            assert!(!line.contains("continue"), "{client:?}: {line}");
        }
        let message = read(Client::Codex, text);
        let line = answer(Client::Codex, &message, &no(ReasonCode::SessionLocked)).line;
        assert!(!line.contains("continue") && line.contains("deny"), "{line}");
    }

    proptest! {
        #[test]
        fn any_bytes_get_one_line_of_json(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for client in Client::ALL {
                let message = read(client, &bytes);
                let answer = answer(client, &message, &Ruling::Pass);
                prop_assert!(serde_json::from_str::<Value>(&answer.line).is_ok());
                prop_assert!(!answer.line.contains('\n'));
            }
        }
    }
}
