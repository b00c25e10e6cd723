//! `askance hook CLIENT`: one message of a coding agent on standard input, one line of JSON on standard output.
//!
//! A client lets a call run when its hook is late, crashes or says something else. So the line is written by a thread
//! that waits for nothing but the time and the work, and everything that goes wrong is a no.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a hook speaks to its client and to nobody else"
)]

use super::Global;
use super::client::{Otherwise, connect};
use super::mcp::{WhenAway, time};
use super::output::Output;
use crate::adapter::desk::{Desk, Settings, this_user, unasked};
use crate::adapter::envelope::{About, BUILT_IN, Envelope, Ruling};
use crate::adapter::hook::{self, Answer, Client, MESSAGE_BYTES_MAX, Message};
use crate::adapter::memory::Memory;
use crate::mcp::gate::Gate;
use crate::mcp::scope::is_name;
use crate::telemetry::{self, LogFormat};
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// Arguments of `askance hook`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The client: claude, vscode (and Copilot CLI), codex, gemini or cursor.
    #[arg(value_parser = client)]
    client: Client,
    /// Who acts for whom, outermost first; the client stands beneath them. Without it the user who runs the client.
    #[arg(long, value_name = "NAME")]
    principal: Vec<String>,
    /// Tenant.
    #[arg(long, default_value = "", value_name = "NAME")]
    tenant: String,
    /// How long a call that people must look at is held before its client is told to come back.
    #[arg(long, default_value = "20s", value_name = "TIME")]
    hold: String,
    /// Time in which there is an answer, whatever happens. Less than the client's own for its hooks, at whose end it
    /// lets the call run.
    #[arg(long, default_value = "25s", value_name = "TIME")]
    within: String,
    /// Time for a decision; then the daemon counts as away.
    #[arg(long, default_value = "2s", value_name = "TIME")]
    timeout: String,
    /// What runs when the daemon cannot be asked: nothing, or calls of low risk, unrecorded.
    #[arg(long, value_enum, default_value = "none")]
    when_away: WhenAway,
    /// Leave tools of MCP servers to `askance mcp wrap`, which must then stand in front of every server.
    #[arg(long)]
    built_in_only: bool,
}

pub(super) fn client(name: &str) -> Result<Client, String> {
    let known = Client::ALL.map(Client::name).join(", ");
    Client::of_name(name).ok_or_else(|| format!("none of {known}"))
}

/// How a hook works, checked.
struct Terms {
    settings: Settings,
    built_in_only: bool,
    within: Duration,
    timeout: Duration,
}

impl Args {
    fn terms(&self) -> Result<Terms> {
        if self.principal.iter().any(|link| !is_name(link)) {
            bail!("--principal: give 1 to 256 bytes without control or invisible characters");
        }
        let principals = if self.principal.is_empty() { vec![this_user()] } else { self.principal.clone() };
        Ok(Terms {
            settings: Settings {
                tenant: self.tenant.clone(),
                principals,
                hold: time("--hold", &self.hold)?,
                low_runs_unasked: self.when_away == WhenAway::Low,
                ..Settings::default()
            },
            built_in_only: self.built_in_only,
            within: time("--within", &self.within)?,
            timeout: time("--timeout", &self.timeout)?,
        })
    }
}

enum Step {
    Read(Box<Message>),
    Ruled(Ruling),
}

/// Runs the command.
pub(super) fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let since = Instant::now();
    telemetry::init(LogFormat::Text, "warn", None)?;
    let client = args.client;
    // Clients take 2 for a no, and other codes for «let it run».
    let terms = match args.terms() {
        Ok(terms) => terms,
        Err(fault) => {
            return Ok(say(&hook::answer(client, &Message::missing(&format!("{fault:#}")), &Ruling::Pass)));
        }
    };
    let (within, low_runs) = (terms.within, terms.settings.low_runs_unasked);
    let (tell, told) = channel();
    let global = global.clone();
    std::thread::spawn(move || work(client, terms, &global, &tell));
    let mut message = Message::missing("nothing came in time");
    loop {
        let ruling = match told.recv_timeout(within.saturating_sub(since.elapsed())) {
            Ok(Step::Read(read)) => {
                message = *read;
                continue;
            }
            Ok(Step::Ruled(ruling)) => ruling,
            Err(_) => late(&message, low_runs),
        };
        return Ok(say(&hook::answer(client, &message, &ruling)));
    }
}

/// What holds where the work does not end in time, or not at all.
fn late(message: &Message, low_runs: bool) -> Ruling {
    match message.read.as_ref().map(|envelope| &envelope.about) {
        Ok(About::Before(call)) => unasked(call, "it does not answer in time".to_owned(), low_runs),
        _ => Ruling::Pass,
    }
}

/// Reads the message and has it ruled on.
fn work(client: Client, terms: Terms, global: &Global, tell: &Sender<Step>) {
    let message = match heard() {
        Ok(bytes) => hook::read(client, &bytes),
        Err(fault) => Message::missing(&format!("standard input cannot be read: {fault}")),
    };
    let left_to_others = |envelope: &Envelope| match &envelope.about {
        About::Before(call) | About::After(call, _) => terms.built_in_only && call.server != BUILT_IN,
        _ => false,
    };
    let envelope = message.read.as_ref().ok().filter(|envelope| !left_to_others(envelope)).cloned();
    let low_runs = terms.settings.low_runs_unasked;
    let ruling = || {
        let envelope = envelope?;
        let failed = match asked(&envelope, terms, global) {
            Ok(ruling) => return Some(ruling),
            Err(fault) => format!("{fault:#}"),
        };
        Some(match &envelope.about {
            About::Before(call) => unasked(call, failed, low_runs),
            _ => Ruling::Pass,
        })
    };
    // Nobody hears it once the time is over.
    let _heard = tell.send(Step::Read(Box::new(message)));
    let _heard = tell.send(Step::Ruled(ruling().unwrap_or(Ruling::Pass)));
}

fn heard() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MESSAGE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn asked(envelope: &Envelope, terms: Terms, global: &Global) -> Result<Ruling> {
    if envelope.about == About::Nothing {
        return Ok(Ruling::Pass);
    }
    let memory = Memory::beside(&memory_dir(global)?);
    // One thread: starting more takes longer than the whole question.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().context("cannot start the runtime")?;
    let global = global.clone();
    let dial = Box::new(move || {
        let global = global.clone();
        let connected =
            async move { Ok(connect(&global, Otherwise::Fail, &Output::new(false)).await?.link()) };
        Box::pin(connected) as crate::mcp::gate::Boxed<_>
    });
    let desk = Desk::new(Gate::new(dial, terms.timeout), memory, terms.settings);
    let ruling = runtime.block_on(async {
        let ruling = desk.rule(envelope).await;
        desk.close().await;
        ruling
    });
    runtime.shutdown_background();
    Ok(ruling)
}

/// Where hooks of this user remember: beside the daemon's data, or with a daemon elsewhere in no project's directory.
fn memory_dir(global: &Global) -> Result<PathBuf> {
    if global.daemon.is_none() {
        return Ok(global.load()?.data_dir().to_owned());
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    match (global.named_data_dir()?, home) {
        (Some(named), _) => Ok(named),
        (None, Some(home)) => Ok(super::state_dir(&home)),
        (None, None) => Ok(global.load()?.data_dir().to_owned()),
    }
}

/// Says the line, and nothing else, and how the process is to exit.
fn say(answer: &Answer) -> ExitCode {
    let mut out = std::io::stdout().lock();
    // A client that does not listen any more has decided by itself.
    let _unheard = out.write_all(format!("{}\n", answer.line).as_bytes()).and_then(|()| out.flush());
    if !answer.aside.is_empty() {
        eprintln!("{}", answer.aside);
    }
    ExitCode::from(answer.exit)
}
