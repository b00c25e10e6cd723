//! Writes what is built in: the table that classifies tools, and the priors of a cold start, with a card each.
//! `models/` in the source is exactly this, and a test says so.

use super::super::output::Output;
use crate::domain::risk::{Capabilities, RiskCategory};
use crate::policy::category;
use crate::projection::{SESSION_TICKETS_MAX, Wanted};
use crate::stats::tracker::Budget;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `askance model export`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The directory to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

const RISK_CARD: &str = "# tool-risk

The table of words by which a tool that nobody registered gets its base risk and its capabilities (`src/policy/category.rs`).

- What: the first known verb of a tool's name sets the category; further words, nouns and the description add capabilities;
  MCP annotations may raise, never lower. No known verb: HIGH.
- From which data: written by hand from the names of common tools. No trace, no label and no injected text was used.
- Measured how: There are no labels of tools' risk to measure it against: an
  operator's own category goes before it.
- Limits: English words; a name that lies is believed until its definition or its use says otherwise.
- Made by: `askance model export --out models`
";

const PRIORS_CARD: &str = "# priors

What is assumed of a tenant before anything is known of it, and the numbers of the review budget.

- What: constants of the statistics (`src/stats`, `src/detector`) that stand in for data: with data, each is outweighed.
- From which data: synthetic traffic with known truth; no real trace. With no observation every calibrator hands its
  surprise through, and every detector abstains below its least number of observations.
- Measured how: the first week of made-up office traffic sends at most 1 % of calls to review (`decide::null_tests`), and traffic in which
  nothing is wrong shows 1 % evidence on 0.4 to 2 % of calls after five weeks, in three rhythms.
- Limits: a tenant whose first days are an attack learns the attack; history can be imported first.
- Made by: `askance model export --out models`
";

/// Runs the command.
pub(in crate::cli) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let dir = &args.out;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let files = [
        ("tool-risk.json", pretty(&tool_risk())?),
        ("tool-risk.md", RISK_CARD.to_owned()),
        ("priors.json", pretty(&priors())?),
        ("priors.md", PRIORS_CARD.to_owned()),
    ];
    for (name, text) in &files {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    output.result(&names, || format!("wrote {} to {}", names.join(", "), dir.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn pretty(value: &Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn tool_risk() -> Value {
    let verbs: Vec<Value> = category::verbs()
        .into_iter()
        .map(|(category, verbs)| json!({"category": category.to_string(), "base_risk": category.base_risk(), "verbs": verbs}))
        .collect();
    let [by_read, by_word] = category::capabilities();
    json!({"version": 1, "unknown": RiskCategory::High.to_string(), "categories": verbs,
        "capabilities_by_what_is_read": words(by_read), "capabilities_by_word": words(by_word)})
}

fn words(table: &[(Capabilities, &[&str])]) -> Vec<Value> {
    let name = |capability: Capabilities| {
        let named = Capabilities::NAMES.iter().find(|(known, _)| *known == capability);
        named.map_or("", |(_, name)| name)
    };
    table.iter().map(|(capability, words)| json!({"capability": name(*capability), "words": words})).collect()
}

/// What is assumed before anything is known, as it is compiled in.
pub(in crate::cli) fn priors() -> Value {
    let (budget, wanted) = (Budget::default(), Wanted::default());
    json!({
        "version": 1,
        "state_version": crate::projection::STATE_VERSION,
        "budget": {
            "rate_ppm": wanted.rate_ppm, "audit_ppm": wanted.audit_ppm, "step_millibits": budget.eta,
            "threshold_least_millibits": budget.tau_min.as_i32(), "hard_millibits": budget.tau_hard.as_i32(),
            "session_tickets_max": SESSION_TICKETS_MAX,
        },
        "risk": RiskCategory::ALL.map(|category| json!({
            "category": category.to_string(), "base_risk": category.base_risk(), "weight_millibits": category.weight_millibits(),
        })),
        "learning": {
            "calls_of_a_session_in_full": crate::detector::learn::CALLS_MAX,
            "tools_of_a_session": crate::detector::learn::TOOLS_MAX,
            "arguments_of_a_session": crate::detector::learn::ARGUMENTS_MAX,
            "expected_again_counts_as": crate::detector::models::EXPECTED,
            "half_life_weeks": crate::stats::decay::HALF_LIFE_WEEKS,
            "half_life_days_of_rates": crate::stats::decay::HALF_LIFE_DAYS,
        },
    })
}
