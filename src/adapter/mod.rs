//! Asked in other tongues than gRPC: each adapter turns somebody's message into one envelope, and what came of it into
//! that somebody's answer.
//!
//! ```text
//! message ─▶ hook::read, gateway::read (one file each) ─▶ Envelope ─▶ Desk ─▶ mcp::gate (the daemon's API)
//! answer  ◀─ hook::answer, gateway::answer              ◀─ Ruling   ◀─
//! ```
//!
//! Pure: [`envelope`], [`hook`], [`gateway`] (over HTTP), most of `access` (AuthZEN's requests for access), `fields` (reads strictly), `result`. Around them: [`desk`] (asks, holds, tells), [`memory`] (what must be known from one
//! event to the next), [`listener`] (HTTP), [`grpc`] (gateways that ask over gRPC), `inward` (from a door to the API), `credential` (what came with a request).
//!
//! A further adapter: a file that reads its message into an [`envelope::Envelope`] and writes a
//! [`envelope::Ruling`], a path in [`listener`], a golden file of request and answer in `tests/golden/gateways`, a page in `docs`.
//!
//! Deliberately absent: who may ask what. Requests go to the API with the credential and the address that they came
//! with, and the API says.

mod access;
mod credential;
pub mod desk;
pub mod envelope;
mod fields;
pub mod gateway;
pub mod grpc;
pub mod hook;
mod inward;
pub mod listener;
pub mod memory;
mod result;
