//! What can be said of a policy file alone.

use crate::cli::Global;
use crate::cli::client::connect_if_there;
use crate::cli::output::{Output, table};
use crate::clock::Clock;
use crate::detector::sentence::shown;
use crate::domain::json::Json;
use crate::domain::time::Timestamp;
use crate::policy::examples::{self, Example};
use crate::policy::{self, Considered, Fault, Match, Outcome, Policy, Rule, Surroundings};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A call to explain.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ExplainArgs {
    /// The policy file.
    file: PathBuf,
    /// Name of the tool.
    #[arg(long)]
    tool: String,
    /// Name of its server.
    #[arg(long, default_value = "")]
    server: String,
    /// The principal chain, outermost first; give it once a link.
    #[arg(long = "principal", default_value = "user:example")]
    chain: Vec<String>,
    /// The arguments, a JSON object.
    #[arg(long, default_value = "{}", value_parser = object)]
    args: String,
    /// When the call is made, RFC 3339; now if absent.
    #[arg(long, value_parser = instant)]
    at: Option<Timestamp>,
    /// The risk to assume, 0 to 100; that of the category if absent.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=100))]
    risk: Option<u8>,
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn now() -> Timestamp {
    Clock::system().now()
}

/// Prints faults; the exit code of a file that has errors.
fn refuse(name: &str, faults: &[Fault], output: &Output) -> Result<ExitCode> {
    let told: Vec<serde_json::Value> = faults.iter().map(as_json).collect();
    output.result(&json!({ "ok": false, "faults": told }), || {
        faults.iter().map(|fault| format!("{name}:{fault}\n")).collect()
    })?;
    Ok(ExitCode::FAILURE)
}

fn as_json(fault: &Fault) -> serde_json::Value {
    json!({
        "severity": format!("{:?}", fault.severity).to_lowercase(),
        "line": fault.line,
        "column": fault.column,
        "rule": fault.rule_id,
        "message": fault.message,
        "nearest": fault.nearest,
    })
}

fn load(path: &Path, global: &Global, output: &Output) -> Result<Result<Policy, ExitCode>> {
    let mode = global.load()?.engine.mode;
    match policy::parse(&read(path)?, mode, now()) {
        Ok(policy) => Ok(Ok(policy)),
        Err(faults) => Ok(Err(refuse(&path.display().to_string(), &faults, output)?)),
    }
}

/// `askance policy check`: by the file, and by the daemon that knows who can vote, where one answers.
pub(super) async fn check(path: &Path, tenant: &str, global: &Global, output: &Output) -> Result<ExitCode> {
    let name = path.display().to_string();
    let text = read(path)?;
    let mut checked = policy::check(&text, global.load()?.engine.mode, now(), &Surroundings::Unknown);
    let mut asked = "no daemon answers: approvers are counted by the groups of this file alone".to_owned();
    let mut adoptable = checked.is_adoptable();
    if let Some(connection) = connect_if_there(global, output).await? {
        match super::remote::check(&connection, tenant, text).await {
            Ok((found, by_daemon)) => {
                asked = "approvers are counted by the daemon's tokens".to_owned();
                (checked.faults, adoptable) = (found, by_daemon);
            }
            Err(fault) => {
                asked = format!("{fault}: approvers are counted by the groups of this file alone");
            }
        }
        connection.close().await?;
    }
    output.note(&asked);
    let (true, Some(policy)) = (adoptable, &checked.policy) else {
        return refuse(&name, &checked.faults, output);
    };
    let rules: Vec<serde_json::Value> = policy
        .rules()
        .map(|rule| json!({ "id": rule.id, "line": rule.line, "tool": rule.tool, "effect": rule.effect, "risk": rule.risk }))
        .collect();
    let warnings: Vec<serde_json::Value> = checked.faults.iter().map(as_json).collect();
    let compositions = policy.compositions().len();
    let result = json!({ "ok": true, "mode": policy.mode, "rules": rules, "compositions": compositions, "faults": warnings });
    output.result(&result, || {
        let warnings: String = checked.faults.iter().map(|fault| format!("{name}:{fault}\n")).collect();
        let count = rules.len();
        format!("{warnings}{name} is sound: {count} rules, {compositions} compositions; rules are tried in this order\n{}", listed(policy))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn listed(policy: &Policy) -> String {
    let or_any = |text: &Option<String>| text.clone().unwrap_or_else(|| "any".to_owned());
    let row = |rule: &Rule| {
        let risk = rule.risk.map_or_else(|| "inferred".to_owned(), |risk| risk.to_string());
        let effect = rule.effect.verdict().to_string();
        let when = rule.when.as_ref().map_or_else(String::new, |when| when.text().to_owned());
        [
            rule.id.clone(),
            rule.tool.clone(),
            or_any(&rule.server),
            or_any(&rule.principal),
            when,
            effect,
            risk,
        ]
    };
    table(["RULE", "TOOL", "SERVER", "PRINCIPAL", "WHEN", "EFFECT", "RISK"], policy.rules().map(row))
}

/// `askance policy explain`.
pub(super) fn explain(args: &ExplainArgs, global: &Global, output: &Output) -> Result<ExitCode> {
    let policy = match load(&args.file, global, output)? {
        Ok(policy) => policy,
        Err(code) => return Ok(code),
    };
    let at = args.at.unwrap_or_else(now);
    let category = examples::category_of(&policy, &args.tool, &args.server, args.args.as_bytes());
    let example = Example {
        tool: args.tool.clone(),
        server: args.server.clone(),
        chain: args.chain.clone(),
        arguments: args.args.clone().into_bytes(),
        at,
        risk: args.risk,
        category: None,
    };
    examples::ask(&policy, &example, |outcome, considered| {
        let rules: Vec<serde_json::Value> = considered
            .iter()
            .map(|one| json!({ "id": one.rule.id, "line": one.rule.line, "became": why(one), "principal": one.principal }))
            .collect();
        let result = json!({
            "verdict": outcome.effect.verdict().to_string(),
            "rule": outcome.rule.map(|rule| rule.id.clone()),
            "category": outcome.category,
            "category_because": why_category(outcome, &category),
            "reason": reason(outcome),
            "considered": rules,
        });
        output.result(&result, || {
            let rows = considered
                .iter()
                .map(|one| [one.rule.id.clone(), one.rule.line.to_string(), shown(&one.principal), why(one)]);
            let rows = table(["RULE", "LINE", "FOR", "WHAT BECAME OF IT"], rows);
            let rows = if considered.is_empty() {
                "no rule of the file names this tool, server and chain".to_owned()
            } else {
                rows
            };
            let verdict = outcome.effect.verdict().to_string().to_uppercase();
            let why = why_category(outcome, &category);
            format!("{verdict}  category {}: {}\n{}\n{rows}", outcome.category, shown(&why), reason(outcome))
        })
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Where the category comes from.
fn why_category(outcome: &Outcome<'_>, inferred: &str) -> String {
    match outcome.rule.filter(|rule| rule.risk.is_some()) {
        Some(rule) => format!("rule `{}` says so", rule.id),
        None => inferred.to_owned(),
    }
}

/// Arguments of a call: a JSON object, read as strictly as a call's.
fn object(text: &str) -> Result<String, String> {
    match Json::parse(text.as_bytes()) {
        Ok(Json::Object(_)) => Ok(text.to_owned()),
        Ok(_) => Err("give a JSON object such as {\"env\":\"staging\"}".to_owned()),
        Err(fault) => Err(fault.to_string()),
    }
}

fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "give a time such as 2026-11-17T03:12:00Z".to_owned())
}

/// Why this is the outcome, in one sentence.
fn reason(outcome: &Outcome<'_>) -> String {
    let Some(rule) = outcome.rule else {
        return format!("no rule matches; the default of category {} holds", outcome.category);
    };
    match outcome.cause {
        policy::Cause::AsWritten => format!("rule `{}` wins", rule.id),
        policy::Cause::ConditionFailed => {
            format!("rule `{}` wins, and its condition cannot be evaluated", rule.id)
        }
        policy::Cause::WindowClosed => {
            let window = rule.window.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("rule `{}` wins, and its change window is closed ({window})", rule.id)
        }
        policy::Cause::Unexpected => {
            let expect = rule.expect.as_ref().map_or("", |expect| expect.text());
            format!("rule `{}` wins, and what it expects does not hold ({expect})", rule.id)
        }
    }
}

fn why(considered: &Considered<'_>) -> String {
    match &considered.became {
        Match::Won => "won".to_owned(),
        Match::Shadowed => "matches; another rule is stricter, narrower or earlier".to_owned(),
        Match::False => {
            let when = considered.rule.when.as_ref().map_or("", |when| when.text());
            format!("its condition does not hold: {when}")
        }
        Match::Failed(failure) => format!("its condition has no answer: {failure}"),
        Match::Expired => "it has expired".to_owned(),
    }
}

/// `askance policy test`.
pub(super) fn test(path: &Path, cases: &Path, global: &Global, output: &Output) -> Result<ExitCode> {
    let policy = match load(path, global, output)? {
        Ok(policy) => policy,
        Err(code) => return Ok(code),
    };
    let expected = match examples::read(&read(cases)?, now()) {
        Ok(expected) => expected,
        Err(faults) => return refuse(&cases.display().to_string(), &faults, output),
    };
    let mut failed = Vec::new();
    for one in &expected {
        let (effect, rule) = examples::ask(&policy, &one.example, |outcome, _| {
            (outcome.effect, outcome.rule.map_or_else(String::new, |rule| rule.id.clone()))
        });
        if effect != one.effect || one.rule.as_ref().is_some_and(|wanted| *wanted != rule) {
            let by =
                |rule: &str| if rule.is_empty() { "by default".to_owned() } else { format!("by `{rule}`") };
            let wanted = one.rule.as_deref().map_or_else(String::new, |rule| format!(" {}", by(rule)));
            failed.push(json!({
                "line": one.line,
                "name": one.name,
                "expected": format!("{}{wanted}", one.effect.verdict()),
                "found": format!("{} {}", effect.verdict(), by(&rule)),
            }));
        }
    }
    let (count, bad) = (expected.len(), failed.len());
    output.result(&json!({ "ok": bad == 0, "examples": count, "failed": failed }), || {
        let field = |one: &serde_json::Value, name: &str| {
            one.get(name)
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                .unwrap_or_default()
        };
        let lines = failed.iter().map(|one| {
            let (line, name) = (field(one, "line"), field(one, "name"));
            format!(
                "{}:{line}: {name}: expected {}, found {}\n",
                cases.display(),
                field(one, "expected"),
                field(one, "found")
            )
        });
        format!("{}{} of {count} examples come out as expected", lines.collect::<String>(), count - bad)
    })?;
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
