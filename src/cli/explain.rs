//! `askance explain`: how a recorded decision came about, and what would have changed it.

use super::Global;
use super::client::{Connection, Otherwise, connect, refused};
use super::evaluate::{as_json, bits, short_name, verdict_name};
use super::output::{Output, table};
use super::sessions::tenants;
use crate::detector::sentence::shown;
use crate::proto::v1::timeline_service_client::TimelineServiceClient;
use crate::proto::v1::{
    Decision, ExplainDecisionRequest, ExplainDecisionResponse, FindingStatus, RiskBreakdown,
};
use anyhow::{Context, Result, anyhow};
use serde_json::json;
use std::process::ExitCode;
use tonic::Code;

/// Arguments of `askance explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The call's id.
    call_id: String,
    /// Its tenant; without it every tenant is looked through.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

/// Runs the command.
pub(super) async fn run(args: Args, global: &Global, output: &Output) -> Result<ExitCode> {
    let connection = connect(global, Otherwise::OpenExisting, output).await?;
    let found = find(&args, &connection).await;
    let closed = connection.close().await;
    let explained = found?;
    closed?;
    let decision = explained.decision.clone().context("the daemon answered without a decision")?;
    let risk = explained.risk.unwrap_or_default();
    let value = json!({
        "decision": as_json(&decision),
        "risk": {
            "base": risk.base,
            "bits": bits(risk.evidence_millibits),
            "raised": risk.raised,
            "floor": risk.floor,
            "threshold_bits": bits(risk.threshold_millibits),
            "category_weight_bits": bits(risk.category_weight_millibits),
        },
        "counterfactuals": explained.counterfactuals,
    });
    output.result(&value, || text(&decision, &risk, &explained.counterfactuals))?;
    Ok(ExitCode::SUCCESS)
}

/// The explanation: of the tenant named, or of the first that knows the call.
async fn find(args: &Args, connection: &Connection) -> Result<ExplainDecisionResponse> {
    let mut client = TimelineServiceClient::new(connection.channel());
    let mut refusal = None;
    for tenant in tenants(args.tenant.as_ref(), connection).await? {
        let request = ExplainDecisionRequest { tenant, call_id: args.call_id.clone() };
        match client.explain_decision(request).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if status.code() == Code::NotFound => refusal = Some(status),
            Err(status) => return Err(refused(&status)),
        }
    }
    Err(refusal.map_or_else(|| anyhow!("there are no calls yet"), |status| refused(&status)))
}

fn text(decision: &Decision, risk: &RiskBreakdown, counterfactuals: &[String]) -> String {
    let verdict = verdict_name(decision.computed_verdict()).to_uppercase();
    let category = short_name(decision.category().as_str_name(), "RISK_CATEGORY_");
    let mut text = format!(
        "{verdict}  risk {} of 100  call {}  position {}\n{}\n\n",
        decision.risk,
        shown(&decision.call_id),
        decision.position,
        shown(&decision.reason)
    );
    let row = |finding: &crate::proto::v1::Finding| {
        let scored = finding.status() == FindingStatus::Scored;
        let figure = |millibits: i32| {
            if scored { format!("{:.1}", bits(millibits)) } else { "-".to_owned() }
        };
        let words = |text: &str| if text.is_empty() { "-".to_owned() } else { shown(text) };
        [
            short_name(finding.detector().as_str_name(), "DETECTOR_"),
            figure(finding.surprise_millibits),
            figure(finding.raw_millibits),
            words(&finding.observed),
            words(&finding.expected),
        ]
    };
    let head = ["DETECTOR", "BITS", "RAW", "OBSERVED", "EXPECTED"];
    let mut findings = decision.findings.clone();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.surprise_millibits));
    text.push_str(&table(head, findings.iter().map(row)));
    text.push_str(&format!(
        "\n\nrisk: category {category} starts at {}; {:.1} bits of evidence raise it to {}",
        risk.base,
        bits(risk.evidence_millibits),
        risk.raised
    ));
    match risk.floor {
        0 => text.push('\n'),
        floor => text.push_str(&format!("; a floor sets at least {floor}\n")),
    }
    for floor in &decision.floors {
        text.push_str(&format!("  at least {}: {}\n", floor.risk, shown(&floor.sentence)));
    }
    text.push_str(&format!(
        "review: {:.1} bits of evidence and {:.1} for the category, against a threshold of {:.1}\n",
        bits(risk.evidence_millibits),
        bits(risk.category_weight_millibits),
        bits(risk.threshold_millibits)
    ));
    if !decision.rule_id.is_empty() {
        text.push_str(&format!("rule: {}\n", shown(&decision.rule_id)));
    }
    if !counterfactuals.is_empty() {
        text.push_str("what would have changed it:\n");
        for sentence in counterfactuals {
            text.push_str(&format!("  {}\n", shown(sentence)));
        }
    }
    text
}
