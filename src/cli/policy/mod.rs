//! `askance policy`: checks, explains and tests a policy file, also without a daemon; with one, adopts policies
//! and looks at what they do.

mod file;
mod history;
mod remote;

use super::Global;
use super::output::Output;
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to do with a policy.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Check a policy file: all faults at once; shows its rules in the order they are tried. Whether enough people
    /// can approve is counted by the daemon's tokens where one answers.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Show for a call which rules of a file are considered and why one wins.
    Explain(file::ExplainArgs),
    /// Run a file of examples with expected verdicts against a policy file.
    Test {
        /// The policy file.
        file: PathBuf,
        /// The examples: a YAML list of {tool, server, principal, args, at, risk, expect, rule}.
        examples: PathBuf,
    },
    #[command(flatten)]
    Ask(remote::Asked),
}

/// Runs the command.
pub(super) async fn run(action: Action, tenant: &str, global: &Global, output: &Output) -> Result<ExitCode> {
    match action {
        Action::Check { file } => file::check(&file, tenant, global, output).await,
        Action::Explain(args) => file::explain(&args, global, output),
        Action::Test { file, examples } => file::test(&file, &examples, global, output),
        Action::Ask(asked) => remote::run(asked, tenant, global, output).await,
    }
}
