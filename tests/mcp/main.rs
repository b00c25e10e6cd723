//! In front of an MCP server, as clients and servers meet it: the real binary, scripted and real servers, bytes.

#![cfg(feature = "server")]
#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test stops where something is wrong"
)]

mod clients;
mod example;
mod http;
mod modern;
mod nested;
mod packages;
mod rust_sdk;
mod stdio;
mod support;
mod tasks;
mod tls;
