//! `askance replay --all`: folds the log again, decides every call anew, and compares; by the recorded policy, which
//! must give every decision bit for bit, or by another one or another model, which shows what would change.
//!
//! Reads the data directory only; a daemon may be at work beside it. A single session: `replay_session`.

use super::Global;
use super::output::{Output, table};
use super::replay_model;
use super::replay_session::Wanted;
use crate::app::{log_options, partition_dirs};
use crate::config::Config;
use crate::detector::sentence::shown;
use crate::domain::decision::Decision;
use crate::domain::hex::hex;
use crate::domain::position::Position;
use crate::engine::{Change, Changed, Plan, ReplayReport, Step, replay_with};
use crate::eventlog::{self, Log};
use crate::policy::{self, Policy};
use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Differences that are shown.
const SHOWN_MAX: usize = 20;

/// Arguments of `askance replay`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A session's key, the first 6 or more digits of it, or its id. Without it the whole log is replayed.
    #[arg(conflicts_with_all = ["all", "fold_only", "to"])]
    session: Option<String>,
    /// Replay the whole log. This is also what happens where nothing is named.
    #[arg(long)]
    all: bool,
    /// Decide by this policy instead of the recorded ones, and show what would change.
    #[arg(long, value_name = "FILE", conflicts_with = "fold_only")]
    policy: Option<PathBuf>,
    /// Decide by this model instead of what was used: a directory or a file as `askance model` writes them.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["fold_only", "session"])]
    model: Option<PathBuf>,
    /// Tenant of the session; without it every tenant is looked through.
    #[arg(long, value_name = "NAME", requires = "session")]
    tenant: Option<String>,
    /// Pace of a session: 1 as it happened, 10x ten times as fast. Without it there are no pauses.
    #[arg(long, value_name = "FACTOR", requires = "session", value_parser = factor)]
    speed: Option<f64>,
    /// Replay a session up to this position of the log.
    #[arg(long, value_name = "POSITION", requires = "session")]
    at: Option<u64>,
    /// Only fold, and print the state's digest: decide nothing anew.
    #[arg(long)]
    fold_only: bool,
    /// Replay up to this position of each partition.
    #[arg(long, value_name = "POSITION")]
    to: Option<u64>,
}

fn factor(text: &str) -> Result<f64, String> {
    let digits = text.strip_suffix('x').unwrap_or(text);
    let factor: f64 = digits.parse().map_err(|_| "give a factor such as 10x".to_owned())?;
    if factor > 0.0 && factor.is_finite() { Ok(factor) } else { Err("give a factor over 0".to_owned()) }
}

impl Args {
    /// The session to replay, if one is named.
    pub(super) fn session(&self) -> Result<Option<Wanted<'_>>> {
        let Some(session) = &self.session else { return Ok(None) };
        let policy = self.policy.as_deref().map(policy_text).transpose()?;
        let (tenant, at, speed) = (self.tenant.as_ref(), self.at, self.speed);
        Ok(Some(Wanted { session, tenant, at, speed, policy }))
    }
}

fn policy_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The policy in a file, checked.
fn policy_of(path: &Path, config: &Config) -> Result<Policy> {
    policy::parse(&policy_text(path)?, config.engine.mode, crate::clock::Clock::system().now()).map_err(
        |faults| {
            let faults: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
            anyhow!("the policy {} is not accepted:{faults}", path.display())
        },
    )
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
    verdicts_differing: u64,
    changes: Vec<ChangeLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reviewed: Option<replay_model::ReviewedLine>,
    differences: Vec<DifferenceLine>,
}

#[derive(Serialize)]
struct ChangeLine {
    rule: String,
    from: String,
    to: String,
    calls: u64,
    examples: Vec<String>,
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

/// Runs the command.
pub(super) fn run(args: &Args, global: &Global, output: &Output) -> Result<ExitCode> {
    let config = global.load()?;
    let policy = args.policy.as_deref().map(|path| policy_of(path, &config)).transpose()?;
    let model = args.model.as_deref().map(replay_model::read).transpose()?;
    let another = policy.is_some() || model.is_some();
    let plan = Plan { fold_only: args.fold_only, policy, model, ..Plan::default() };
    let mut replays = Vec::new();
    for (partition, dir, log) in open_logs(&config)? {
        let log = log.with_context(|| format!("cannot read {}", dir.display()))?;
        let to = args.to.map_or(log.position(), Position::new).min(log.position());
        let bar = output.with_progress(to.get(), "replaying", false);
        let started = Instant::now();
        let report = replay_with(&log, to, &plan, |step| {
            if let Step::Progress(at, _) = step {
                bar.progress(at.get());
            }
            ControlFlow::Continue(())
        })?;
        bar.progress_done();
        replays.push(partition_replay(partition, &report, started.elapsed().as_secs_f64()));
    }
    let differing: u64 = replays.iter().map(|replay| replay.differing).sum();
    output.result(&replays, || text(&replays))?;
    // By another policy decisions may differ: that is what was asked for.
    Ok(if differing == 0 || another { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
        verdicts_differing: report.verdicts_differing,
        changes: changes(report),
        reviewed: replay_model::reviewed(&report.reviewed),
        state_digest: hex(&report.state_digest),
        seconds,
        differences: differences.collect(),
    }
}

fn changes(report: &ReplayReport) -> Vec<ChangeLine> {
    let line = |((rule, from, to), changed): (&Change, &Changed)| ChangeLine {
        rule: rule.clone(),
        from: from.to_string(),
        to: to.to_string(),
        calls: changed.calls,
        examples: changed.examples.clone(),
    };
    let mut changes: Vec<ChangeLine> = report.changes.iter().map(line).collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.calls));
    changes
}

fn in_short(decision: &Decision) -> String {
    format!(
        "{} risk {} evidence {} threshold {} rule `{}`",
        decision.verdict,
        decision.assessment.risk,
        decision.assessment.evidence,
        decision.threshold,
        shown(&decision.rule_id)
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
    let changes: Vec<&ChangeLine> = replays.iter().flat_map(|replay| &replay.changes).collect();
    if !changes.is_empty() {
        let row = |change: &&ChangeLine| {
            let rule = if change.rule.is_empty() { "(default)".to_owned() } else { shown(&change.rule) };
            let examples: Vec<String> = change.examples.iter().map(|id| shown(id)).collect();
            [change.from.clone(), change.to.clone(), change.calls.to_string(), rule, examples.join(" ")]
        };
        text.push_str("\n\n");
        text.push_str(&table(
            ["VERDICT", "WOULD BE", "CALLS", "BY RULE", "FOR EXAMPLE"],
            changes.iter().map(row),
        ));
        text.push('\n');
    }
    for replay in replays {
        if let Some(reviewed) = &replay.reviewed {
            text.push_str(&format!("\npartition {}: {}", replay.partition, reviewed.in_words()));
        }
        for difference in &replay.differences {
            text.push_str(&format!(
                "\npartition {} position {}: recorded {}; now {}",
                replay.partition, difference.position, difference.recorded, difference.now
            ));
        }
    }
    text
}
