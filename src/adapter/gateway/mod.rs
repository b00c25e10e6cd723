//! Gateways that ask over HTTP: one JSON message in, one answer out.
//!
//! Whatever cannot be read is refused in the gateway's own form. Each of them waits only for a yes or a no, so that a
//! call that waits for people is a no that names the review; the same call passes once it is approved.

pub(super) mod authzen;
mod docker;
mod message;
mod place;
mod toolhive;

use super::envelope::{Envelope, Ruling};
use super::fields::{Fault, Fields};
use super::hook::MESSAGE_BYTES_MAX;
use crate::domain::call::limits::CHAIN_LINKS_MAX;
pub(super) use crate::mcp::delegation::agent;
use crate::mcp::refusal::Refusal;
use crate::mcp::scope::is_name;
pub(super) use message::inner;
pub(super) use place::Place;
use std::time::Duration;

/// A gateway that asks over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// Docker's MCP gateway, through an interceptor of type `http`.
    Docker,
    /// ToolHive, through a validating webhook.
    ToolHive,
    /// Whatever asks as the Authorization API of OpenID AuthZEN says.
    AuthZen,
}

impl Gateway {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Docker, Self::ToolHive, Self::AuthZen];

    /// The name in documentation and golden files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::ToolHive => "toolhive",
            Self::AuthZen => "authzen",
        }
    }

    /// Where it asks, without the query.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Docker => "/v1/gateways/docker",
            Self::ToolHive => "/v1/gateways/toolhive",
            Self::AuthZen => "/access/v1/evaluation",
        }
    }

    /// How long a call may be held at most: less than the time after which the gateway gives up unless it is told
    /// otherwise.
    pub const fn hold_max(self) -> Duration {
        match self {
            // It waits for ever.
            Self::Docker => Duration::MAX,
            // 10 s.
            Self::ToolHive => Duration::from_secs(8),
            // Not said; those who ask hold up a request of their own.
            Self::AuthZen => Duration::from_secs(4),
        }
    }

    /// The gateway that asks there.
    pub fn of_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|gateway| gateway.path() == path)
    }
}

/// A message that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What the answer must repeat, if anything.
    uid: String,
    /// What it says, or why it cannot be read.
    pub read: Result<Envelope, String>,
}

impl Message {
    /// A message of which nothing came in time.
    pub fn missing(why: &str) -> Self {
        Self { uid: String::new(), read: Err(why.to_owned()) }
    }
}

/// What a gateway is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// JSON, or nothing.
    pub body: String,
}

/// Reads a message, of which at most [`MESSAGE_BYTES_MAX`] bytes and one are given. `query` is that of the address it
/// was sent to: `server`, `session` and `principal` there say what the gateway does not.
pub fn read(gateway: Gateway, message: &[u8], query: &str) -> Message {
    let (fields, fault) = Fields::read(message);
    let uid = match gateway {
        Gateway::ToolHive => fields.text("uid").unwrap_or_default(),
        Gateway::Docker | Gateway::AuthZen => String::new(),
    };
    let read = match fault {
        _ if message.len() > MESSAGE_BYTES_MAX => Err(Fault("the message is over 16 MiB long".to_owned())),
        Some(fault) => Err(fault),
        None => Place::read(query).and_then(|place| match gateway {
            Gateway::Docker => docker::read(message, &fields, &place),
            Gateway::ToolHive => toolhive::read(&fields, &place),
            Gateway::AuthZen => authzen::read(&fields, &place),
        }),
    };
    Message { uid, read: read.map_err(|Fault(why)| why) }
}

/// The answer to a message that was ruled on.
pub fn answer(gateway: Gateway, message: &Message, ruling: &Ruling) -> Answer {
    let unreadable;
    let refusal = match (&message.read, ruling) {
        (Ok(_), Ruling::Pass) => None,
        (Ok(_), Ruling::Refuse(refusal)) => Some(refusal),
        (Err(why), _) if gateway == Gateway::AuthZen => return authzen::unreadable(why),
        (Err(why), _) => {
            unreadable = Refusal::Unacceptable(why.clone());
            Some(&unreadable)
        }
    };
    let body = match gateway {
        Gateway::Docker => docker::answer(refusal),
        Gateway::ToolHive => toolhive::answer(&message.uid, refusal),
        Gateway::AuthZen => authzen::answer(refusal),
    };
    Answer { status: 200, body }
}

/// Why a call is refused, in a word for programs.
pub(super) fn word(refusal: &Refusal) -> &'static str {
    refusal.decision().map_or_else(|| refusal.kind(), |decision| decision.reason_code().as_str_name())
}

/// Who acts for whom, if all of them are fit for names.
pub(super) fn chain(links: Vec<String>) -> Result<Vec<String>, Fault> {
    if links.len() > CHAIN_LINKS_MAX {
        return Err(Fault(format!("more than {CHAIN_LINKS_MAX} principals act for each other")));
    }
    if !links.iter().all(|link| is_name(link)) {
        return Err(Fault("a principal is named with what no name has in it".to_owned()));
    }
    Ok(links)
}

#[cfg(test)]
mod tests;
