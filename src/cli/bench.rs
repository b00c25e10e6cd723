//! `askance bench`: measures `Evaluate` beside its two ceilings, or makes traffic for those who have none.

use super::output::{Output, table};
use super::{Global, bench_beside, bench_exporting, bench_memory, bench_watchers};
use crate::bench::attacks;
use crate::bench::load::Calls;
use crate::bench::memory::Part;
use crate::bench::report::{self, OpenRow, Report, Row};
use crate::bench::server;
use crate::bench::traffic::World;
use crate::clock::Clock;
use crate::domain::Timestamp;
use crate::export::otlp::live::{self, Live};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

/// Time of one turn: all turns and the warm-up take less than 50 s.
const SLICE: Duration = Duration::from_millis(400);
/// Microseconds in a day.
const DAY_US: i64 = 86_400_000_000;

/// Draws of attacks.
const DRAWS: u32 = 10;
/// Attacks of each kind in a draw.
const EACH: u32 = 4;
/// Days in which they lie: the last ones.
const PLANTED_DAYS: i64 = 28;

/// Arguments of `askance bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write traffic to this file instead (`-`: standard output), in the format that `import` reads.
    #[arg(long, value_name = "FILE")]
    generate: Option<PathBuf>,
    /// Days of traffic to generate.
    #[arg(long, default_value_t = 35, requires = "generate", value_parser = clap::value_parser!(i64).range(1..=3650))]
    days: i64,
    /// First day, such as 2025-10-13. Default: so that the last day is yesterday.
    #[arg(long, requires = "generate", value_name = "DATE")]
    first_day: Option<String>,
    /// Agents of the company whose traffic it is.
    #[arg(long, default_value_t = 12, requires = "generate")]
    agents: usize,
    /// Write attacks on that traffic to this file: draws for `askance eval --replicas`, over the last four weeks.
    #[arg(long, requires = "generate", value_name = "FILE")]
    plant: Option<PathBuf>,
    /// Another seed makes another company.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the measured daemon puts its log; a temporary directory is made there. Default: here.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Measure the memory of live sessions and of a tenant with full tables instead.
    #[arg(long, conflicts_with = "generate")]
    memory: bool,
    /// Keep a daemon under full load for this long instead, such as 10m, and look at its memory.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["generate", "memory"], value_parser = time)]
    soak: Option<Duration>,
    /// Measure one of these in this process: used by `bench` itself.
    #[arg(long, hide = true, value_enum)]
    memory_of: Option<Part>,
    /// The measured daemon also sends its spans to this collector: what that costs shows beside a run without.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["generate", "memory", "soak"])]
    otlp: Option<String>,
    /// Measure what open reviews and those who watch them cost `Evaluate` instead.
    #[arg(long, group = "beside", conflicts_with_all = ["generate", "memory", "soak", "otlp"])]
    reviews: bool,
    #[command(flatten)]
    watching: bench_watchers::Args,
    /// Measure what sending spans to a collector (one of our own, that takes them all) costs `Evaluate` instead.
    #[arg(long, group = "beside", conflicts_with_all = ["generate", "memory", "soak", "otlp", "reviews"])]
    exporting: bool,
    #[command(flatten)]
    beside: bench_beside::Args,
    /// Be that collector: used by `bench` itself.
    #[arg(long, hide = true)]
    be_collector: bool,
    /// Be the measured daemon, in this directory: used by `bench` itself.
    #[arg(long, hide = true, value_name = "DIR")]
    be_server: Option<PathBuf>,
    /// That daemon reviews calls of one tool.
    #[arg(long, hide = true)]
    holding: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, _global: &Global, output: &Output) -> Result<ExitCode> {
    if let Some(dir) = &args.be_server {
        return be_server(dir, args.otlp.as_ref(), args.holding);
    }
    if let Some(address) = &args.watching.be_watchers {
        return bench_watchers::be_watchers(address, &args.watching);
    }
    if args.be_collector {
        return bench_exporting::be_collector();
    }
    if args.reviews {
        return bench_watchers::measure(&args.watching, &args.beside, args.seed, args.dir(), output);
    }
    if args.exporting {
        return bench_exporting::measure(&args.beside, args.seed, args.dir(), output);
    }
    if let Some(part) = args.memory_of {
        return bench_memory::part(part, output);
    }
    if args.memory {
        return bench_memory::measure(output);
    }
    if let Some(time) = args.soak {
        return bench_memory::soak(time, args.seed, args.dir(), output);
    }
    match &args.generate {
        Some(file) => generate(file, args, output),
        None => measure(args, output),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    <Duration as crate::config::Value>::parse(text)
}

impl Args {
    fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new("."))
    }
}

fn generate(file: &Path, args: &Args, output: &Output) -> Result<ExitCode> {
    let mut world = World::new(args.seed, args.agents, first_day_us(args)?);
    if let Some(planted) = &args.plant {
        plant(planted, args, &world, output)?;
    }
    let mut out = created(file)?;
    let mut calls = 0_u64;
    for day in 0..args.days {
        for line in world.day(day) {
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")?;
            calls += 1;
        }
    }
    out.flush()?;
    if file != Path::new("-") {
        output.note(&format!("{calls} calls of {} days in {}", args.days, file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn created(file: &Path) -> Result<Box<dyn Write>> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::stdout().lock()));
    }
    let made = std::fs::File::create(file).with_context(|| format!("cannot create {}", file.display()))?;
    Ok(Box::new(std::io::BufWriter::new(made)))
}

/// Writes attacks on the days from the last four weeks on.
fn plant(file: &Path, args: &Args, world: &World, output: &Output) -> Result<()> {
    let mut out = created(file)?;
    let mut calls = 0_u64;
    for replica in 1..=DRAWS {
        for call in
            attacks::draw(&mut world.clone(), replica, EACH, (args.days - PLANTED_DAYS).max(0), args.days)
        {
            serde_json::to_writer(&mut out, &call)?;
            out.write_all(b"\n")?;
            calls += 1;
        }
    }
    out.flush()?;
    let kinds = attacks::Attack::ALL.len();
    output.note(&format!(
        "{calls} calls of {DRAWS} draws, {EACH} attacks of {kinds} kinds each, in {}",
        file.display()
    ));
    Ok(())
}

/// Midnight of the first day, microseconds since 1970.
fn first_day_us(args: &Args) -> Result<i64> {
    match &args.first_day {
        Some(day) => Timestamp::parse(&format!("{day}T00:00:00Z"))
            .map(Timestamp::as_micros)
            .with_context(|| format!("--first-day {day}: give a date such as 2025-10-13")),
        None => Ok((Clock::system().now().as_micros().div_euclid(DAY_US) - args.days) * DAY_US),
    }
}

fn be_server(dir: &Path, otlp: Option<&String>, holding: bool) -> Result<ExitCode> {
    crate::telemetry::init(crate::telemetry::LogFormat::Text, "warn", None)?;
    let runtime = super::runtime()?;
    runtime.block_on(async {
        let bench = server::open(dir, holding)?;
        let address = bench.bound.tcp().context("the server has no TCP address")?;
        let live = otlp.map(|endpoint| {
            let settings = live::Settings::new(endpoint.clone(), dir.to_owned());
            Live::start(&bench.engine, None, None, &settings)
        });
        let live = live.transpose()?;
        say(address.to_string())?;
        // The one who measures closes our standard input when it is done, or when it dies.
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            let _read = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            drop(ended);
        });
        bench
            .bound
            .run(async {
                let _closed = end.await;
            })
            .await?;
        if let Some(live) = live {
            live.stop().await;
        }
        bench.engine.stop().await?;
        Ok::<(), anyhow::Error>(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A temporary directory that is gone when this is dropped.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn make(parent: &Path) -> Result<Self> {
        let dir = parent.join(format!("askance-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

/// A part of the measurement, a process of its own as in real life; ended when dropped.
pub(super) struct Measured {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Measured {
    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it; the last line that it says.
    pub(super) fn ended(mut self) -> Result<String> {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Is a part beside the measured daemon: `work` tells when it is ready, and what to say once the standard input ends.
pub(super) fn be_part<S: FnOnce() -> String>(
    work: impl AsyncFnOnce(fn(String) -> Result<()>) -> Result<S>,
) -> Result<ExitCode> {
    // Such parts are elsewhere in real life: they get what the daemon and the load leave over.
    rustix::process::nice(19).context("cannot lower the priority")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let last = work(say).await?;
        let read = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        tokio::task::spawn_blocking(read).await??;
        say(last())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn say(line: String) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

pub(super) fn start(dir: &Path, otlp: Option<&String>) -> Result<(Measured, String)> {
    start_with(dir, otlp.map(|endpoint| ["--otlp", endpoint]).as_ref().map_or(&[], |more| more.as_slice()))
}

/// Starts the daemon to be measured with these further arguments; its address.
pub(super) fn start_with(dir: &Path, more: &[&str]) -> Result<(Measured, String)> {
    let dir_text = dir.to_str().context("the directory's name is not UTF-8")?;
    let (child, address) = spawn(&[&["--be-server", dir_text], more].concat())?;
    if address.is_empty() {
        bail!("the measured daemon did not start; is there room in {}?", dir.display());
    }
    Ok((child, address))
}

/// Starts this program as a part of the measurement, and waits for the first line that it says.
pub(super) fn spawn(arguments: &[&str]) -> Result<(Measured, String)> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.arg("bench").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start a part of the measurement")?;
    let out = child.stdout.take().context("a part of the measurement has no output")?;
    let mut part = Measured { child, out: BufReader::new(out) };
    let mut line = String::new();
    part.out.read_line(&mut line)?;
    Ok((part, line.trim().to_owned()))
}

fn measure(args: &Args, output: &Output) -> Result<ExitCode> {
    let scratch = Scratch::make(args.dir())?;
    let (server, address) = start(&scratch.0, args.otlp.as_ref())?;
    let output = output.with_progress(report::TURNS, "measuring", false);
    // One thread for the load, so that it takes no more than a core from the daemon.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let channel = super::client::dial(&address, None).await?;
        let calls = Calls::new(args.seed, "bench");
        let mut done = 0;
        let report = report::measure(&channel, &calls, SLICE, |turns| {
            done += turns;
            output.progress(done);
        });
        report.await.map_err(|status| super::client::refused(&status))
    })?;
    drop(server);
    output.progress_done();
    output.result(&report, || text(&report))?;
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Report) -> String {
    let header = ["what", "mode", "in flight", "per second", "p50 us", "p99 us", "p99.9 us", "of append"];
    let rows = report.rows.iter().map(|row| {
        let ceiling = |other: &&Row| {
            other.what == "append" && other.mode == row.mode && other.in_flight == row.in_flight
        };
        let append = report.rows.iter().find(ceiling).map_or(0.0, |append| append.per_second);
        [
            row.what.to_owned(),
            row.mode.to_owned(),
            row.in_flight.to_string(),
            format!("{:.0}", row.per_second),
            format!("{:.0}", row.p50_us),
            format!("{:.0}", row.p99_us),
            format!("{:.0}", row.p999_us),
            format!("{:.2}", row.per_second / append.max(1.0)),
        ]
    });
    let closed = table(header, rows);
    let header =
        ["what", "mode", "offered", "per second", "p50 us", "p99 us", "p99.9 us", "p99 of append's p50"];
    let rows = report.open_loop.iter().map(|row| {
        let beside = |other: &&OpenRow| other.what == "append" && other.mode == row.mode;
        let append = report.open_loop.iter().find(beside).map_or(0.0, |append| append.p50_us);
        [
            row.what.to_owned(),
            row.mode.to_owned(),
            format!("{:.0}", row.offered_per_second),
            format!("{:.0}", row.per_second),
            format!("{:.0}", row.p50_us),
            format!("{:.0}", row.p99_us),
            format!("{:.0}", row.p999_us),
            format!("{:.2}", row.p99_us / append.max(1.0)),
        ]
    });
    let open = table(header, rows);
    format!("{}\n{closed}\nat half of evaluate's peak, at random moments:\n{open}", report.machine)
}
