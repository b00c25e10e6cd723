//! The command line as its users meet it: the real binary, real files, exit codes and words.

#![cfg(feature = "server")]
#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test stops where something is wrong"
)]

mod app;
mod configuration;
mod daemon;
mod evaluating;
mod exporting;
mod importing;
mod looking;
mod models;
#[path = "../kit/otlp.rs"]
mod otlp;
mod overseeing;
mod policies;
mod scoring;
mod setup;
mod support;
mod terminal;
mod tracing;
