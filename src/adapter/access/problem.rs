//! Why a request for access is not taken, as problem details (RFC 9457).

use crate::detector::sentence::shown;
use serde_json::json;

/// What begins the types that the profile defines.
const TYPE: &str = "urn:openid:authzen:access-request:error:";

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The denial cannot be asked to be lifted.
    NotRequestable,
    /// Its time to be asked about is over.
    ExpiredDenial,
    /// The request is not about the call that was denied.
    InvalidDenialBinding,
    /// The `Idempotency-Key` came with another body before.
    DuplicateRequest,
    /// There is no such task.
    UnknownTask,
    /// There is no such task any more.
    TaskExpired,
    /// The request cannot be read.
    Malformed,
    /// It asks for what is not offered.
    NotOffered,
    /// Nobody knows who asks.
    Unauthorized,
    /// Whoever asks may not.
    Forbidden,
    /// Not by this method.
    Method,
    /// The answer cannot be had now.
    Away,
}

impl Kind {
    const fn facts(self) -> (Option<&'static str>, u16, &'static str) {
        match self {
            Self::NotRequestable => (Some("not_requestable"), 400, "Access is not requestable"),
            Self::ExpiredDenial => (Some("expired_denial"), 410, "The denial has expired"),
            Self::InvalidDenialBinding => {
                (Some("invalid_denial_binding"), 400, "The request is not about the denied evaluation")
            }
            Self::DuplicateRequest => (Some("duplicate_request"), 409, "The key came with another request"),
            Self::UnknownTask => (Some("unknown_task"), 404, "There is no such task"),
            Self::TaskExpired => (Some("task_expired"), 410, "The task has expired"),
            Self::Malformed => (None, 400, "Bad Request"),
            Self::NotOffered => (None, 400, "Not offered here"),
            Self::Unauthorized => (None, 401, "Unauthorized"),
            Self::Forbidden => (None, 403, "Forbidden"),
            Self::Method => (None, 405, "Method Not Allowed"),
            Self::Away => (None, 503, "Service Unavailable"),
        }
    }
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Its kind.
    pub(super) kind: Kind,
    /// What of this request it is.
    pub(super) detail: String,
}

impl Problem {
    /// A problem of this kind.
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// The HTTP status.
    pub(super) const fn status(&self) -> u16 {
        self.kind.facts().1
    }

    /// The document.
    pub(super) fn body(&self) -> String {
        let (name, status, title) = self.kind.facts();
        let kind = name.map_or_else(|| "about:blank".to_owned(), |name| format!("{TYPE}{name}"));
        json!({ "type": kind, "title": title, "status": status, "detail": shown(&self.detail) }).to_string()
    }
}
