//! How a watch ends, and what its watcher is told.

use super::outbox::{Outbox, Stuck};
use super::status::Failure;
use crate::proto::v1::ErrorCode;
use prost::Message;

/// Why a watch ends.
pub(super) enum End {
    /// The watcher went away or does not read.
    Stuck(Stuck),
    /// Something failed.
    Failed(Failure),
    /// The daemon is stopping.
    Stopping,
}

impl From<Stuck> for End {
    fn from(stuck: Stuck) -> Self {
        Self::Stuck(stuck)
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl End {
    /// Tells the watcher: behind what waits for it, or in its place where it does not read. `cut` says what to tell
    /// such a one; it gets the mark of the message that was taken last.
    pub(super) fn tell<T: Message>(self, outbox: Outbox<T>, cut: impl FnOnce(Option<u64>) -> Failure) {
        match self {
            Self::Stuck(Stuck::Gone) => {}
            Self::Stuck(Stuck::Stalled(taken)) => outbox.end(cut(taken).into(), true),
            Self::Stopping => {
                let message = "the daemon is stopping; resume with the token last received";
                outbox.end(Failure::new(ErrorCode::NotReady, message).into(), false);
            }
            Self::Failed(failure) => outbox.end(failure.into(), false),
        }
    }
}
