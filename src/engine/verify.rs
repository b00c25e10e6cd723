//! Checks a log with what only the engine knows: that every body decodes, and that every snapshot is
//! what folding the log gives.

use super::Error;
use super::query::decode;
use super::relearn;
use crate::domain::event::Payload;
use crate::domain::position::Position;
use crate::eventlog::{Hooks, Log, PayloadRef, Progress, RecordView, VerifyReport};
use crate::projection::{STATE_VERSION, State};
use std::collections::BTreeSet;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Of the bytes.
    pub log: VerifyReport,
    /// Snapshots that equal the fold.
    pub snapshots_equal: u64,
    /// SHA-256 of the state at the end; none if the log could not be folded to its end.
    pub state_digest: Option<[u8; 32]>,
}

/// Checks everything up to the tail. Damage is reported, not returned as an error.
pub fn verify(log: &Log, mut progress: impl FnMut(Progress)) -> Result<Verified, Error> {
    let of_this_version = |info: &crate::eventlog::SnapshotInfo| info.state_version == STATE_VERSION;
    let due = log.snapshots()?.into_iter().filter(of_this_version).map(|info| info.position).collect();
    let mut fold = Fold { log, state: State::empty(), due, in_step: true, equal: 0 };
    let report = {
        let mut record = |view: RecordView<'_>, _: PayloadRef<'_>| fold.step(&view);
        log.verify(Hooks { progress: Some(&mut progress), record: Some(&mut record) })?
    };
    let whole = fold.in_step && fold.state.position == report.head.0;
    Ok(Verified {
        snapshots_equal: fold.equal,
        state_digest: whole.then(|| fold.state.digest()),
        log: report,
    })
}

/// The log folded along with the check.
struct Fold<'l> {
    log: &'l Log,
    state: State,
    due: BTreeSet<Position>,
    /// Whether no record was missed so far.
    in_step: bool,
    equal: u64,
}

impl Fold<'_> {
    fn step(&mut self, view: &RecordView<'_>) -> Option<String> {
        self.in_step &= view.position() == self.state.position.next();
        let mut recorded = match decode(view, Payload::default()) {
            Ok(recorded) => recorded,
            Err(fault) => {
                self.in_step = false;
                return Some(fault.to_string());
            }
        };
        if !self.in_step {
            return None;
        }
        if let Err(fault) = relearn::take(self.log, &mut self.state, &mut recorded) {
            self.in_step = false;
            return Some(fault.to_string());
        }
        if !self.due.contains(&self.state.position) {
            return None;
        }
        // A snapshot that went meanwhile is no fault; one that does not read is reported by the log's own check.
        let (version, bytes) = self.log.snapshot_read(self.state.position).ok()?;
        if version != STATE_VERSION || bytes == self.state.to_bytes() {
            self.equal += 1;
            return None;
        }
        Some(format!("the snapshot at {} is not what folding the log gives", self.state.position))
    }
}
