//! What goes on behind a partition: snapshots, the anchor's sync, the watch on free space.
//!
//! A snapshot is not taken from the worker's state, which would stop it, but by folding the log from
//! the last snapshot on, on this thread at low priority: every snapshot is a fold.

use super::Error;
use super::committer::Shared;
use super::counters::add;
use super::recovery::recover;
use crate::eventlog::{Log, Space};
use crate::projection::STATE_VERSION;
use crate::telemetry::SPANS;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Looks between two syncs of the anchor.
const LOOKS_PER_SYNC: u32 = 5;

/// How far snapshots stand back behind calls: the most there is.
const NICENESS: i32 = 19;

/// Runs until the partition stops. `every`: records between two snapshots.
pub(super) fn run(log: &Log, shared: &Arc<Shared>, every: u64) {
    // The calls come first. Where the system does not allow it, snapshots merely take more from them.
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS) {
        tracing::debug!(%error, "snapshots are made at the priority of calls");
    }
    let mut last =
        log.snapshots().ok().and_then(|all| all.iter().map(|info| info.position.get()).max()).unwrap_or(0);
    let mut looks = 0_u32;
    while !shared.stopping.load(Ordering::Relaxed) {
        std::thread::park_timeout(PAUSE);
        looks = looks.wrapping_add(1);
        let space = if looks.is_multiple_of(LOOKS_PER_SYNC) { log.housekeep() } else { log.space() };
        match space {
            Ok(space) => watch_space(&space, shared),
            Err(error) => tracing::warn!(error = ?error.to_string(), "cannot look after the log"),
        }
        if log.position().get() - last >= every {
            match snapshot(log) {
                Ok(position) => {
                    last = position;
                    add(&shared.counters.snapshots_written, 1);
                }
                Err(error) => {
                    tracing::warn!(error = ?error.to_string(), "cannot write a snapshot");
                    last = log.position().get();
                }
            }
        }
    }
}

fn watch_space(space: &Space, shared: &Shared) {
    // An append that waits for room knows better than the watermarks.
    let full = matches!(space, Space::Full { .. }) || shared.stalled.load(Ordering::Relaxed);
    if shared.disk_full.swap(full, Ordering::Relaxed) != full {
        if full {
            tracing::error!("the disk is too full: calls are refused until there is room");
        } else {
            tracing::info!("there is room on the disk again: calls are taken");
        }
    }
}

fn snapshot(log: &Log) -> Result<u64, Error> {
    let _span = tracing::trace_span!(target: SPANS, "snapshot").entered();
    let (state, _) = recover(log)?;
    log.snapshot_write(state.position, STATE_VERSION, &state.to_bytes())?;
    Ok(state.position.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_full_as_long_as_an_append_waits_for_room() {
        let shared = Shared::default();
        let is_full = |space: Space| {
            watch_space(&space, &shared);
            shared.disk_full.load(Ordering::Relaxed)
        };
        let (room, none) = (Space::Ok { free: 9 }, Space::Full { free: 0 });
        assert!(!is_full(room) && is_full(none) && !is_full(room));
        shared.stalled.store(true, Ordering::Relaxed);
        assert!(is_full(room), "the watermark allows it, and yet there is no room");
        shared.stalled.store(false, Ordering::Relaxed);
        assert!(!is_full(room));
    }
}
