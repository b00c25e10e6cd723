//! `askance verify`: checks everything that was promised about the bytes on disk, and that each snapshot is
//! what folding the log gives. Reads only; a daemon may be at work beside it.

use super::Global;
use super::output::{Output, table};
use super::replay::open_logs;
use crate::app::log_options;
use crate::config::Config;
use crate::detector::sentence::shown;
use crate::domain::hex::hex;
use crate::engine::{Verified, verify};
use crate::eventlog::{self, Log};
use anyhow::Result;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Faults of a partition that are shown.
const SHOWN_MAX: usize = 50;

/// Arguments of `askance verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

#[derive(Default, Serialize)]
struct PartitionCheck {
    partition: u32,
    dir: PathBuf,
    records: u64,
    bytes: u64,
    payloads: u64,
    payloads_erased: u64,
    index_entries: u64,
    snapshots: u64,
    snapshots_equal_to_fold: u64,
    head_position: u64,
    head_hash: String,
    state_digest: Option<String>,
    faults: u64,
    first_faults: Vec<FaultLine>,
    next: Option<String>,
}

#[derive(Serialize)]
struct FaultLine {
    area: String,
    position: u64,
    what: String,
}

/// Runs the command.
pub(super) fn run(_args: &Args, global: &Global, output: &Output) -> Result<ExitCode> {
    let config = global.load()?;
    let mut checks = Vec::new();
    for (partition, dir, log) in open_logs(&config)? {
        checks.push(check(partition, &dir, log, &config, output)?);
    }
    let faults: u64 = checks.iter().map(|check| check.faults).sum();
    output.result(&checks, || text(&checks))?;
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(
    partition: u32,
    dir: &Path,
    log: Result<Log, eventlog::Error>,
    config: &Config,
    output: &Output,
) -> Result<PartitionCheck> {
    let mut found = PartitionCheck { partition, dir: dir.to_owned(), ..PartitionCheck::default() };
    let log = match log {
        Ok(log) => log,
        Err(error) => {
            found.faults = 1;
            let position = 0;
            found.first_faults.push(FaultLine { area: "open".to_owned(), position, what: error.to_string() });
            if !error.is_data_loss() {
                return Ok(found);
            }
            // What is left is checked all the same: it says how far the log is good.
            let options = eventlog::Options { partition, ..log_options(config) };
            match Log::open_salvage(dir, &options) {
                Ok(log) => log,
                Err(_) => return Ok(found),
            }
        }
    };
    let bar = output.with_progress(log.position().get(), "checking", false);
    let verified = verify(&log, |progress| bar.progress(progress.done.get()))?;
    bar.progress_done();
    take(&mut found, &verified);
    found.next = next_step(&found, config.data_dir());
    Ok(found)
}

fn take(found: &mut PartitionCheck, verified: &Verified) {
    let log = &verified.log;
    found.records = log.records;
    found.bytes = log.bytes;
    found.payloads = log.payloads;
    found.payloads_erased = log.payloads_erased;
    found.index_entries = log.index_entries;
    found.snapshots = log.snapshots;
    found.snapshots_equal_to_fold = verified.snapshots_equal;
    found.head_position = log.head.0.get();
    found.head_hash = hex(&log.head.1);
    found.state_digest = verified.state_digest.map(|digest| hex(&digest));
    found.faults += log.faults_total;
    found.first_faults.extend(log.faults.iter().take(SHOWN_MAX).map(|fault| FaultLine {
        area: fault.area.to_owned(),
        position: fault.position.get(),
        what: fault.what.clone(),
    }));
}

/// The command that comes next, if something is wrong.
fn next_step(found: &PartitionCheck, data_dir: &Path) -> Option<String> {
    if found.faults == 0 {
        return None;
    }
    let dir = data_dir.display();
    let only_indexes = found.first_faults.iter().all(|fault| is_index(&fault.area));
    Some(if only_indexes {
        format!("the records are sound and an index is not: askance serve --data-dir {dir} --rebuild-index")
    } else {
        format!(
            "stop the daemon, keep a copy (cp -a {dir} {dir}.damaged), and restore the newest backup that verifies"
        )
    })
}

fn is_index(area: &str) -> bool {
    matches!(area, "stream" | "call" | "tool")
}

fn text(checks: &[PartitionCheck]) -> String {
    let row = |check: &PartitionCheck| {
        [
            check.partition.to_string(),
            check.records.to_string(),
            check.payloads.to_string(),
            check.index_entries.to_string(),
            format!("{} of {}", check.snapshots_equal_to_fold, check.snapshots),
            check.faults.to_string(),
            check.state_digest.as_deref().unwrap_or("-").chars().take(16).collect(),
        ]
    };
    let head = [
        "PARTITION",
        "RECORDS",
        "PAYLOADS",
        "INDEX ENTRIES",
        "SNAPSHOTS EQUAL TO FOLD",
        "FAULTS",
        "STATE DIGEST",
    ];
    let mut text = table(head, checks.iter().map(row));
    for check in checks {
        for fault in &check.first_faults {
            text.push_str(&format!(
                "\n{}: {} at position {}: {}",
                check.dir.display(),
                fault.area,
                fault.position,
                shown(&fault.what)
            ));
        }
        let shown_faults = check.first_faults.len() as u64;
        if check.faults > shown_faults {
            text.push_str(&format!("\nand {} further faults", check.faults - shown_faults));
        }
        if let Some(next) = &check.next {
            text.push_str(&format!("\nnext: {next}"));
        }
    }
    text
}
