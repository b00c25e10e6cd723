//! `askance mcp wrap -- COMMAND...`: a stdio server with a second look at its calls.

use super::super::Global;
use super::super::output::Output;
use super::Asking;
use crate::mcp::wrap;
use anyhow::Result;
use std::ffi::OsString;
use std::process::ExitCode;

/// Arguments of `askance mcp wrap`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    asking: Asking,
    /// The server's command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command.
pub(super) async fn run(args: Args, global: &Global, output: &Output) -> Result<ExitCode> {
    let guard = args.asking.guard(global, output)?;
    Ok(ExitCode::from(wrap::run(&args.command, guard).await?))
}
