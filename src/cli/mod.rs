//! The command line: one binary, one file a command, no logic of the daemon's own.
//!
//! Every command speaks tables to people and, with `--json`, JSON to programs. Exit codes: 0 ok, 1 failure,
//! 2 usage, 3 denied, 4 review pending. Deliberately absent: what only a later issue brings (`review`,
//! `lock`, `tools`, `export`, `hook`, `mcp`).

pub mod output;
pub mod refused;
pub mod score;
pub mod trace_file;
pub mod trace_line;

use clap::{Parser, Subcommand};
use output::Output;
use std::process::ExitCode;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "askance", version, about, max_term_width = 100)]
pub struct Cli {
    /// Speak JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Score recorded calls offline.
    Score(score::Args),
}

/// Runs the command line.
pub fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let output = Output::new(cli.json);
    match &cli.command {
        Command::Score(args) => score::run(args, &output),
    }
}
