//! From a request to events: what happened, what is decided, and why. Pure functions over the state.
//!
//! Four steps, each applied to the state before the next: [`housekeep`] closes sessions that are over,
//! [`resolve`] finds or opens the call's session, [`judge`] scores and decides. [`ingest`] stands before
//! them: it checks, masks and digests, and needs no state. Deliberately absent: queues, logs, clocks.

mod account;
mod housekeep;
pub mod ingest;
mod judge;
pub mod lock;
pub mod observe;
mod policed;
mod resolve;
pub mod review;
pub mod ruling;
mod settings;
mod unlearn;
mod verdict;

#[cfg(test)]
mod budget_tests;
#[cfg(test)]
mod learning_tests;
#[cfg(test)]
mod null_tests;
#[cfg(test)]
mod reviewed_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use account::{Ground, HARD_EVIDENCE, set_budget};
pub use housekeep::housekeep;
pub use judge::{Aids, InferenceCache, Judged, judge, redecide, weigh};
pub use observe::{complete, define_tool, end_session};
pub use policed::moment;
pub use resolve::{Resolved, event_time, resolve, stream_of};
pub use settings::Settings;
pub use unlearn::{UNLEARNED_MAX, adopt_model, unlearn};
pub use verdict::settle;

/// Version of the scoring and decision code: stored with every decision. A replay compares only
/// decisions of its own version.
pub const SCORING_VERSION: u32 = crate::projection::STATE_VERSION;
