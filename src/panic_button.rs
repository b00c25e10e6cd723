//! The ways to lock everything that need neither network nor command line: the signal SIGUSR1, and a
//! sentinel file in the data directory.
//!
//! Each is a task of its own beside the server. The file is looked at every [`LOOK_PAUSE`]; while it is
//! there, everything is locked, and once it is gone, its lock is lifted. A lock by signal is lifted with
//! `askance unlock`.

use crate::domain::lock::{Lock, LockOrigin, LockScope, LockTarget, REASON_BYTES_MAX};
use crate::engine::{Engine, Lifting};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::time::sleep;

/// Name of the sentinel file.
const SENTINEL: &str = "LOCK";
/// Pause between two looks at the sentinel file.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Pause before a lock that could not be placed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// The lock of the sentinel file. One at a time, so that it needs no other name; a number keeps those of
/// different times apart.
const FILE_LOCK: &str = "lk_file";

/// Locks everything whenever the signal comes. Never ends.
pub(crate) async fn on_signal(engine: Engine, mut signal: Signal) {
    while signal.recv().await.is_some() {
        let reason = "SIGUSR1: everything is locked by signal".to_owned();
        place(&engine, "lk_signal", LockOrigin::Signal, reason).await;
    }
}

/// Locks everything while the sentinel file is there. Never ends.
pub(crate) async fn on_file(engine: Engine, data_dir: PathBuf) {
    let path = data_dir.join(SENTINEL);
    let mut held = held_by_file(&engine).await;
    loop {
        match (path.symlink_metadata().is_ok(), held.as_ref()) {
            (true, None) => held = Some(place(&engine, FILE_LOCK, LockOrigin::File, words_of(&path)).await),
            (false, Some(id)) => {
                let lifting = Lifting {
                    id: id.clone(),
                    reason: "the sentinel file is gone".to_owned(),
                    actor: "sentinel file".to_owned(),
                    by: LockOrigin::File,
                };
                match engine.lift_lock(&lifting).await {
                    Ok(_) => {
                        tracing::warn!(lock = ?id, "the sentinel file is gone: its lock is lifted");
                        held = None;
                    }
                    Err(error) => tracing::error!(error = ?error.to_string(), "cannot lift the file's lock"),
                }
            }
            _ => {}
        }
        sleep(LOOK_PAUSE).await;
    }
}

/// Locks everything if the sentinel file is there: before the first call is taken.
pub(crate) async fn before_serving(engine: &Engine, data_dir: &Path) {
    let path = data_dir.join(SENTINEL);
    if path.symlink_metadata().is_ok() && held_by_file(engine).await.is_none() {
        place(engine, FILE_LOCK, LockOrigin::File, words_of(&path)).await;
    }
}

/// The lock that the file placed and that holds.
async fn held_by_file(engine: &Engine) -> Option<String> {
    let of_file = engine.ask_all(|state| {
        let mut held = state.locks.held().filter(|known| known.lock.origin == LockOrigin::File);
        held.next().map(|known| known.lock.id.clone())
    });
    of_file.await.ok()?.into_iter().flatten().flatten().next()
}

/// What the file says, as the lock's reason; its name if it says nothing.
fn words_of(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(text.get(..REASON_BYTES_MAX.min(text.len())).unwrap_or_default());
    let text = text.trim();
    if text.is_empty() { format!("the sentinel file {SENTINEL} is there") } else { text.to_owned() }
}

/// Locks everything; tries until it holds. Tells the lock's id.
async fn place(engine: &Engine, name: &str, origin: LockOrigin, reason: String) -> String {
    let lock = Lock {
        id: format!("{name}_{}", engine.now().as_micros()),
        on: LockTarget {
            tenant: String::new(),
            scope: LockScope::Everything,
            target: String::new(),
            server: String::new(),
        },
        reason,
        actor: if origin == LockOrigin::File { "sentinel file".to_owned() } else { "signal".to_owned() },
        origin,
        expires: None,
    };
    loop {
        match engine.place_lock(&lock).await {
            Ok(placed) => {
                tracing::warn!(lock = ?placed.lock.lock.id, ?origin, "everything is locked");
                return placed.lock.lock.id.clone();
            }
            Err(error) => tracing::error!(error = ?error.to_string(), ?origin, "cannot lock everything"),
        }
        sleep(RETRY_PAUSE).await;
    }
}
