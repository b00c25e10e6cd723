//! askance: a second look at every tool call an AI agent makes.
//!
//! An event-sourced audit and anomaly-detection daemon. A call comes in over gRPC, is scored
//! against learnt baselines, decided, appended durably together with its decision, and answered.
//! The log replays to the same state, bit for bit.
//!
//! Floors, lowest first; a file imports only from lower floors or its own folder, which
//! `tests/tidy.rs` checks:
//!
//! | floor | folders | may know |
//! |---|---|---|
//! | 0 | `stats`, `error`, `invariant` | std, statrs, libm |
//! | 1 | `domain` | 0 |
//! | 2 | `policy`, `detector` | 0, 1; not each other, not the log, no clock |
//! | 3 | `projection` | 0 to 2 |
//! | 3 | `evaluate` | 0 to 2 |
//! | 4 | `decide` | 0 to 3 |
//! | 5 | `eventlog`, `clock` | 0, 1 |
//! | 5 | `connector` | nothing of ours |
//! | 6 | `engine` | 0 to 5 |
//! | 7 | `rpc` | 0, 1, the engine's handle, the generated code |
//! | 8 | `adapter`, `app`, `cli`, `config`, `mcp`, `offline`, `telemetry`, `main` | all |

pub mod stats;

pub mod domain;

pub mod detector;
pub mod policy;

pub mod evaluate;
pub mod projection;

pub mod decide;

pub mod clock;
#[cfg(feature = "server")]
pub mod eventlog;
pub mod record;

#[cfg(feature = "server")]
pub mod engine;

#[cfg(feature = "client")]
pub mod proto;

#[cfg(feature = "server")]
pub mod connector;
#[cfg(feature = "server")]
pub mod notify;

#[cfg(feature = "server")]
pub mod bench;
#[cfg(feature = "server")]
pub mod rpc;

#[cfg(feature = "server")]
pub mod adapter;
#[cfg(feature = "server")]
pub mod admin;
#[cfg(feature = "server")]
pub mod app;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod export;
#[cfg(feature = "server")]
pub mod mcp;
#[cfg(feature = "server")]
pub mod offline;
#[cfg(feature = "server")]
mod panic_button;
#[cfg(feature = "server")]
pub mod telemetry;
