//! Which sessions are nested in one, at any depth: told by what each session's opening says of its parent.

use crate::domain::event::Event;
use crate::domain::position::{Position, Revision};
use crate::domain::stream::StreamId;
use crate::engine::{Engine, Error, EventView};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Depth up to which sessions are followed.
const DEPTH_MAX: usize = 64;
/// Sessions remembered before the memo starts afresh.
const KNOWN_MAX: usize = 100_000;

/// The sessions below one.
#[derive(Clone, Debug)]
pub(super) struct Kin {
    tenant: String,
    ancestor: StreamId,
    /// Parents of sessions: a memo of what the log says, so that it may be forgotten.
    parents: Arc<Mutex<BTreeMap<StreamId, StreamId>>>,
}

impl Kin {
    /// Those below a session of a tenant.
    pub(super) fn new(tenant: &str, ancestor: StreamId) -> Self {
        Self { tenant: tenant.to_owned(), ancestor, parents: Arc::default() }
    }

    /// Whether a session is nested in the ancestor. Blocks on disk reads.
    pub(super) fn is_below(&self, engine: &Engine, stream: StreamId) -> Result<bool, Error> {
        let mut at = stream;
        for _ in 0..DEPTH_MAX {
            if at.is_none() {
                return Ok(false);
            }
            at = self.parent(engine, at)?;
            if at == self.ancestor {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a session is the ancestor or below it, by what is known already.
    pub(super) fn includes(&self, stream: StreamId) -> bool {
        let parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = stream;
        for _ in 0..=DEPTH_MAX {
            if at == self.ancestor {
                return !at.is_none();
            }
            match parents.get(&at) {
                Some(parent) => at = *parent,
                None => return false,
            }
        }
        false
    }

    /// Learns of these sessions what [`Kin::includes`] must know. Blocks on disk reads.
    pub(super) fn learn(
        &self,
        engine: &Engine,
        streams: impl Iterator<Item = StreamId>,
    ) -> Result<(), Error> {
        let mut last = StreamId::NONE;
        self.forget_if_full();
        for stream in streams {
            if stream != last && stream != self.ancestor {
                self.is_below(engine, stream)?;
            }
            last = stream;
        }
        Ok(())
    }

    fn forget_if_full(&self) {
        let mut parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
        if parents.len() >= KNOWN_MAX {
            parents.clear();
        }
    }

    /// Position of the ancestor's first event; none: there is no such session.
    pub(super) fn begins(&self, engine: &Engine) -> Result<Option<Position>, Error> {
        let first =
            engine.session_events(&self.tenant, self.ancestor, Revision::new(1), 1, EventView::Basic)?;
        Ok(first.first().map(|event| event.recorded.position))
    }

    fn parent(&self, engine: &Engine, stream: StreamId) -> Result<StreamId, Error> {
        let known = self.parents.lock().unwrap_or_else(PoisonError::into_inner).get(&stream).copied();
        if let Some(parent) = known {
            return Ok(parent);
        }
        let first = engine.session_events(&self.tenant, stream, Revision::new(1), 1, EventView::Basic)?;
        let parent = match first.first().map(|event| &event.recorded.record.event) {
            Some(Event::SessionOpened(opened)) if opened.tenant == self.tenant => opened.parent,
            _ => StreamId::NONE,
        };
        self.parents.lock().unwrap_or_else(PoisonError::into_inner).insert(stream, parent);
        Ok(parent)
    }
}
