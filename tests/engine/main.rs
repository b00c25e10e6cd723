//! The engine on a real log: decisions, idempotency, restarts, replay.

mod restart;
mod stories;
mod support;
