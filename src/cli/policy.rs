//! `askance policy`: checks a policy file without adopting it.

use super::Global;
use super::output::{Output, table};
use crate::policy::{Policy, Rule, parse};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::ExitCode;

/// What to do with a policy.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Check a policy file: all faults at once; shows its rules in the order they are tried.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// Runs the command.
pub(super) fn run(action: &Action, global: &Global, output: &Output) -> Result<ExitCode> {
    let Action::Check { file } = action;
    let config = global.load()?;
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    match parse(&text, config.engine.mode) {
        Ok(policy) => {
            let rules: Vec<&Rule> = policy.rules().collect();
            output.result(&serde_json::json!({ "ok": true, "mode": policy.mode, "rules": rules }), || {
                format!("{name} is sound: {} rules, tried in this order\n{}", rules.len(), listed(&policy))
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            output.result(&serde_json::json!({ "ok": false, "faults": faults }), || {
                faults.iter().map(|fault| format!("{name}: {fault}\n")).collect()
            })?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn listed(policy: &Policy) -> String {
    let or_any = |text: &Option<String>| text.clone().unwrap_or_else(|| "any".to_owned());
    let row = |rule: &Rule| {
        let risk = rule.risk.map_or_else(|| "inferred".to_owned(), |risk| risk.to_string());
        let effect = rule.effect.verdict().to_string();
        [rule.id.clone(), rule.tool.clone(), or_any(&rule.server), or_any(&rule.principal), effect, risk]
    };
    table(["RULE", "TOOL", "SERVER", "PRINCIPAL", "EFFECT", "RISK"], policy.rules().map(row))
}
