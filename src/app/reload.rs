//! Hot reload: on SIGHUP the policy file is read again and put into force, or refused whole.

use crate::domain::decision::Mode;
use crate::engine::{Engine, Error};
use crate::policy;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// The policy file of a daemon.
#[derive(Clone, Debug)]
pub(super) struct PolicyFile {
    pub(super) path: Option<PathBuf>,
    pub(super) mode: Mode,
}

/// Reloads the policy file on each SIGHUP, for ever. A file that is not accepted changes nothing, and the
/// log says why.
pub(super) async fn on_hangup(engine: Engine, file: PolicyFile) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(fault) => {
            tracing::warn!(fault = %fault, "cannot listen for SIGHUP: the policy is read at start only");
            return;
        }
    };
    while hangups.recv().await.is_some() {
        let Some(path) = &file.path else {
            tracing::warn!(
                "SIGHUP: no policy file is set (engine.policy), so there is nothing to read again"
            );
            continue;
        };
        let read = tokio::fs::read_to_string(path).await;
        let text = match read {
            Ok(text) => text,
            Err(fault) => {
                tracing::error!(path = ?path, fault = %fault, "the policy cannot be read; the old one stays in force");
                continue;
            }
        };
        match engine.adopt_for_all(&text, file.mode).await {
            Ok(()) => {
                tracing::info!(path = ?path, "the policy was read again and is in force");
                tell_faults(&engine, &file).await;
            }
            Err(Error::Refused(refusal)) => {
                let why = Error::Refused(refusal).to_string();
                tracing::error!(path = ?path, why = ?why, "the policy is not accepted; the old one stays in force");
            }
            Err(fault) => {
                tracing::error!(path = ?path, fault = %fault, "the policy was not adopted; the old one stays in force");
            }
        }
    }
}

/// Logs what is to be said of the policy file: it may ask for people who are not there. It is in force all the same;
/// tokens may come.
pub(super) async fn tell_faults(engine: &Engine, file: &PolicyFile) {
    let Some(path) = &file.path else { return };
    let (Ok(text), Ok(around)) = (tokio::fs::read_to_string(path).await, engine.surroundings("").await)
    else {
        return;
    };
    for fault in policy::check(&text, file.mode, engine.now(), &around).faults {
        tracing::warn!(path = ?path, fault = %fault, "a remark on the policy in force");
    }
}
