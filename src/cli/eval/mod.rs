//! `askance eval`: how good the scores are on labelled calls.
//!
//! The calls go through the engine's own steps; what they really were is read apart and joined afterwards.

mod folds;
mod labels;
mod planted;
mod run;
mod score_file;
mod table;

use super::output::Output;
use super::refused::Refusals;
use super::requests::Requests;
use super::trace_file::each_line;
use super::trace_line::{parse_call, parse_tool};
use crate::domain::time::Timestamp;
use crate::evaluate::roc_svg::{Curve, draw};
use crate::evaluate::trial::{By, Trials};
use crate::evaluate::{Report, report};
use anyhow::{Context, Result, bail};
use folds::{Member, Protocol, folds};
use hashbrown::HashMap;
use labels::{SessionTruths, call_truth, may_teach, session_truth};
use run::{Bench, Labelled, Way};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `askance eval`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Calls to score, JSON lines with labels, plain or zstd. Other protocols than `files` learn from them, too.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub test: Vec<PathBuf>,
    /// Calls to learn from first; of sessions with an attack none is learnt.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub train: Vec<PathBuf>,
    /// Sessions: what their users asked, whether they were attacked.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub sessions: Vec<PathBuf>,
    /// Definitions of tools.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub tools: Vec<PathBuf>,
    /// How the sessions are split.
    #[arg(long, value_enum, default_value = "files")]
    pub protocol: Protocol,
    /// Learn nothing from what is scored.
    #[arg(long)]
    pub frozen: bool,
    /// Score and learn everything, but count calls from this time on only.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Share of calls that evidence may send to review.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub rate: f64,
    /// Alternative draws of planted calls: each is added to the test calls in turn.
    #[arg(long, value_name = "FILE", conflicts_with = "scores")]
    pub replicas: Option<PathBuf>,
    /// Score nothing: read the scores from what `askance score` wrote.
    #[arg(long, value_name = "FILE")]
    pub scores: Option<PathBuf>,
    /// Where the scores go, one line a call.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Where a picture of the ROC curves goes.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// What is told of an evaluation.
#[derive(Serialize)]
struct Told<'a> {
    protocol: String,
    frozen: bool,
    folds: usize,
    lines_refused: u64,
    #[serde(flatten)]
    report: &'a Report,
}

/// Runs the command.
pub(super) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let from =
        args.from.as_deref().map(|text| Timestamp::parse(text).context("--from: not a time")).transpose()?;
    let mut refusals = Refusals::default();
    let mut bench = read_bench(args, output, &mut refusals)?;
    let train = read_calls(&args.train, output, &mut refusals)?;
    let mut test = read_calls(&args.test, output, &mut refusals)?;
    // As a daemon would see them; the order within one moment is that of the files.
    if test.iter().all(|call| call.line.ts.is_some()) {
        test.sort_by_key(|call| call.line.ts);
    }
    if !(1e-6..=0.5).contains(&args.rate) {
        bail!("--rate: {} is not between 0.000001 and 0.5", args.rate);
    }
    let rate_ppm = (args.rate * 1e6).round() as u32;
    let way = Way { frozen: args.frozen, from: from.map(Timestamp::as_micros), rate_ppm };
    let mut trials = Trials::default();
    let (mut count, mut order) = (1, Vec::new());
    if let Some(path) = &args.scores {
        score_file::join(path, &test, &bench, &mut trials, &mut order)?;
    } else if let Some(path) = &args.replicas {
        let mut planted = Vec::new();
        each_line(path, output, &mut refusals, |_, text| {
            planted.push(planted::parse(text)?);
            Ok(())
        })?;
        let train = teaching(&train, &bench.sessions);
        count = planted::run(&mut bench, &train, &test, &planted, way, &mut trials);
    } else if args.protocol == Protocol::Files {
        let train = teaching(&train, &bench.sessions);
        order = test.iter().collect();
        bench.run(&train, &order, way, &mut trials);
    } else {
        if !args.train.is_empty() {
            bail!("--protocol splits the test files itself: leave --train out");
        }
        count = run_folds(args.protocol, &test, &mut bench, way, &mut trials, &mut order);
    }
    if let Some(path) = &args.out {
        score_file::write(path, &order, &trials, way.from)?;
    }
    let found = report(&trials);
    if let Some(path) = &args.svg {
        std::fs::write(path, picture(args, &trials))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let told = Told {
        protocol: format!("{:?}", args.protocol),
        frozen: args.frozen,
        folds: count,
        lines_refused: refusals.count + bench.refused,
        report: &found,
    };
    output.result(&told, || table::text(&found, count, told.lines_refused))?;
    Ok(ExitCode::SUCCESS)
}

fn read_bench(args: &Args, output: &Output, refusals: &mut Refusals) -> Result<Bench> {
    let mut bench = Bench {
        tools: Vec::new(),
        requests: Requests::default(),
        sessions: SessionTruths::new(),
        refused: 0,
    };
    for path in &args.tools {
        each_line(path, output, refusals, |_, text| {
            bench.tools.push(parse_tool(text)?);
            Ok(())
        })?;
    }
    for path in &args.sessions {
        bench.requests.read(path, output, refusals)?;
        each_line(path, output, refusals, |_, text| session_truth(text, &mut bench.sessions))?;
    }
    Ok(bench)
}

fn read_calls(paths: &[PathBuf], output: &Output, refusals: &mut Refusals) -> Result<Vec<Labelled>> {
    let mut calls = Vec::new();
    for path in paths {
        each_line(path, output, refusals, |_, text| {
            calls.push(Labelled { line: parse_call(text)?, truth: call_truth(text)? });
            Ok(())
        })?;
    }
    Ok(calls)
}

/// The calls of sessions that may be learnt from.
fn teaching<'a>(calls: &'a [Labelled], sessions: &SessionTruths) -> Vec<&'a Labelled> {
    let all: Vec<&Labelled> = calls.iter().collect();
    let flags = run::flags(&all);
    let teaches = |call: &&Labelled| {
        let key = call.key();
        let (label, obeyed) = flags.get(&key).copied().unwrap_or_default();
        may_teach(sessions.get(&key), label, obeyed)
    };
    calls.iter().filter(teaches).collect()
}

fn run_folds<'a>(
    protocol: Protocol,
    calls: &'a [Labelled],
    bench: &mut Bench,
    way: Way,
    trials: &mut Trials,
    order: &mut Vec<&'a Labelled>,
) -> usize {
    let all: Vec<&Labelled> = calls.iter().collect();
    let flags = run::flags(&all);
    let mut members: Vec<Member> = Vec::new();
    let mut places: HashMap<run::Key, usize> = HashMap::new();
    let of_call: Vec<usize> = calls
        .iter()
        .map(|call| {
            let key = call.key();
            *places.entry(key.clone()).or_insert_with(|| {
                let truth = bench.sessions.get(&key);
                let (label, obeyed) = flags.get(&key).copied().unwrap_or_default();
                members.push(Member {
                    principal: call.line.principal.clone(),
                    task: truth.map_or_else(String::new, labels::SessionTruth::task),
                    teaches: may_teach(truth, label, obeyed),
                });
                members.len() - 1
            })
        })
        .collect();
    let folds = folds(protocol, &members);
    for fold in &folds {
        let of = |side: &[bool]| -> Vec<&'a Labelled> {
            let chosen = calls.iter().zip(&of_call).filter(|(_, member)| side.get(**member) == Some(&true));
            chosen.map(|(call, _)| call).collect()
        };
        let (train, test) = (of(&fold.train), of(&fold.test));
        bench.run(&train, &test, way, trials);
        order.extend(test);
    }
    folds.len()
}

fn picture(args: &Args, trials: &Trials) -> String {
    let curve = |name: &str, points: Vec<(f64, f64)>| Curve { name: name.to_owned(), points };
    let curves = [
        curve("calls, by risk", trials.calls_by(By::Risk, None).curve()),
        curve("sessions, by highest risk", trials.sessions_by(By::Risk, None).curve()),
        curve("calls, by evidence", trials.calls_by(By::Evidence, None).curve()),
        curve("sessions, by highest evidence", trials.sessions_by(By::Evidence, None).curve()),
    ];
    let name =
        args.test.first().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    draw(&format!("{} ({:?})", name.unwrap_or_default(), args.protocol), &curves)
}
