//! Asked in other tongues than gRPC: each adapter turns somebody's message into one envelope, and what came of it into
//! that somebody's answer.
//!
//! ```text
//! message ─▶ hook::read (one file a client) ─▶ Envelope ─▶ Desk ─▶ mcp::gate (the daemon's API)
//! answer  ◀─ hook::answer                   ◀─ Ruling   ◀─
//! ```
//!
//! Pure: [`envelope`], [`hook`]. Around them: [`desk`] (asks, holds, tells), [`memory`] (what must be known from one
//! event to the next), [`listener`] (HTTP).
//!
//! A further adapter: a file that reads its message into an [`envelope::Envelope`] and writes a
//! [`envelope::Ruling`], a path in [`listener`], a golden file of request and answer in `tests/golden/adapters`.
//!
//! Deliberately absent: who may ask what. Requests go to the API with the credential and the address that they came
//! with, and the API says.

pub mod desk;
pub mod envelope;
pub mod hook;
pub mod listener;
pub mod memory;
