//! The words of the domain as types: ids, positions, times, calls, events, decisions.
//!
//! Values only. Deliberately absent: storage, wire formats, clocks, learnt state.

pub mod account;
pub mod call;
pub mod decision;
pub mod event;
pub mod hex;
pub mod identity;
pub mod json;
pub mod lock;
pub mod mask;
mod oversight;
pub mod position;
pub mod review;
pub mod risk;
mod ruling;
pub mod stream;
pub mod text;
pub mod time;

pub use position::{Position, Revision};
pub use stream::{CallKey, StreamId};
pub use time::Timestamp;
