//! What the worker does to take learning back, and to adopt what was fitted outside.

use super::Error;
use super::partition::Reply;
use super::relearn::Relearning;
use super::worker::Worker;
use crate::decide;
use crate::domain::event::ModelAdopted;
use crate::domain::position::Position;
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;
use std::sync::atomic::Ordering;

/// Pause between two looks whether a group is on disk.
const COMMIT_PAUSE: std::time::Duration = std::time::Duration::from_micros(200);

impl Worker {
    pub(super) fn adopt_model(
        &mut self,
        model: ModelAdopted,
        now: Timestamp,
        reply: Reply<Option<Position>>,
    ) {
        let adopted = decide::adopt_model(&self.state, model, now).map(|event| self.take_up(event));
        self.defer(reply, adopted);
    }

    /// Brings the statistics without the session up to the present and puts them in. Waits until all that was
    /// handed over is on disk: the fold reads it there.
    pub(super) fn unlearn(
        &mut self,
        tenant: &str,
        session: StreamId,
        reason: &str,
        mut relearning: Relearning,
        now: Timestamp,
    ) -> Result<Option<Position>, Error> {
        let Some(event) = decide::unlearn(&self.state, tenant, session, reason, now) else { return Ok(None) };
        let mut wanted = self.state.unlearned().clone();
        wanted.insert(session);
        if *relearning.unlearned() != wanted {
            return Err(Error::Overloaded);
        }
        self.hand_over();
        while self.log.position() < self.state.position {
            if self.shared.failed.load(Ordering::Acquire) {
                let cause = self.log.writes_off().unwrap_or("see the log").to_owned();
                return Err(Error::WritesOff(cause));
            }
            std::thread::sleep(COMMIT_PAUSE);
        }
        relearning.follow(&self.log, self.state.position)?;
        let position = self.take_up(event);
        relearning.finish(&mut self.state);
        Ok(Some(position))
    }
}
