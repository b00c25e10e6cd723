//! Locks as values: what one covers, which way it came, who placed it.

use super::review::{Why, numbered};
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Locks that a partition holds at a time.
pub const LOCKS_MAX: usize = 4_096;
/// Ended locks a partition keeps at hand; older ones are in the log only.
pub const ENDED_MAX: usize = 1_024;
/// Server of a lock on a tool that covers it wherever it is.
pub const EVERY_SERVER: &str = "*";
/// Why a lock was placed or lifted, bytes.
pub const REASON_BYTES_MAX: usize = 1_024;

numbered! {
    /// What a lock covers.
    LockScope {
        /// One session and the sessions nested in it; the target is the session's key.
        Session,
        /// Every call with this principal as a link of its chain.
        Principal,
        /// One tool, of one server or of every one.
        Tool,
        /// Every tool of one server.
        Server,
        /// A whole tenant.
        Tenant,
        /// Every tenant.
        Everything,
    }
}

impl LockScope {
    /// Why a call is refused that a lock of this scope covers.
    pub const fn why(self) -> Why {
        match self {
            Self::Session => Why::SessionLocked,
            Self::Principal => Why::PrincipalLocked,
            Self::Tool => Why::ToolLocked,
            Self::Server => Why::ServerLocked,
            Self::Tenant | Self::Everything => Why::TenantLocked,
        }
    }

    /// The scope's name as written on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Principal => "principal",
            Self::Tool => "tool",
            Self::Server => "server",
            Self::Tenant => "tenant",
            Self::Everything => "everything",
        }
    }
}

numbered! {
    /// Which of the independent ways placed a lock.
    LockOrigin {
        /// The API, also by `askance lock`.
        Rpc,
        /// The signal SIGUSR1.
        Signal,
        /// The sentinel file in the data directory.
        File,
    }
}

/// What a lock is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockTarget {
    /// Tenant; empty for [`LockScope::Everything`].
    pub tenant: String,
    /// What it covers.
    pub scope: LockScope,
    /// Name or key of what it covers; empty for tenants and everything.
    pub target: String,
    /// The tool's server, or [`EVERY_SERVER`]; for [`LockScope::Tool`] only.
    pub server: String,
}

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Its id, made by whoever placed it; the same in every partition.
    pub id: String,
    /// What it covers.
    pub on: LockTarget,
    /// Why; shown to the agents it stops.
    pub reason: String,
    /// Who placed it.
    pub actor: String,
    /// By which way.
    pub origin: LockOrigin,
    /// Until when; none: until it is lifted.
    pub expires: Option<Timestamp>,
}
