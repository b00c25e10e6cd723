//! State folded from events: `State` = all projections, one `apply`.
//!
//! Pure: no clock, no I/O, no randomness, no order that is not the log's. Deliberately absent: how
//! events are stored, and what is decided on the state.

mod access;
mod budget;
mod inventory;
mod locks;
mod made;
mod names;
mod oversight;
mod policies;
mod principal;
mod reviews;
mod session;
mod snapshot;
mod state;
mod tenant;
mod trail;

pub use access::{Access, KnownToken};
pub use budget::{Day, ReviewBudget, SESSION_TICKETS_MAX, Spent, Wanted};
pub use inventory::{Inventory, Tool};
pub use locks::{KnownLock, Locks, Subject, covers};
pub use made::{Made, Telling, telling};
pub use names::Name;
pub use policies::{Grant, Policies};
pub use principal::Principals;
pub use reviews::{Final, Held, Review, Reviews};
pub use session::{Session, Sessions};
pub use snapshot::Error;
pub use state::{STATE_VERSION, State, TENANTS_MAX, gap_key, principal_hash, tool_hash};
pub use tenant::Tenant;
pub use trail::{Passed, Trail, Trails};
