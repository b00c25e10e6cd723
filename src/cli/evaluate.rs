//! `askance evaluate`: asks the daemon about one call, and says what it decided and why.

use super::Global;
use super::client::{Otherwise, connect, refused};
use super::import::{tool_call, wire_time};
use super::output::Output;
use super::requests::Request;
use super::trace_line::parse_call;
use crate::detector::sentence::shown;
use crate::domain::hex::hex;
use crate::domain::time::Timestamp;
use crate::proto::v1::gateway_service_client::GatewayServiceClient;
use crate::proto::v1::{
    Decision, EvaluateRequest, FindingStatus, ScoreRequest, SessionHints, ToolCall, UserRequest, Verdict,
};
use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;
use std::io::Read;
use std::process::ExitCode;

/// Exit code of a call that was denied.
const DENIED: u8 = 3;
/// Exit code of a call that a human must look at.
const PENDING: u8 = 4;

/// Arguments of `askance evaluate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the tool.
    #[arg(long, required_unless_present = "line", value_name = "NAME")]
    tool: Option<String>,
    /// Name of the MCP server.
    #[arg(long, default_value = "", value_name = "NAME")]
    server: String,
    /// Arguments: a JSON object.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    args: String,
    /// Who acts for whom, outermost first: `--principal user:alice --principal agent:planner`.
    #[arg(long, value_name = "NAME")]
    principal: Vec<String>,
    /// Session id.
    #[arg(long, default_value = "", value_name = "ID")]
    session: String,
    /// Tenant.
    #[arg(long, default_value = "", value_name = "NAME")]
    tenant: String,
    /// Name of the agent's host.
    #[arg(long, default_value = "", value_name = "NAME")]
    client: String,
    /// The caller's time, such as 2026-11-17T03:12:00Z. Far from now it is not believed.
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// Minutes ahead of UTC where the principal works.
    #[arg(long, value_name = "MINUTES", allow_hyphen_values = true)]
    utc_offset: Option<i32>,
    /// What the user asked for.
    #[arg(long, default_value = "", value_name = "TEXT")]
    request: String,
    /// Idempotency key; without it a random one. Asking again with the same one gives the same answer.
    #[arg(long, value_name = "ID")]
    call_id: Option<String>,
    /// Take the call from a recorded line instead: JSON as `import` reads it, or `-` for standard input.
    #[arg(long, value_name = "JSON", conflicts_with_all = ["tool", "principal"])]
    line: Option<String>,
    /// Only say what would be decided: nothing is recorded or learnt.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub(super) async fn run(args: Args, global: &Global, output: &Output) -> Result<ExitCode> {
    let dry_run = args.dry_run;
    let call = call_of(args)?;
    let connection = connect(global, Otherwise::Fail, output).await?;
    let mut client = GatewayServiceClient::new(connection.channel());
    let answered = if dry_run {
        let answer = client.score(ScoreRequest { call: Some(call), explain: true }).await;
        answer.map(|answer| answer.into_inner().decision)
    } else {
        let request = EvaluateRequest { call: Some(call), explain: true, ..EvaluateRequest::default() };
        client.evaluate(request).await.map(|answer| answer.into_inner().decision)
    };
    drop(client);
    connection.close().await?;
    let decision = answered
        .map_err(|status| refused(&status))?
        .context("the daemon answered without a decision; is it of another version?")?;
    output.result(&as_json(&decision), || as_text(&decision))?;
    Ok(match decision.verdict() {
        Verdict::Allow => ExitCode::SUCCESS,
        Verdict::Deny => ExitCode::from(DENIED),
        Verdict::Review => ExitCode::from(PENDING),
        Verdict::Unspecified => bail!("the daemon answered with a verdict that this build does not know"),
    })
}

fn call_of(args: Args) -> Result<ToolCall> {
    let time = match &args.time {
        None => None,
        Some(text) => {
            let at = Timestamp::parse(text);
            Some(at.with_context(|| format!("--time {text}: give a time such as 2026-11-17T03:12:00Z"))?)
        }
    };
    if let Some(line) = args.line {
        let mut text = line;
        if text == "-" {
            text.clear();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        }
        let line = parse_call(text.trim().as_bytes()).map_err(|fault| anyhow!("--line: {fault}"))?;
        let mut call = tool_call(line, Request { text: args.request, start: None });
        if let Some(id) = args.call_id {
            call.call_id = id;
        }
        return Ok(call);
    }
    if args.principal.is_empty() {
        bail!(
            "name who acts: --principal user:alice, and --principal agent:planner if an agent acts for her"
        );
    }
    Ok(ToolCall {
        call_id: args.call_id.map_or_else(random_id, Ok)?,
        tool: args.tool.unwrap_or_default(),
        server: args.server,
        arguments_json: args.args.into_bytes().into(),
        principal_chain: args.principal,
        session: (!args.session.is_empty())
            .then(|| SessionHints { session_id: args.session, ..SessionHints::default() }),
        call_time: time.map(wire_time),
        tenant: args.tenant,
        utc_offset_minutes: args.utc_offset,
        user_request: (!args.request.is_empty())
            .then(|| UserRequest { text: args.request, ..UserRequest::default() }),
        client: args.client,
        ..ToolCall::default()
    })
}

fn random_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|fault| anyhow!("no random bytes: {fault}"))?;
    Ok(format!("cli-{}", hex(&bytes)))
}

/// An enum's value without its prefix, in lower case: `VERDICT_ALLOW` is `allow`.
pub(super) fn short_name(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

/// A verdict as shown.
pub(super) fn verdict_name(verdict: Verdict) -> String {
    short_name(verdict.as_str_name(), "VERDICT_")
}

/// Bits.
pub(super) fn bits(millibits: i32) -> f64 {
    f64::from(millibits) / 1_000.0
}

/// A decision for programs.
pub(super) fn as_json(decision: &Decision) -> serde_json::Value {
    let findings: Vec<_> = decision
        .findings
        .iter()
        .map(|finding| {
            json!({
                "detector": short_name(finding.detector().as_str_name(), "DETECTOR_"),
                "status": short_name(finding.status().as_str_name(), "FINDING_STATUS_"),
                "p_value": finding.p_value,
                "bits": bits(finding.surprise_millibits),
                "observed": finding.observed,
                "expected": finding.expected,
                "sentence": finding.sentence,
            })
        })
        .collect();
    let floors: Vec<_> = decision
        .floors
        .iter()
        .map(|floor| json!({ "risk": floor.risk, "sentence": floor.sentence }))
        .collect();
    json!({
        "call_id": decision.call_id,
        "verdict": verdict_name(decision.verdict()),
        "computed_verdict": verdict_name(decision.computed_verdict()),
        "enforced": decision.enforced,
        "risk": decision.risk,
        "bits": bits(decision.evidence_millibits),
        "threshold_bits": bits(decision.threshold_millibits),
        "category": short_name(decision.category().as_str_name(), "RISK_CATEGORY_"),
        "reason": decision.reason,
        "reason_code": short_name(decision.reason_code().as_str_name(), "REASON_CODE_"),
        "rule_id": decision.rule_id,
        "review_id": decision.review_id,
        "session_key": decision.session_key,
        "session_id": decision.session_id,
        "position": decision.position,
        "repeated": decision.repeated_call,
        "degraded": decision.degraded,
        "floors": floors,
        "findings": findings,
    })
}

/// A decision for people: what was decided, why, and everything that was odd.
fn as_text(decision: &Decision) -> String {
    let verdict = verdict_name(decision.verdict()).to_uppercase();
    let category = short_name(decision.category().as_str_name(), "RISK_CATEGORY_");
    let mut text = format!(
        "{verdict}  risk {} of 100, category {category}\n{}\n",
        decision.risk,
        shown(&decision.reason)
    );
    if !decision.enforced && decision.computed_verdict() != decision.verdict() {
        let computed = verdict_name(decision.computed_verdict());
        text.push_str(&format!("not enforced: enforce mode would have answered {computed}\n"));
    }
    if decision.degraded {
        text.push_str("degraded: decided without all there should be\n");
    }
    if decision.repeated_call {
        text.push_str("asked before: this is the recorded decision\n");
    }
    for floor in &decision.floors {
        text.push_str(&format!("  risk at least {}: {}\n", floor.risk, shown(&floor.sentence)));
    }
    let mut findings: Vec<_> =
        decision.findings.iter().filter(|finding| finding.status() == FindingStatus::Scored).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.surprise_millibits));
    let (told, quiet): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| !finding.sentence.is_empty());
    for finding in told {
        let name = short_name(finding.detector().as_str_name(), "DETECTOR_");
        text.push_str(&format!(
            "  {name:<10} {:>5.1} bits  {}\n",
            bits(finding.surprise_millibits),
            shown(&finding.sentence)
        ));
    }
    let silent: Vec<String> = decision
        .findings
        .iter()
        .filter(|finding| finding.status() != FindingStatus::Scored)
        .map(|finding| short_name(finding.detector().as_str_name(), "DETECTOR_"))
        .collect();
    if !quiet.is_empty() {
        let quiet: Vec<String> =
            quiet.iter().map(|finding| short_name(finding.detector().as_str_name(), "DETECTOR_")).collect();
        text.push_str(&format!("  nothing unusual: {}\n", quiet.join(", ")));
    }
    if !silent.is_empty() {
        text.push_str(&format!("  not judged: {}\n", silent.join(", ")));
    }
    text.push_str(&format!("session {} ({})\n", decision.session_key, shown(&decision.session_id)));
    if !decision.review_id.is_empty() && decision.verdict() == Verdict::Review {
        let id = shown(&decision.review_id);
        text.push_str(&format!(
            "review {id} waits for people: askance review show {id}, approve {id} or deny {id}\n"
        ));
    }
    text
}
