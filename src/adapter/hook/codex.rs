//! Codex. It refuses answers with fields that it does not know, and `continue: false` before a call: both would let the
//! call run.

use super::super::envelope::Envelope;
use super::super::fields::{Fault, Fields};
use super::claude;
use serde_json::Value;

/// Its name as a principal and a client.
pub(super) const NAME: &str = "codex";

/// Reads a message.
pub(super) fn read(fields: &Fields<'_>) -> Result<Envelope, Fault> {
    claude::shaped(fields, NAME)
}

/// Says no.
pub(super) fn refuse(why: &str) -> Value {
    claude::refuse(why, false)
}
