//! The event log from outside: what it keeps, what it refuses, what it notices.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests stop at the first surprise and say what they skip"
)]

mod anchor;
mod basics;
mod damage;
mod erase;
mod full;
mod kill;
mod kit;
mod model;
mod snapshots;
