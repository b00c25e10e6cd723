//! `askance replay`: folds the log again, decides every call anew, and compares.
//!
//! Reads the data directory only; a daemon may be at work beside it.

use super::Global;
use super::output::{Output, table};
use crate::app::{log_options, partition_dirs};
use crate::config::Config;
use crate::domain::decision::Decision;
use crate::domain::position::Position;
use crate::engine::{ReplayReport, replay};
use crate::eventlog::{self, Log};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Differences that are shown.
const SHOWN_MAX: usize = 20;

/// Arguments of `askance replay`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only fold, and print the state's digest: decide nothing anew.
    #[arg(long)]
    fold_only: bool,
    /// Replay up to this position of each partition.
    #[arg(long, value_name = "POSITION")]
    to: Option<u64>,
}

#[derive(Serialize)]
struct PartitionReplay {
    partition: u32,
    records: u64,
    position: u64,
    decided: u64,
    differing: u64,
    other_version: u64,
    erased: u64,
    state_digest: String,
    seconds: f64,
    differences: Vec<DifferenceLine>,
}

#[derive(Serialize)]
struct DifferenceLine {
    position: u64,
    recorded: String,
    now: String,
}

/// A partition's number, its directory, and its log if it opens.
pub(super) type OpenedLog = (u32, PathBuf, Result<Log, eventlog::Error>);

/// Opens every partition's log for reading.
pub(super) fn open_logs(config: &Config) -> Result<Vec<OpenedLog>> {
    let dirs = partition_dirs(config.data_dir())?;
    if dirs.is_empty() {
        bail!("{} holds no log; name the data directory with --data-dir", config.data_dir().display());
    }
    let open = |(partition, dir): (u32, PathBuf)| {
        let options = eventlog::Options { partition, ..log_options(config) };
        let log = Log::open_read_only(&dir, &options);
        (partition, dir, log)
    };
    Ok(dirs.into_iter().map(open).collect())
}

/// Bytes in hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Runs the command.
pub(super) fn run(args: &Args, global: &Global, output: &Output) -> Result<ExitCode> {
    let config = global.load()?;
    let mut replays = Vec::new();
    for (partition, dir, log) in open_logs(&config)? {
        let log = log.with_context(|| format!("cannot read {}", dir.display()))?;
        let to = args.to.map_or(log.position(), Position::new).min(log.position());
        let bar = output.with_progress(to.get(), "replaying", false);
        let started = Instant::now();
        let report = replay(&log, to, !args.fold_only, |at| bar.progress(at.get()))?;
        bar.progress_done();
        replays.push(partition_replay(partition, &report, started.elapsed().as_secs_f64()));
    }
    let differing: u64 = replays.iter().map(|replay| replay.differing).sum();
    output.result(&replays, || text(&replays))?;
    Ok(if differing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn partition_replay(partition: u32, report: &ReplayReport, seconds: f64) -> PartitionReplay {
    let differences = report.differences.iter().take(SHOWN_MAX).map(|difference| DifferenceLine {
        position: difference.position.get(),
        recorded: in_short(&difference.recorded),
        now: in_short(&difference.now),
    });
    PartitionReplay {
        partition,
        records: report.records,
        position: report.position.get(),
        decided: report.decided,
        differing: report.differing,
        other_version: report.other_version,
        erased: report.erased,
        state_digest: hex(&report.state_digest),
        seconds,
        differences: differences.collect(),
    }
}

fn in_short(decision: &Decision) -> String {
    format!(
        "{} risk {} evidence {} threshold {} rule `{}`",
        decision.verdict,
        decision.assessment.risk,
        decision.assessment.evidence,
        decision.threshold,
        crate::detector::sentence::shown(&decision.rule_id)
    )
}

fn text(replays: &[PartitionReplay]) -> String {
    let row = |replay: &PartitionReplay| {
        [
            replay.partition.to_string(),
            replay.records.to_string(),
            replay.decided.to_string(),
            replay.differing.to_string(),
            replay.other_version.to_string(),
            replay.erased.to_string(),
            format!("{:.0}", replay.records as f64 / replay.seconds.max(1e-9)),
            replay.state_digest.clone(),
        ]
    };
    let head = [
        "PARTITION",
        "RECORDS",
        "DECIDED ANEW",
        "DIFFERENT",
        "OTHER VERSION",
        "ERASED",
        "RECORDS/S",
        "STATE DIGEST",
    ];
    let mut text = table(head, replays.iter().map(row));
    for replay in replays {
        for difference in &replay.differences {
            text.push_str(&format!(
                "\npartition {} position {}: recorded {}; now {}",
                replay.partition, difference.position, difference.recorded, difference.now
            ));
        }
    }
    text
}
