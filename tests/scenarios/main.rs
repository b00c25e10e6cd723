//! Stories of oversight, told against a real server over a real engine: who asks, who approves, what time
//! does, and what the panic button stops. Time is set, never waited for.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

/// The daemon's allocator, so that measurements are of what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod article;
mod codes;
mod compositions;
mod figures;
mod identities;
mod locks;
#[path = "../kit/otlp.rs"]
mod otlp;
mod provenance;
mod restarts;
mod reviews;
mod rulings;
mod stage;
mod telling;
mod tracing;
mod watching;
