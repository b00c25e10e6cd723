//! `askance mcp`: in front of an MCP server.

mod proxy;
mod wrap;

use super::client::{Otherwise, connect};
use super::output::Output;
use super::{Global, wait};
use crate::adapter::desk::this_user;
use crate::config::Value;
use crate::mcp::child;
use crate::mcp::gate::{Dial, Gate, Link};
use crate::mcp::guard::{Guard, Settings};
use crate::mcp::scope::{Fixed, is_name};
use anyhow::{Result, bail};
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Tries to reach a daemon, where another process may just be starting one over the same directory.
const DIALS: u32 = 4;
/// Pause between them.
const DIAL_PAUSE: Duration = Duration::from_millis(300);

/// What to stand in front of.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Run a stdio server and pass on what it and its client say; each call of a tool is asked about first.
    ///
    /// Without a daemon, the data directory is opened in this process. Exits as the server does.
    Wrap(Box<wrap::Args>),
    /// Pass on what clients and an HTTP server (streamable HTTP) say; each call of a tool is asked about first.
    Proxy(Box<proxy::Args>),
    /// Run the server, and end it with the proxy; the other half of `wrap`.
    #[command(hide = true)]
    Keep {
        /// Process whose end ends the server.
        #[arg(long)]
        parent: u32,
        /// The server's command.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// Runs the command.
pub(super) fn run(action: Action, global: &Global, output: &Output) -> Result<ExitCode> {
    match action {
        Action::Wrap(args) => wait(wrap::run(*args, global, output)),
        Action::Proxy(args) => wait(proxy::run(*args, global, output)),
        Action::Keep { parent, command } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            match runtime.block_on(child::keep(&command, parent)) {
                Ok(code) => Ok(ExitCode::from(code)),
                Err(fault) => {
                    output.note(&format!("askance: {fault:#}"));
                    Ok(ExitCode::from(child::NOT_RUN))
                }
            }
        }
    }
}

/// How calls are asked about.
#[derive(Debug, clap::Args)]
struct Asking {
    /// Name of the server for rules and history. Without it the name that the server gives itself, which it may
    /// change: name it where rules depend on it.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Who acts for whom, outermost first: `--principal user:alice --principal agent:planner`. Without it the user
    /// who runs this, and the client by the name that it gives itself.
    #[arg(long, value_name = "NAME")]
    principal: Vec<String>,
    /// Tenant.
    #[arg(long, default_value = "", value_name = "NAME")]
    tenant: String,
    /// Session id. Without it what the client says (`dev.askance/session` in `_meta`, `gen_ai.conversation.id` in its
    /// baggage), else the connection.
    #[arg(long, default_value = "", value_name = "ID", env = "ASKANCE_SESSION")]
    session: String,
    /// Id of the session that started this one, by the same source.
    #[arg(long, default_value = "", value_name = "ID", env = "ASKANCE_PARENT_SESSION")]
    parent_session: String,
    /// Take the trace id for the session's, where the client sends one; for clients whose traces last as long as
    /// their sessions.
    #[arg(long)]
    session_from_trace: bool,
    /// Name of the client. Without it the name that it gives itself.
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// How long a call that people must look at is held before its client is told to come back.
    #[arg(long, default_value = "45s", value_name = "TIME")]
    hold: String,
    /// Address of a review's page, with `{review}` in it. Clients of MCP 2026-07-28 that can open pages for their user
    /// are asked to, instead of being held.
    #[arg(long, value_name = "URL")]
    review_page: Option<String>,
    /// Time for a decision; then the daemon counts as away.
    #[arg(long, default_value = "2s", value_name = "TIME")]
    timeout: String,
    /// What runs when the daemon cannot be asked: nothing, or calls of low risk, unrecorded.
    #[arg(long, value_enum, default_value = "none")]
    when_away: WhenAway,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum WhenAway {
    /// No call runs.
    None,
    /// Calls of low risk run, as far as names and hints tell.
    Low,
}

impl Asking {
    fn settings(self) -> Result<Settings> {
        let named = [("--name", self.name.as_deref()), ("--client", self.client.as_deref())];
        let principals = self.principal.iter().map(|link| ("--principal", Some(link.as_str())));
        for (flag, name) in named.into_iter().chain(principals) {
            if name.is_some_and(|name| !is_name(name)) {
                bail!("{flag}: give 1 to 256 bytes without control or invisible characters");
            }
        }
        let names_client = self.principal.is_empty();
        let principals = if names_client { vec![this_user()] } else { self.principal };
        Ok(Settings {
            fixed: Fixed {
                tenant: self.tenant,
                principals,
                names_client,
                session: self.session,
                parent: self.parent_session,
                session_from_trace: self.session_from_trace,
            },
            server: self.name,
            client: self.client,
            hold: time("--hold", &self.hold)?,
            low_runs_unasked: self.when_away == WhenAway::Low,
            review_page: self.review_page,
        })
    }

    fn guard(self, global: &Global, output: &Output) -> Result<Arc<Guard>> {
        let timeout = time("--timeout", &self.timeout)?;
        // What is wrong with the settings is told now, not when the first call is refused.
        global.load()?;
        Ok(Arc::new(Guard::new(Gate::new(dial(global, output), timeout), self.settings()?)?))
    }
}

pub(super) fn time(flag: &str, text: &str) -> Result<Duration> {
    <Duration as Value>::parse(text).map_err(|fault| anyhow::anyhow!("{flag}: {fault}"))
}

/// Connects as every command does; with no daemon there, opens the data directory here.
fn dial(global: &Global, output: &Output) -> Dial {
    let (global, output) = (global.clone(), output.clone());
    Box::new(move || {
        let (global, output) = (global.clone(), output.clone());
        Box::pin(async move { link(&global, &output).await })
    })
}

async fn link(global: &Global, output: &Output) -> Result<Link> {
    let mut left = if global.daemon.is_some() { 1 } else { DIALS };
    loop {
        left -= 1;
        match connect(global, Otherwise::OpenOrCreate, output).await {
            Ok(connection) => return Ok(connection.link()),
            Err(fault) if left == 0 => return Err(fault),
            Err(_) => tokio::time::sleep(DIAL_PAUSE).await,
        }
    }
}
