//! What is known of a call that was taken up before: at hand, or from the log.

use super::Error;
use super::partition::{Command, Decided};
use super::registry::Known;
use super::worker::Worker;
use crate::domain::call::Call;
use crate::domain::position::Position;
use crate::domain::stream::CallKey;

/// What the log's index said of a call before it was taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Indexed {
    /// It was not asked.
    Unasked,
    /// It knew nothing of it.
    Nowhere,
    /// It was proposed here.
    At(Position),
}

/// A call's key, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    pub(super) key: CallKey,
    indexed: Indexed,
}

impl Lookup {
    /// Of a call that the index was not asked for.
    pub(super) const fn of(key: CallKey) -> Self {
        Self { key, indexed: Indexed::Unasked }
    }
}

impl Worker {
    /// Asks the log's index for all drained calls at once. What is taken up in between is at hand.
    pub(super) fn look_up(&self, drained: &[Command], lookups: &mut Vec<Lookup>) {
        lookups.clear();
        let key_of = |command: &Command| match command {
            Command::Evaluate(call, _) => self.call_key(&call.tenant, &call.call_id),
            Command::Import(import, _) => self.call_key(&import.call.tenant, &import.call.call_id),
            _ => CallKey::NONE,
        };
        lookups
            .extend(drained.iter().map(|command| Lookup { key: key_of(command), indexed: Indexed::Unasked }));
        let is_asked = |lookup: &Lookup| !lookup.key.is_none() && self.registry.get(&lookup.key).is_none();
        let asked: Vec<CallKey> = lookups.iter().filter(|lookup| is_asked(lookup)).map(|l| l.key).collect();
        if asked.len() < 2 {
            return;
        }
        // Each is asked again by itself after an error, and then fails by itself.
        let Ok(found) = self.log.find_calls(&asked) else { return };
        for (lookup, position) in lookups.iter_mut().filter(|lookup| is_asked(lookup)).zip(found) {
            lookup.indexed = position.map_or(Indexed::Nowhere, Indexed::At);
        }
    }

    /// The decision on record for this `call_id`, if there is one; an error if it is of another call.
    pub(super) fn recorded(&mut self, lookup: Lookup, call: &Call) -> Result<Option<Decided>, Error> {
        let Some(known) = self.known(lookup)? else { return Ok(None) };
        if known.digest != call.digest {
            return Err(Error::CallIdTaken(call.call_id.clone()));
        }
        self.decided_again(known).map(Some)
    }

    pub(super) fn decided_again(&self, known: Known) -> Result<Decided, Error> {
        let mut decided = match self.registry.decided(known.proposed_at) {
            Some(decided) => Decided::clone(decided),
            None => self.read_decided(&known)?,
        };
        decided.repeated = true;
        Ok(decided)
    }

    /// What is known of a call: at hand, or from the log.
    pub(super) fn known_by(&mut self, key: CallKey) -> Result<Option<Known>, Error> {
        self.known(Lookup::of(key))
    }

    pub(super) fn known(&mut self, lookup: Lookup) -> Result<Option<Known>, Error> {
        let key = lookup.key;
        if let Some(known) = self.registry.get(&key) {
            return Ok(Some(*known));
        }
        let found = match lookup.indexed {
            Indexed::Unasked => self.log.find_call(key)?,
            Indexed::Nowhere => None,
            Indexed::At(position) => Some(position),
        };
        let Some(proposed_at) = found else { return Ok(None) };
        let known = super::query::known_call(&self.log, proposed_at)?;
        self.registry.insert(key, known);
        Ok(Some(known))
    }

    fn read_decided(&self, known: &Known) -> Result<Decided, Error> {
        let session = super::query::session_of(&self.log, known.stream)?;
        super::query::decided_at(&self.log, known.proposed_at, known.digest, session)
    }
}
