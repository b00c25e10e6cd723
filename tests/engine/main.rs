//! The engine on a real log: decisions, idempotency, restarts, replay.
#![allow(unreachable_pub, missing_docs, clippy::print_stdout, reason = "a test has no callers")]

mod restart;
mod stories;
mod support;
