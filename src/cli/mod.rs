//! The command line: one binary, one file a command, no logic of the daemon's own.
//!
//! Every command speaks tables to people and, with `--json`, JSON to programs. Exit codes: 0 ok, 1 failure,
//! 2 usage, 3 denied, 4 review pending.

mod bench;
mod bench_beside;
mod bench_exporting;
mod bench_memory;
mod bench_watchers;
mod client;
mod doctor;
mod eval;
mod evaluate;
mod explain;
mod export;
mod export_otlp;
mod hook;
mod import;
mod init;
mod lock;
mod mcp;
mod model;
pub mod output;
mod policy;
pub mod refused;
mod replay;
mod replay_model;
mod replay_session;
pub mod requests;
mod review;
mod review_watch;
pub mod score;
mod serve;
mod sessions;
mod settings;
mod status;
mod timeline;
mod token;
mod tools;
pub mod trace_file;
pub mod trace_line;
mod verify;

use crate::config::{Config, Origin, Sources};
use crate::telemetry::LogFormat;
use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use output::Output;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A second look at every tool call an AI agent makes.
///
/// Exit codes: 0 ok, 1 failure, 2 usage, 3 denied, 4 review pending.
#[derive(Debug, Parser)]
#[command(name = "askance", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// Speak JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Configuration file; without it `ASKANCE_CONFIG`, or askance.toml if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Set any setting: `--set engine.queue_max=512`; `askance config show` lists them.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The daemon to talk to: http://127.0.0.1:4750, unix:PATH, or https://HOST of a proxy that speaks TLS before it.
    /// Without it the socket in the data directory, then the TCP address of the configuration.
    #[arg(long, global = true, value_name = "ADDRESS", env = "ASKANCE_DAEMON")]
    daemon: Option<String>,
    /// Certificates (PEM) that a daemon at https://HOST is believed by, besides those that this machine believes.
    #[arg(long, global = true, value_name = "FILE", env = "ASKANCE_DAEMON_CA")]
    daemon_ca: Option<PathBuf>,
    /// The secret of a token, for a daemon that has tokens. Better in the environment than in a command line.
    #[arg(long, global = true, value_name = "SECRET", env = "ASKANCE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Ask no daemon: open the data directory in this process.
    #[arg(long, global = true)]
    embedded: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Serve(serve::Args),
    /// Ask for a decision about one call; exits 0 if allowed, 3 if denied, 4 if a human must look.
    Evaluate(Box<evaluate::Args>),
    /// Hand recorded calls in as history.
    Import(import::Args),
    /// Score recorded calls offline, through the engine's own steps.
    Score(score::Args),
    /// Measure how good the scores are, on labelled calls.
    Eval(Box<eval::Args>),
    /// Look at sessions.
    #[command(subcommand)]
    Sessions(sessions::Action),
    /// Export calls or events: JSON lines, CSV, OCSF, ECS, OpenTelemetry traces; once, or as they come.
    Export(export::Args),
    /// Show how the decision about a call came about, and what would have changed it.
    Explain(explain::Args),
    /// Decide recorded calls again: those of one session in the terminal, or all, also by another policy.
    Replay(replay::Args),
    /// Check everything that was promised about the bytes on disk.
    Verify(verify::Args),
    /// Show how the daemon is, and what its reviewers are asked.
    Status(status::Args),
    /// Look at what was learnt and what is fitted outside.
    #[command(subcommand)]
    Model(model::Action),
    /// Look at what waits for a human, and vote.
    #[command(subcommand)]
    Review(review::Action),
    /// Stop calls at once: a session, a principal, a tool, a server, a tenant, or everything.
    Lock(lock::PlaceArgs),
    /// Lift a lock.
    Unlock(lock::LiftArgs),
    /// List locks.
    Locks(lock::ListArgs),
    /// Say who may do what.
    #[command(subcommand)]
    Token(token::Action),
    /// Stand in front of an MCP server: ask before each call of a tool.
    #[command(subcommand)]
    Mcp(mcp::Action),
    /// Answer the hook of a coding agent: its message on standard input, one line of JSON on standard output.
    Hook(hook::Args),
    /// Put a hook into each coding agent on this machine, after showing what changes; `--undo` takes it out again.
    Init(init::Args),
    /// Check, explain, test, adopt and try policies.
    Policy {
        /// The tenant.
        #[arg(long, global = true, default_value = "default")]
        tenant: String,
        #[command(subcommand)]
        action: policy::Action,
    },
    /// Look at registered tools and accept changed definitions.
    Tools {
        /// The tenant.
        #[arg(long, global = true, default_value = "default")]
        tenant: String,
        #[command(subcommand)]
        action: tools::Action,
    },
    /// Look at the configuration.
    #[command(subcommand)]
    Config(settings::Action),
    /// Measure this machine, or make traffic to try askance with.
    Bench(bench::Args),
    /// Check this machine, the data directory and the daemon.
    Doctor(doctor::Args),
    /// Print a shell's completions.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Runs the command line.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let Cli { global, command } = cli;
    let output = Output::new(global.json);
    match command {
        Command::Serve(args) => serve::run(&args, &global),
        Command::Evaluate(args) => wait(evaluate::run(*args, &global, &output)),
        Command::Import(args) => wait(import::run(args, &global, &output)),
        Command::Score(args) => score::run(&args, &output),
        Command::Eval(args) => eval::run(&args, &output),
        Command::Sessions(action) => wait(sessions::run(action, &global, &output)),
        Command::Export(args) => wait(export::run(args, &global, &output)),
        Command::Explain(args) => wait(explain::run(args, &global, &output)),
        Command::Replay(args) => match args.session()? {
            Some(wanted) => wait(replay_session::run(wanted, &global, &output)),
            None => replay::run(&args, &global, &output),
        },
        Command::Verify(args) => verify::run(&args, &global, &output),
        Command::Status(args) => wait(status::run(args, &global, &output)),
        Command::Model(action) => wait(model::run(action, &global, &output)),
        Command::Policy { tenant, action } => wait(policy::run(action, &tenant, &global, &output)),
        Command::Tools { tenant, action } => wait(tools::run(action, &tenant, &global, &output)),
        Command::Review(action) => wait(review::run(action, &global, &output)),
        Command::Lock(args) => wait(lock::place(args, &global, &output)),
        Command::Unlock(args) => wait(lock::lift(args, &global, &output)),
        Command::Locks(args) => wait(lock::list(args, &global, &output)),
        Command::Token(action) => wait(token::run(action, &global, &output)),
        Command::Mcp(action) => mcp::run(action, &global, &output),
        Command::Hook(args) => hook::run(&args, &global),
        Command::Init(args) => init::run(&args, &global, &output),
        Command::Config(action) => settings::run(&action, &global, &output),
        Command::Bench(args) => bench::run(&args, &global, &output),
        Command::Doctor(args) => wait(doctor::run(args, &global, &output)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "askance", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// An error with its causes, leaving out those that the text before tells already.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    text
}

/// Runs a command that talks to a daemon; it logs what is wrong, and no more.
fn wait(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    crate::telemetry::init(LogFormat::Text, "warn", None)?;
    let runtime = runtime()?;
    let code = runtime.block_on(command);
    runtime.shutdown_background();
    code
}

/// A runtime for requests. One core is left to the engine's and the committer's threads: on two cores a
/// second thread for requests only makes all of them wait for each other.
fn runtime() -> Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(cores.saturating_sub(1).max(1));
    builder.enable_all().thread_name("askance-rpc").build().context("cannot start the runtime")
}

/// Where what belongs to this user and to no project is kept.
fn state_dir(home: &Path) -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    state.unwrap_or_else(|| home.join(".local/state")).join("askance")
}

impl Global {
    /// Where settings come from, with these flags on top.
    fn sources(&self, own: Vec<(String, String)>) -> Result<Sources> {
        let mut flags = Vec::new();
        for setting in &self.set {
            let (key, value) =
                setting.split_once('=').with_context(|| format!("--set {setting}: give KEY=VALUE"))?;
            flags.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        if let Some(dir) = &self.data_dir {
            let dir = dir.to_str().context("--data-dir: the path is not UTF-8")?;
            flags.push(("data_dir".to_owned(), dir.to_owned()));
        }
        flags.extend(own);
        Ok(Sources::of_process(self.config.clone(), flags))
    }

    /// The data directory, if anybody named one.
    fn named_data_dir(&self) -> Result<Option<PathBuf>> {
        let loaded = self.sources(Vec::new())?.load()?;
        let named = loaded.origins.get("data_dir").is_some_and(|origin| *origin != Origin::Default);
        Ok(named.then(|| loaded.config.data_dir().to_owned()))
    }

    /// The settings.
    fn load(&self) -> Result<Config> {
        Ok(self.sources(Vec::new())?.load()?.config)
    }
}
