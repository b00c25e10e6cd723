//! The engine on a real log: decisions, idempotency, restarts, replay.
#![allow(
    unreachable_pub,
    missing_docs,
    clippy::print_stdout,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test has no callers, and stops where something is wrong"
)]

mod restart;
mod stories;
mod support;
mod unlearn;
