//! Telling other systems about reviews and locks: durable subscriptions that post to webhooks and to Slack.
//!
//! ```text
//! log ──▶ subscription (one task an endpoint and partition) ──▶ message ──▶ sign ──▶ http
//!              └─ checkpoint: the position that was told last
//! ```
//!
//! At least once: the checkpoint moves only behind what the endpoint has answered with 2xx, and a message's
//! id is its position, so that a receiver can tell a repeat. An endpoint that is dead holds up itself
//! alone. Messages hold names and reasons, never arguments. Deliberately absent: anything that decides.

mod checkpoint;
pub(crate) mod encoding;
mod endpoint;
mod http;
mod message;
mod sign;
mod subscription;

pub use endpoint::{Endpoint, Kind, parse};
pub use sign::signature;
pub use subscription::{Settings, start};
