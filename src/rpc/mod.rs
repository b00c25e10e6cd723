//! The gRPC server: everything the daemon answers over TCP and its Unix socket.
//!
//! ```text
//! accept ─▶ connection (hyper, HTTP/2) ─▶ router ─▶ a service (tonic) ─▶ convert ─▶ engine
//!                                                                  ◀─ convert ◀─ status
//! ```
//!
//! [`accept`] guards the door, [`router`] checks what every request must have and gives late ones their
//! due status, each service has a file of its own, [`convert`] is the only place that knows both the
//! generated messages and the words of the domain, [`status`] the only one that makes gRPC errors.
//!
//! Deliberately absent: decisions, storage, and any generated type outside this folder. Texts from
//! outside are logged with `?`, never with `%`, so that they cannot forge a log line.

mod accept;
mod access;
mod call_review;
mod connection;
mod control;
mod convert;
mod deadline;
mod evaluate_stream;
mod events;
mod explain;
mod feed;
mod gateway;
mod granted;
mod identity;
pub mod inside;
mod intake;
mod kin;
mod locks;
mod models;
mod options;
mod ordered;
mod outbox;
mod page;
mod policy;
mod policy_history;
pub mod reading;
mod replay;
mod review_feed;
mod reviews;
mod router;
pub mod server;
mod sessions;
mod shared;
mod status;
pub mod tally;
mod timeline;
mod tools;
mod unimplemented;
mod validity;
mod waiting;
mod watch;
mod watch_end;

pub use accept::{Peer, Refused};
pub use identity::user_name;
pub use options::{Limits, Options};
pub use router::{Asker, Extra, asker};
pub use server::{Bound, Error};
