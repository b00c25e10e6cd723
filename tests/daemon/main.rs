//! The real daemon, as a process, under faults: killed, flooded, out of disk, with a failing disk.
//!
//! Every test has a control that shows it can fail, or says why it has none. `ASKANCE_KILLS` sets how often
//! the daemon is killed (200 by default).
#![allow(
    unreachable_pub,
    missing_docs,
    clippy::print_stdout,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test has no callers, and stops where something is wrong"
)]

mod damage;
mod disk;
mod flood;
mod kill;
mod reviews;
mod support;
