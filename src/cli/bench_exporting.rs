//! `askance bench --exporting`: what sending spans to a collector costs `Evaluate`.

use super::bench::{Scratch, be_part, spawn};
use super::bench_beside::{self as beside, Daemons};
use super::client::{dial, refused};
use super::output::Output;
use crate::bench::beside::{Compared, Plan};
use crate::bench::collector::Collector;
use crate::bench::load::{self, Calls};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

#[derive(Serialize)]
struct Report {
    plan: Plan,
    spans_taken: u64,
    compared: Vec<Compared>,
}

/// Measures and tells.
pub(super) fn measure(args: &beside::Args, seed: u64, parent: &Path, output: &Output) -> Result<ExitCode> {
    let plan = args.plan(0.0, seed);
    let scratch = Scratch::make(parent)?;
    let (collector, address) = spawn(&["--be-collector"])?;
    if address.is_empty() {
        bail!("the collector did not start");
    }
    let endpoint = format!("http://{address}");
    let daemons = Daemons::start(&scratch, seed, &[], &["--otlp", &endpoint])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let output = output.with_progress(plan.blocks, "measuring", false);
    let blocks = runtime.block_on(async {
        let (plain, other) = (dial(&daemons.plain, None).await?, dial(&daemons.beside, None).await?);
        let calls = Calls::new(seed, "warm");
        for channel in [&other, &plain] {
            let warm = load::warm_up(channel, &calls.apart("warm"), calls.day_len()).await;
            warm.map_err(|status| refused(&status))?;
        }
        beside::blocks(&plain, &other, &calls.apart("bench"), &plan, &output).await
    })?;
    output.progress_done();
    let spans_taken = collector.ended()?.parse().context("the collector did not say what it took")?;
    let report = Report { plan, spans_taken, compared: beside::compared(&blocks, seed) };
    output.result(&report, || text(&report))?;
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Report) -> String {
    format!(
        "{} calls a second; beside: a daemon that sends its spans to a collector, which took {}; {} blocks\n{}",
        report.plan.per_second,
        report.spans_taken,
        report.plan.blocks,
        beside::rows(&report.compared)
    )
}

/// Takes spans until the standard input ends, then says how many came.
pub(super) fn be_collector() -> Result<ExitCode> {
    be_part(async |ready| {
        let collector = Collector::default();
        ready(collector.start().await?.to_string())?;
        Ok(move || collector.taken().to_string())
    })
}
