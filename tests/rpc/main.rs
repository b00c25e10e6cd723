//! The gRPC server from outside: a real server on loopback and a Unix socket, a real client, a real
//! engine. Tests of faults have a control beside them that shows that the test can fail.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

/// The daemon's allocator, so that measurements are of what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod calls;
mod door;
mod echo;
mod input;
mod late;
mod load;
mod lookback;
mod policies;
mod resolving;
mod stop;
mod support;
mod timeline;
mod traces;
mod watching;
mod wire;
