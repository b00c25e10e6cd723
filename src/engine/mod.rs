//! One thread owns the truth of a partition: it orders, scores, decides and applies; a second one makes
//! what was decided durable and then lets the answers go.
//!
//! ```text
//! handle ──bounded queue──▶ worker (State) ──handover──▶ committer (eventlog::Writer) ──▶ replies
//! ```
//!
//! The worker applies an event as soon as it is decided, so that the next call in the same drain sees
//! it; nobody outside learns of it before it is synced. A failed append switches the partition's writes
//! off until the daemon is started again. Deliberately absent: gRPC, and any decision of its own.

mod ahead;
mod committer;
mod counters;
mod declare;
mod directory;
mod error;
mod exchange;
mod handle;
mod handover;
mod health;
pub mod history;
mod hub;
mod known;
mod oversee;
mod overseer;
mod oversight;
mod partition;
mod policies;
mod query;
mod reads;
mod recovery;
mod registry;
mod relearn;
mod replay;
mod schemas;
mod snapshots;
mod subscribers;
mod teaching;
mod ticker;
mod verify;
mod worker;

pub use crate::eventlog::frame::FRAME_VERSION as RECORD_FORMAT;
pub use counters::{Counters, CountersView};
pub use directory::SessionSummary;
pub use error::Error;
pub use exchange::{Exchange, Reviewed};
pub use handle::{Engine, Opened, Options};
pub use health::PartitionHealth;
pub use history::{Backtest, Coverage, Range as HistoryRange, Reversed};
pub use hub::{Batch, Hub, Interest, Notice};
pub use overseer::{Cast, Lifting, Oversight, Placed};
pub use oversight::Context;
pub use partition::{Command, Completed, Decided, Definedness, Import, Imported, Reply, Ruled};
pub use query::{EventView, SessionFilter, TimelineEvent};
pub use recovery::fold;
pub use relearn::Relearning;
pub use replay::{Change, Changed, Plan, Redecided, ReplayReport, Step, replay, replay_with};
pub use subscribers::{Standing, Subscribers};
pub use verify::{Verified, verify};
