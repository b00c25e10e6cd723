//! The policies in force as of a state, read back from the log.

use super::Error;
use super::query::event_at;
use crate::domain::position::Position;
use crate::eventlog::Log;
use crate::policy::{Book, Fault};
use crate::projection::State;

/// The book as of a state: its policies and grants are events of the log.
pub(super) fn book(state: &State, log: &Log) -> Result<Book, Error> {
    let mut book = Book::default();
    let mut take_up = |position: Position| -> Result<(), Error> {
        if position == Position::ZERO {
            return Ok(());
        }
        let record = event_at(log, position)?.record;
        book.apply(&record.event, record.receive_time).map_err(|faults| not_accepted(position, &faults))
    };
    take_up(state.policy_revision)?;
    for (_, tenant) in state.tenants() {
        take_up(tenant.policies.revision)?;
        for (_, grant) in tenant.policies.grants() {
            take_up(grant.position)?;
        }
    }
    Ok(book)
}

/// What a recorded policy has in it that this build does not accept.
pub(super) fn not_accepted(position: Position, faults: &[Fault]) -> Error {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let faults = faults.join("; ");
    Error::DataLoss(format!("the policy recorded at position {position} is not accepted any more: {faults}"))
}
