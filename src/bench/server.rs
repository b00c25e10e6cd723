//! The daemon under measurement, with both ceilings beside it on the same server.

use super::ceilings::{Append, Echo};
use crate::clock::Clock;
use crate::decide::Settings;
use crate::domain::decision::Mode;
use crate::engine::{Engine, Options};
use crate::eventlog;
use crate::proto::v1::{Decision, Detector, Finding, FindingStatus, RiskCategory, Verdict};
use crate::rpc::{self, Bound, Extra};
use std::net::SocketAddr;
use std::path::Path;

/// Everything is whitelisted: what is measured is the common case, not the rendering of sentences.
const POLICY: &str = "version: 1\ndefaults: {low: allow, medium: allow, high: allow, critical: allow}\n";

/// Only calls of one tool are reviewed: a load at its own time looks odd now and then, and would open reviews of its own.
const HOLDING: &str = "version: 1
mode: observe
rules:
  - {id: held, tool: bench_held, effect: review, mode: enforce}
";

/// A bound server and its engine.
pub struct Bench {
    /// The server; to be run.
    pub bound: Bound,
    /// The engine behind it; to be stopped after the server.
    pub engine: Engine,
}

/// Opens an engine and the bare append in `dir`, and binds a server for all three on a free port. `holding`: calls of
/// [`super::watchers::HELD`] are reviewed.
pub fn open(dir: &Path, holding: bool) -> anyhow::Result<Bench> {
    let options = Options {
        dir: dir.join("askance"),
        partitions: 1,
        queue_max: 4_096,
        snapshot_every: 1_000_000,
        policy_text: if holding { HOLDING } else { POLICY }.to_owned(),
        mode: Mode::Enforce,
        // The load tells its own time, in which its agents are in no hurry.
        settings: Settings { skew_max_us: i64::MAX, ..Settings::default() },
        log: eventlog::Options { ballast_bytes: 0, ..eventlog::Options::default() },
        mask_key: [9; 32],
        clock: Clock::system(),
    };
    let (engine, _) = Engine::open(&options)?;
    let append = Append::open(&dir.join("append"), answer())?;
    let options = rpc::Options {
        tcp: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        unix: None,
        ..rpc::Options::default()
    };
    let extras = [Extra::new(Echo::new(answer())), Extra::new(append)];
    let bound = Bound::bind(engine.clone(), options, extras)?;
    Ok(Bench { bound, engine })
}

/// An answer of the size that `Evaluate` gives to an ordinary whitelisted call.
fn answer() -> Decision {
    let finding = |detector: Detector| Finding {
        detector: detector.into(),
        status: FindingStatus::Scored.into(),
        p_value: 0.5,
        surprise_millibits: 1_000,
        raw_millibits: 1_000,
        ..Finding::default()
    };
    let detectors = [
        Detector::Time,
        Detector::Rate,
        Detector::Sequence,
        Detector::Context,
        Detector::Arguments,
        Detector::Novelty,
        Detector::Results,
    ];
    Decision {
        verdict: Verdict::Allow.into(),
        enforced: true,
        risk: 10,
        findings: detectors.map(finding).to_vec(),
        category: RiskCategory::Low.into(),
        position: 1_000_000,
        session_key: "0".repeat(32),
        session_id: "agent:operator-0/0-0-0000".to_owned(),
        arguments_digest: vec![7; 32].into(),
        call_digest: vec![7; 32].into(),
        call_id: "0".repeat(20),
        reason: "allowed by the default of its category".to_owned(),
        policy_revision: "2".to_owned(),
        ..Decision::default()
    }
}
