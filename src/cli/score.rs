//! `askance score`: scores recorded calls offline, through the engine's own steps.
//!
//! Training calls are taken as history: those with a time in the order of time, those without in the order
//! of the files; each of their sessions ends with its last call. Test calls are scored in the order of the
//! files; sessions without times end with their last call, those with times by a pause, or when the file
//! goes back in time.

use super::output::Output;
use super::refused::Refusals;
use super::requests::Requests;
use super::trace_file::each_line;
use super::trace_line::{LineFault, TraceLine, parse_call, parse_tool};
use crate::decide::ingest::Violation;
use crate::detector::features::path_names;
use crate::detector::sentence::{Names, render};
use crate::domain::decision::{Evidence, Floor};
use crate::domain::json::Json;
use crate::offline::{Offline, Scored, Take};
use crate::stats::combine::risk_exact;
use crate::stats::millibits::MilliBits;
use anyhow::{Context, Result};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Arguments of `askance score`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Calls to learn from first, JSON lines, plain or zstd.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub train: Vec<PathBuf>,
    /// Calls to score, JSON lines, plain or zstd.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub test: Vec<PathBuf>,
    /// What the users of the sessions asked, joined by data set and session.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub sessions: Vec<PathBuf>,
    /// Definitions of tools.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub tools: Vec<PathBuf>,
    /// Where the scores go, one line a test call; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Learn nothing from the test calls.
    #[arg(long)]
    pub frozen: bool,
    /// Exit 0 even if lines were refused.
    #[arg(long)]
    pub lenient: bool,
}

/// What a run did.
#[derive(Debug, Serialize)]
struct Summary {
    trained: u64,
    scored: u64,
    refused: u64,
    seconds: f64,
    calls_per_second: f64,
}

/// One line of the output.
#[derive(Serialize)]
struct ScoreLine<'a> {
    dataset: &'a str,
    session: &'a str,
    index: u64,
    risk: f64,
    surprise: f64,
    verdict: &'static str,
    findings: Vec<FindingLine>,
}

#[derive(Serialize)]
struct FindingLine {
    detector: &'static str,
    status: &'static str,
    p_value: Option<f64>,
    bits: Option<f64>,
    observed: String,
    expected: String,
    sentence: String,
}

/// A call with the place it came from.
struct Placed {
    line: TraceLine,
    file: usize,
    number: u64,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let mut run = Run::new(output);
    for path in &args.tools {
        run.define_tools(path)?;
    }
    for path in &args.sessions {
        run.requests.read(path, output, &mut run.refusals)?;
    }
    let train = run.read_calls(&args.train)?;
    let test = run.read_calls(&args.test)?;
    let started = Instant::now();
    let trained = run.train(train, &args.train);
    if args.frozen {
        run.offline.freeze();
    }
    let writing = || format!("cannot write {}", args.out.display());
    let out: Box<dyn Write> = if args.out == Path::new("-") {
        Box::new(std::io::stdout().lock())
    } else {
        Box::new(File::create(&args.out).with_context(writing)?)
    };
    let mut out = BufWriter::with_capacity(1 << 18, out);
    let scored = run.test(test, &args.test, &mut out).with_context(writing)?;
    out.flush().with_context(writing)?;
    let seconds = started.elapsed().as_secs_f64();
    let calls_per_second = (trained + scored) as f64 / seconds.max(1e-9);
    let summary = Summary { trained, scored, refused: run.refusals.count, seconds, calls_per_second };
    let text = format!(
        "learnt {trained} calls, scored {scored}, refused {}; {calls_per_second:.0} calls/s",
        summary.refused
    );
    if args.out == Path::new("-") {
        output.note(&text);
    } else {
        output.result(&summary, || text)?;
    }
    Ok(if summary.refused > 0 && !args.lenient { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

struct Run<'o> {
    output: &'o Output,
    offline: Offline,
    requests: Requests,
    refusals: Refusals,
}

impl<'o> Run<'o> {
    fn new(output: &'o Output) -> Self {
        Self { output, offline: Offline::new(), requests: Requests::default(), refusals: Refusals::default() }
    }

    fn define_tools(&mut self, path: &Path) -> Result<()> {
        each_line(path, self.output, &mut self.refusals, |_, text| {
            let tool = parse_tool(text)?;
            self.offline.define(tool).map_err(|violations| of_violations(&violations))
        })
    }

    fn read_calls(&mut self, paths: &[PathBuf]) -> Result<Vec<Placed>> {
        let mut calls = Vec::new();
        for (file, path) in paths.iter().enumerate() {
            each_line(path, self.output, &mut self.refusals, |number, text| {
                calls.push(Placed { line: parse_call(text)?, file, number });
                Ok(())
            })?;
        }
        Ok(calls)
    }

    fn train(&mut self, mut calls: Vec<Placed>, paths: &[PathBuf]) -> u64 {
        calls.sort_by_key(|call| call.line.ts);
        let last = last_of_sessions(&calls);
        self.requests.begin();
        let mut trained = 0;
        for (place, call) in calls.iter().enumerate() {
            trained += u64::from(self.take(call, paths, Take::Train).is_some());
            if last[place] {
                self.offline.end_session(&call.line);
            }
        }
        trained
    }

    fn test(&mut self, calls: Vec<Placed>, paths: &[PathBuf], out: &mut impl Write) -> std::io::Result<u64> {
        let last = last_of_sessions(&calls);
        self.requests.begin();
        let mut count = 0;
        for (place, call) in calls.iter().enumerate() {
            if let Some(scored) = self.take(call, paths, Take::Test) {
                serde_json::to_writer(&mut *out, &score_line(&call.line, &scored))?;
                out.write_all(b"\n")?;
                count += 1;
            }
            let untimed = call.line.ts.is_none();
            let back = calls.get(place + 1).is_some_and(|next| call.line.ends_session_before(&next.line));
            if (untimed && last[place]) || (!untimed && back) {
                self.offline.end_session(&call.line);
            }
        }
        Ok(count)
    }

    fn take(&mut self, call: &Placed, paths: &[PathBuf], take: Take) -> Option<Scored> {
        let request = self.requests.next(&call.line).text;
        match self.offline.call(&call.line, &request, take) {
            Ok(scored) => Some(scored),
            Err(violations) => {
                let name = paths[call.file].display().to_string();
                self.refusals.add(self.output, &name, call.number, &of_violations(&violations));
                None
            }
        }
    }
}

/// For each call whether it is the last of its session.
fn last_of_sessions(calls: &[Placed]) -> Vec<bool> {
    let mut seen = hashbrown::HashSet::new();
    let mut last: Vec<bool> =
        calls.iter().rev().map(|call| seen.insert((&call.line.dataset, &call.line.session))).collect();
    last.reverse();
    last
}

/// The first fault that the engine's door found, with the field named as in the line.
fn of_violations(violations: &[Violation]) -> LineFault {
    let first = violations.first();
    let path = first.map_or("call", |violation| violation.field);
    LineFault {
        field: field_of_line(path).to_owned(),
        why: first.map_or_else(String::new, |violation| violation.description.clone()),
    }
}

/// The line's field behind a field of the API.
pub(super) fn field_of_line(path: &str) -> &str {
    match path {
        "call.arguments_json" => "args",
        "call.tool" => "tool",
        "call.server" => "suite",
        "call.tenant" => "dataset",
        "call.principal_chain" => "principal",
        "call.session.session_id" => "session",
        "call.call_id" => "session",
        "call.call_time" => "ts",
        "call.utc_offset_minutes" => "args.tz",
        "call.user_request" | "call.user_request.text" => "prompt",
        "outcome.result_text" => "result",
        "outcome.error_text" => "error",
        other => other,
    }
}

fn score_line<'a>(line: &'a TraceLine, scored: &Scored) -> ScoreLine<'a> {
    let decision = &scored.decision;
    let assessment = &decision.assessment;
    let floor = Floor::in_set(assessment.floors).map(Floor::risk).max().unwrap_or(0);
    let evidence = MilliBits::new(assessment.evidence);
    ScoreLine {
        dataset: &line.dataset,
        session: &line.session,
        index: line.index,
        risk: risk_exact(decision.category.base_risk(), evidence, floor),
        surprise: evidence.to_bits(),
        verdict: match decision.verdict {
            crate::domain::decision::Verdict::Allow => "ALLOW",
            crate::domain::decision::Verdict::Review => "REVIEW",
            crate::domain::decision::Verdict::Deny => "DENY",
        },
        findings: findings(scored),
    }
}

fn findings(scored: &Scored) -> Vec<FindingLine> {
    let scores = &scored.decision.assessment.scores;
    let named = scores.iter().any(|score| matches!(score.evidence, Evidence::Argument { .. }));
    let json = if named { Json::parse(&scored.arguments).ok() } else { None };
    let paths = json.as_ref().map(path_names).unwrap_or_default();
    let names = Names {
        tool: &scored.proposed.tool,
        principal: scored.proposed.principal_chain.last().map_or("", String::as_str),
        paths: &paths,
    };
    let finding = |score: &crate::domain::decision::Score| {
        let words = render(score, &names);
        let judged = score.raw.map(|_| MilliBits::new(score.surprise));
        FindingLine {
            detector: score.detector.name(),
            status: if judged.is_some() { "SCORED" } else { "ABSTAINED" },
            p_value: judged.map(MilliBits::to_p),
            bits: judged.map(MilliBits::to_bits),
            observed: words.observed,
            expected: words.expected,
            sentence: words.sentence,
        }
    };
    scores.iter().map(finding).collect()
}
