//! `askance bench --reviews`: what open reviews and their watchers cost `Evaluate`.

use super::bench::{Measured, Scratch, spawn, start_with};
use super::client::{dial, refused};
use super::output::{Output, table};
use crate::bench::load::{self, Calls};
use crate::bench::watchers::{self, Block, Compared, PER_CONNECTION, Plan};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::transport::Channel;

/// Quantiles that are compared.
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

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
    /// Calls a second.
    #[arg(long, default_value_t = 1_000.0, requires = "reviews", value_name = "COUNT")]
    rate: f64,
    /// Reviews a second that are opened meanwhile, at both daemons.
    #[arg(long, default_value_t = 2.0, requires = "reviews", value_name = "COUNT")]
    opened: f64,
    /// Blocks of four turns of half a second: plain, beside, beside, plain.
    #[arg(long, default_value_t = 20, requires = "reviews", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(2..))]
    blocks: u64,
    /// Be the watchers of this daemon: used by `bench` itself.
    #[arg(long, hide = true, value_name = "ADDRESS")]
    pub(super) be_watchers: Option<String>,
}

/// Time of a turn.
const TURN: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Report<'a> {
    plan: Plan,
    open_reviews: u64,
    watchers: usize,
    watched: &'a str,
    compared: Vec<Compared>,
}

/// Measures and tells.
pub(super) fn measure(args: &Args, seed: u64, parent: &Path, output: &Output) -> Result<ExitCode> {
    let plan = Plan {
        blocks: args.blocks,
        turn: TURN,
        per_second: args.rate,
        reviews_per_second: args.opened,
        seed,
    };
    let scratch = Scratch::make(parent)?;
    // Which of the two starts first changes with the seed.
    let mut daemons = Vec::new();
    for name in if seed.is_multiple_of(2) { ["plain", "beside"] } else { ["beside", "plain"] } {
        daemons.push((name, start_with(&scratch.0.join(name), &["--holding"])?));
    }
    daemons.sort_by_key(|(name, _)| *name == "beside");
    let addresses: Vec<&str> = daemons.iter().map(|(_, (_, address))| address.as_str()).collect();
    let [plain, beside] = addresses.as_slice() else { bail!("two daemons are needed") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let output = output.with_progress(plan.blocks, "measuring", false);
    let blocks = runtime.block_on(async {
        let (plain, loaded) = (dial(plain, None).await?, dial(beside, None).await?);
        let prepared = prepare(&plain, &loaded, &Calls::new(seed, "warm"), args.open).await;
        let calls = prepared.map_err(|status| refused(&status))?;
        let _watchers = watching(beside, args)?;
        let mut blocks: Vec<Block> = Vec::new();
        for number in 0..plan.blocks {
            let block = watchers::block(&plain, &loaded, &calls, &plan, number).await;
            blocks.push(block.map_err(|status| refused(&status))?);
            output.progress(number);
        }
        Ok::<_, anyhow::Error>(blocks)
    })?;
    output.progress_done();
    let compared = QUANTILES.map(|quantile| watchers::compare(&blocks, quantile, seed)).to_vec();
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
    // Watchers are elsewhere in real life: they get what the daemon and the load leave over.
    rustix::process::nice(19).context("cannot lower the priority")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut channels = Vec::new();
        for _ in 0..args.watchers.div_ceil(PER_CONNECTION) {
            channels.push(dial(address, None).await?);
        }
        let told = watchers::watch(&channels, &args.watched, args.watchers).await;
        let told = told.map_err(|status| refused(&status))?;
        let mut out = std::io::stdout();
        writeln!(out, "{READY}")?;
        out.flush()?;
        let read = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        tokio::task::spawn_blocking(read).await??;
        writeln!(out, "{}", told.load(Ordering::Relaxed))?;
        Ok::<(), anyhow::Error>(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Report<'_>) -> String {
    let header = ["quantile", "plain us", "beside us", "ratio", "95 % interval", "median of blocks"];
    let rows = report.compared.iter().map(|one| {
        [
            format!("{}", one.quantile),
            format!("{:.0}", one.plain_us),
            format!("{:.0}", one.beside_us),
            format!("{:.3}", one.ratio),
            format!("{:.3} to {:.3}", one.interval.0, one.interval.1),
            format!("{:.3}", one.median_of_blocks),
        ]
    });
    format!(
        "{} calls a second, {} of them reviewed; beside: {} open reviews, {} watchers of tenant {}; {} blocks\n{}",
        report.plan.per_second,
        report.plan.reviews_per_second,
        report.open_reviews,
        report.watchers,
        report.watched,
        report.plan.blocks,
        table(header, rows)
    )
}
