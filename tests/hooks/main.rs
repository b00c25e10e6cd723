//! Hooks of coding agents, as their clients meet them: the real binary, the real daemon, messages as documented.

#![cfg(feature = "server")]
#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test stops where something is wrong"
)]

mod access;
mod gateways;
mod golden;
mod grpc;
mod http;
mod init;
mod running;
#[path = "../mcp/support.rs"]
#[allow(dead_code, reason = "what another test binary needs of it")]
mod support;
