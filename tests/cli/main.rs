//! The command line as its users meet it: the real binary, real files, exit codes and words.

#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by a panic, and says when it skips"
)]

mod app;
mod configuration;
mod daemon;
mod importing;
mod looking;
mod scoring;
mod setup;
mod support;
