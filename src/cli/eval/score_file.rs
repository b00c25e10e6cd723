//! Score files: `askance score` writes them, and what is read of them here is what any other program sees.

use super::run::{Bench, Key, Labelled, flags};
use crate::domain::decision::{Detector, Evidence, Score, Verdict};
use crate::evaluate::trial::{By, Marks, Trials};
use anyhow::{Context, Result};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

#[derive(Deserialize)]
struct ScoreLine {
    session: String,
    index: u64,
    risk: f64,
    surprise: f64,
    verdict: String,
    #[serde(default)]
    findings: Vec<FindingLine>,
}

#[derive(Deserialize)]
struct FindingLine {
    detector: String,
    bits: Option<f64>,
}

#[derive(Serialize)]
struct Written<'a> {
    session: &'a str,
    index: u64,
    risk: f64,
    surprise: f64,
    session_evidence: f64,
}

/// Joins a score file to labelled calls.
pub(super) fn join<'a>(
    path: &Path,
    calls: &'a [Labelled],
    bench: &Bench,
    into: &mut Trials,
    order: &mut Vec<&'a Labelled>,
) -> Result<()> {
    let name = path.display();
    let file = BufReader::new(File::open(path).with_context(|| format!("cannot open {name}"))?);
    let mut scores: HashMap<(String, u64), Marks> = HashMap::new();
    for (number, line) in file.lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        let line: ScoreLine =
            serde_json::from_str(&line).with_context(|| format!("{name}:{}: no score", number + 1))?;
        let marks = marks(&line);
        scores.insert((line.session, line.index), marks);
    }
    order.extend(calls.iter());
    let flags = flags(order);
    let mut places: HashMap<Key, u32> = HashMap::new();
    for call in order.iter() {
        let session = *places.entry(call.key()).or_insert_with(|| bench.place(call, &flags, into));
        let marks = scores.get(&(call.line.session.clone(), call.line.index)).cloned();
        into.calls.push(bench.trial(call, session, marks));
    }
    into.from_file = true;
    Ok(())
}

fn marks(line: &ScoreLine) -> Marks {
    let scores = Detector::ALL.map(|detector| {
        let bits = line.findings.iter().find(|finding| finding.detector == detector.name());
        let surprise = bits.and_then(|finding| finding.bits).map(|bits| (bits * 1_000.0).round() as i32);
        Score { detector, raw: surprise, surprise: surprise.unwrap_or(0), evidence: Evidence::None }
    });
    Marks {
        risk: line.risk,
        base: 0,
        weight: 0,
        floor: 0,
        scores,
        evidence: (line.surprise * 1_000.0).round() as i32,
        session_evidence: 0,
        threshold: i32::MAX,
        counted: false,
        verdict: match line.verdict.as_str() {
            "ALLOW" => Verdict::Allow,
            "DENY" => Verdict::Deny,
            _ => Verdict::Review,
        },
    }
}

/// Writes one line a scored call.
pub(super) fn write(path: &Path, order: &[&Labelled], trials: &Trials, from: Option<i64>) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let mut out = BufWriter::new(File::create(path).with_context(failed)?);
    let counted = order
        .iter()
        .filter(|call| from.is_none_or(|from| call.line.ts.is_none_or(|ts| ts.as_micros() >= from)));
    for (call, trial) in counted.zip(&trials.calls) {
        let Some(marks) = &trial.scored else { continue };
        let line = Written {
            session: &call.line.session,
            index: call.line.index,
            risk: marks.risk,
            surprise: marks.score(By::Evidence) / 1_000.0,
            session_evidence: f64::from(marks.session_evidence) / 1_000.0,
        };
        serde_json::to_writer(&mut out, &line).with_context(failed)?;
        out.write_all(b"\n").with_context(failed)?;
    }
    out.flush().with_context(failed)
}
