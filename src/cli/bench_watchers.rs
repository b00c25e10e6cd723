//! `askance bench --reviews`: what open reviews and their watchers cost `Evaluate`.

use super::bench::{Measured, Scratch, be_part, spawn};
use super::bench_beside::{self as beside, Daemons};
use super::client::{dial, refused};
use super::output::Output;
use crate::bench::beside::{Compared, Plan};
use crate::bench::load::{self, Calls};
use crate::bench::watchers::{self, PER_CONNECTION};
use anyhow::{Result, bail};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use tonic::transport::Channel;

/// Arguments of `askance bench --reviews`.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// Reviews that are open beside.
    #[arg(long, default_value_t = 10_000, requires = "reviews", value_name = "COUNT")]
    open: u64,
    /// Who watches reviews beside, from a process of its own at the lowest priority.
    #[arg(long, default_value_t = 1_000, value_name = "COUNT")]
    watchers: usize,
    /// The tenant whose reviews they watch: `default` is that of the load, any other one has none.
    #[arg(long, default_value = "default", value_name = "NAME")]
    watched: String,
    /// Reviews a second that are opened meanwhile, at both daemons.
    #[arg(long, default_value_t = 2.0, requires = "reviews", value_name = "COUNT")]
    opened: f64,
    /// Be the watchers of this daemon: used by `bench` itself.
    #[arg(long, hide = true, value_name = "ADDRESS")]
    pub(super) be_watchers: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    plan: Plan,
    open_reviews: u64,
    watchers: usize,
    watched: &'a str,
    compared: Vec<Compared>,
}

/// Measures and tells.
pub(super) fn measure(
    args: &Args,
    how: &beside::Args,
    seed: u64,
    parent: &Path,
    output: &Output,
) -> Result<ExitCode> {
    let plan = how.plan(args.opened, seed);
    let scratch = Scratch::make(parent)?;
    let daemons = Daemons::start(&scratch, seed, &["--holding"], &["--holding"])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let output = output.with_progress(plan.blocks, "measuring", false);
    let blocks = runtime.block_on(async {
        let (plain, loaded) = (dial(&daemons.plain, None).await?, dial(&daemons.beside, None).await?);
        let prepared = prepare(&plain, &loaded, &Calls::new(seed, "warm"), args.open).await;
        let calls = prepared.map_err(|status| refused(&status))?;
        let _watchers = watching(&daemons.beside, args)?;
        beside::blocks(&plain, &loaded, &calls, &plan, &output).await
    })?;
    output.progress_done();
    let compared = beside::compared(&blocks, seed);
    let report =
        Report { plan, open_reviews: args.open, watchers: args.watchers, watched: &args.watched, compared };
    output.result(&report, || text(&report))?;
    Ok(ExitCode::SUCCESS)
}

/// Both have learnt the same and hold about as many calls; one of them has reviews open. The calls to measure with.
async fn prepare(
    plain: &Channel,
    beside: &Channel,
    calls: &Calls,
    open: u64,
) -> Result<Calls, tonic::Status> {
    load::warm_up(beside, &calls.apart("warm"), calls.day_len()).await?;
    load::warm_up(plain, calls, calls.day_len()).await?;
    load::warm_up(plain, calls, open as usize).await?;
    watchers::open_reviews(beside, "open", open).await?;
    Ok(calls.apart("bench"))
}

/// The process of the watchers, once all of them watch.
fn watching(address: &str, args: &Args) -> Result<Option<Measured>> {
    if args.watchers == 0 {
        return Ok(None);
    }
    let count = args.watchers.to_string();
    let arguments = ["--be-watchers", address, "--watchers", &count, "--watched", &args.watched];
    let (watchers, said) = spawn(&arguments)?;
    if said != READY {
        bail!("the watchers did not come: {said}");
    }
    Ok(Some(watchers))
}

const READY: &str = "watching";

/// Watches until the standard input ends, then says how many messages came.
pub(super) fn be_watchers(address: &str, args: &Args) -> Result<ExitCode> {
    be_part(async |ready| {
        let mut channels = Vec::new();
        for _ in 0..args.watchers.div_ceil(PER_CONNECTION) {
            channels.push(dial(address, None).await?);
        }
        let told = watchers::watch(&channels, &args.watched, args.watchers).await;
        let told = told.map_err(|status| refused(&status))?;
        ready(READY.to_owned())?;
        Ok(move || told.load(Ordering::Relaxed).to_string())
    })
}

fn text(report: &Report<'_>) -> String {
    format!(
        "{} calls a second, {} of them reviewed; beside: {} open reviews, {} watchers of tenant {}; {} blocks\n{}",
        report.plan.per_second,
        report.plan.reviews_per_second,
        report.open_reviews,
        report.watchers,
        report.watched,
        report.plan.blocks,
        beside::rows(&report.compared)
    )
}
