//! What every adapter makes of a message, and what it is told to answer.

use crate::mcp::peek::Meta;
use crate::mcp::refusal::Refusal;
use crate::proto::v1::{OutcomeStatus, ReasonCode};

/// The server of tools that are built into a client.
pub const BUILT_IN: &str = "client";

/// A message, whoever sent it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// The program that sent it.
    pub client: String,
    /// The session, as the client names it; empty: it names none.
    pub session: String,
    /// An agent beneath the client that acts; empty: the client itself.
    pub sub_agent: String,
    /// Who acts for whom, outermost first, where the sender has found that out: a gateway that knows its callers. They
    /// stand beneath those that the request itself names. Empty: the client acts, for whoever runs it.
    pub principals: Vec<String>,
    /// Whether its sender never tells how a call ended, so that nothing need be remembered until then.
    pub never_tells_endings: bool,
    /// Where the call stands, if a gateway says so; else [`Self::session`] is all that is known.
    pub whence: Option<Box<Whence>>,
    /// What it is about.
    pub about: About,
}

/// Where a call that a gateway asks about stands: what the gateway says, and what its client sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whence {
    /// The session as the gateway names it; empty: it does not.
    pub named: String,
    /// The session that started it, as the gateway names it; empty: it does not.
    pub parent: String,
    /// The connection to the server; empty: none that is known.
    pub connection: String,
    /// `_meta` of the client's request.
    pub meta: Meta,
}

impl Whence {
    /// Takes what the request's headers carry where `_meta` says nothing.
    pub fn fill(&mut self, carried: &Carried) {
        if self.meta.traceparent.is_empty() {
            self.meta.traceparent.clone_from(&carried.traceparent);
            self.meta.tracestate.clone_from(&carried.tracestate);
        }
        if self.meta.baggage.is_empty() {
            self.meta.baggage.clone_from(&carried.baggage);
        }
    }
}

/// The trace that headers carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    traceparent: String,
    tracestate: String,
    baggage: String,
}

impl Carried {
    /// Out of headers; several of a name are one list.
    pub fn of<'h>(headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> Self {
        let mut carried = Self::default();
        for (name, value) in headers {
            let place = match name.to_ascii_lowercase().as_str() {
                "traceparent" => &mut carried.traceparent,
                "tracestate" => &mut carried.tracestate,
                "baggage" => &mut carried.baggage,
                _ => continue,
            };
            let Ok(value) = std::str::from_utf8(value) else { continue };
            if !place.is_empty() {
                place.push(',');
            }
            place.push_str(value);
        }
        carried
    }
}

/// What a message is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum About {
    /// A tool is about to be called: the only message that anything can be refused by.
    Before(Call),
    /// A call ended.
    After(Call, Ending),
    /// The user asked for something.
    Request(String),
    /// The session is over.
    End,
    /// Nothing that we need to know.
    #[default]
    Nothing,
}

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    /// The client's id of the call, the same before and after; empty: it gives none.
    pub id: String,
    /// The server; [`BUILT_IN`] for tools of the client's own.
    pub server: String,
    /// The tool.
    pub tool: String,
    /// The arguments: a JSON object, as it stood in the message.
    pub arguments: Vec<u8>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// In a word.
    pub status: OutcomeStatus,
    /// The result's text, clipped.
    pub text: String,
    /// Bytes of the whole result.
    pub bytes: u64,
    /// What the client says went wrong.
    pub error: String,
    /// How long it took, if the client says so.
    pub milliseconds: Option<u64>,
}

/// What came of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Ruling {
    /// Nothing speaks against it. Whether the client then asks its own user is the client's business.
    Pass,
    /// The call must not run.
    Refuse(Refusal),
}

impl Ruling {
    /// Whether the whole session is to stop, not only this call: somebody pressed the panic button.
    pub fn stops_the_session(&self) -> bool {
        let Self::Refuse(Refusal::Denied(decision)) = self else { return false };
        matches!(
            decision.reason_code(),
            ReasonCode::SessionLocked | ReasonCode::PrincipalLocked | ReasonCode::TenantLocked
        )
    }
}

/// Server and tool of a name such as `mcp__files__read`; a name of another form is a built-in tool's.
pub fn of_name(name: &str) -> (String, String) {
    let parts = name.strip_prefix("mcp__").and_then(|rest| rest.split_once("__"));
    match parts {
        Some((server, tool)) if !server.is_empty() && !tool.is_empty() => {
            (server_name(server), tool.to_owned())
        }
        _ => (BUILT_IN.to_owned(), name.to_owned()),
    }
}

/// A server's name as it is asked about: one that calls itself as built-in tools do is not taken for them.
pub fn server_name(name: &str) -> String {
    if name == BUILT_IN { format!("mcp:{name}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tools() {
        let of = |name: &str| {
            let (server, tool) = of_name(name);
            format!("{server} {tool}")
        };
        assert_eq!(of("Bash"), "client Bash");
        assert_eq!(of("mcp__files__read_text"), "files read_text");
        assert_eq!(of("mcp__my_files__a__b"), "my_files a__b");
        assert_eq!(of("mcp__client__Bash"), "mcp:client Bash", "no server poses as the client");
        for odd in ["mcp__", "mcp____x", "mcp__a__", "mcp__a"] {
            assert_eq!(of(odd), format!("client {odd}"));
        }
    }
}
