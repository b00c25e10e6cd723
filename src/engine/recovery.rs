//! From a log to the state as of its tail: the newest snapshot, then every record behind it.

use super::query::decode_for_fold;
use super::relearn;
use super::{Error, ahead};
use crate::domain::position::Position;
use crate::eventlog::Log;
use crate::projection::{STATE_VERSION, State};
use std::ops::ControlFlow;

/// How a state was found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Position of the snapshot it began with; zero: none.
    pub snapshot: Position,
    /// Records folded in after it.
    pub folded: u64,
    /// Snapshots that could not be used, and why.
    pub skipped: Vec<String>,
}

/// The state as of the log's tail.
pub(super) fn recover(log: &Log) -> Result<(State, Recovered), Error> {
    let found = log.snapshot_latest(STATE_VERSION)?;
    let mut skipped: Vec<String> =
        found.damaged.iter().map(|(position, why)| format!("the snapshot at {position}: {why}")).collect();
    let mut state = State::empty();
    if let Some((position, bytes)) = found.latest {
        match State::from_bytes(&bytes) {
            Ok(read) if read.position == position => state = read,
            Ok(read) => skipped.push(format!("the snapshot at {position} says it is at {}", read.position)),
            Err(fault) => skipped.push(format!("the snapshot at {position}: {fault}")),
        }
    }
    let snapshot = state.position;
    let tail = log.position();
    fold(log, &mut state, tail)?;
    check(&state, log, tail)?;
    let folded = tail.get() - snapshot.get();
    Ok((state, Recovered { snapshot, folded, skipped }))
}

/// Folds the records behind the state's position, up to `to`, in.
pub fn fold(log: &Log, state: &mut State, to: Position) -> Result<(), Error> {
    ahead::each(log, state.position.next(), to, decode_for_fold, |recorded| {
        relearn::take(log, state, recorded)?;
        Ok(ControlFlow::Continue(()))
    })
}

/// Invariants that must hold before the first call is taken: see `invariant`.
fn check(state: &State, log: &Log, tail: Position) -> Result<(), Error> {
    if state.position != tail {
        let message = format!("the state ends at position {} and the log at {tail}", state.position);
        return Err(Error::DataLoss(message));
    }
    if tail > Position::ZERO && state.log_id != log.log_id() {
        return Err(Error::DataLoss("the first record names another log than the storage does".to_owned()));
    }
    Ok(())
}
