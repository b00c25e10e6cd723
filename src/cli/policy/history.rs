//! What a daemon tells from history: backtests, coverage, suggestions; and the rules that people granted.

use super::remote::{proto_time, read, since};
use crate::cli::client::{Channel, refused};
use crate::cli::output::{Output, table};
use crate::detector::sentence::shown;
use crate::proto::v1;
use crate::proto::v1::backtest_policy_response::Step;
use crate::proto::v1::policy_service_client::PolicyServiceClient;
use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

fn verdict(number: i32) -> &'static str {
    match v1::Verdict::try_from(number) {
        Ok(v1::Verdict::Allow) => "allow",
        Ok(v1::Verdict::Review) => "review",
        Ok(v1::Verdict::Deny) => "deny",
        _ => "?",
    }
}

pub(super) async fn backtest(
    client: &mut PolicyServiceClient<Channel>,
    tenant: &str,
    file: &Path,
    from: Option<String>,
    examples_max: u32,
    output: &Output,
) -> Result<ExitCode> {
    let request = v1::BacktestPolicyRequest {
        tenant: tenant.to_owned(),
        text: read(file)?,
        from_time: since(from)?,
        to_time: None,
        examples_max,
    };
    let mut stream = client.backtest_policy(request).await.map_err(|status| refused(&status))?.into_inner();
    let (mut examples, mut summary) = (Vec::new(), None);
    let mut bar: Option<Output> = None;
    while let Some(message) = stream.message().await.map_err(|status| refused(&status))? {
        match message.step {
            Some(Step::Progress(step)) => {
                let bar =
                    bar.get_or_insert_with(|| output.with_progress(step.end_position, "records", false));
                bar.progress(step.position);
            }
            Some(Step::Example(call)) => examples.push(call),
            Some(Step::Summary(found)) => summary = Some(found),
            None => {}
        }
    }
    if let Some(bar) = bar {
        bar.progress_done();
    }
    let found = summary.ok_or_else(|| anyhow!("the daemon ended the backtest without a summary"))?;
    let changes: Vec<Value> = found
        .changes
        .iter()
        .map(|one| json!({ "rule": one.rule_id, "from": verdict(one.from), "to": verdict(one.to), "calls": one.calls, "examples": one.example_call_ids }))
        .collect();
    let shown_examples: Vec<Value> = examples
        .iter()
        .map(|one| json!({ "call_id": one.call_id, "position": one.position, "difference": one.difference }))
        .collect();
    let result = json!({
        "calls": found.calls,
        "reviews_per_day_before": found.reviews_per_day_before,
        "reviews_per_day_after": found.reviews_per_day_after,
        "denied_now_allowed": found.denied_now_allowed,
        "changes": changes,
        "examples": shown_examples,
    });
    output.result(&result, || {
        let rows = found.changes.iter().map(|one| {
            let rule = if one.rule_id.is_empty() { "(default)".to_owned() } else { shown(&one.rule_id) };
            [rule, verdict(one.from).to_owned(), verdict(one.to).to_owned(), one.calls.to_string()]
        });
        let hint = if found.calls == 0 { nothing(tenant) } else { String::new() };
        let mut text = format!(
            "{} calls{hint} decided again; reviews a day {:.1} before, {:.1} after; denied and now allowed: {}\n{}",
            found.calls,
            found.reviews_per_day_before,
            found.reviews_per_day_after,
            found.denied_now_allowed,
            table(["RULE", "WAS", "WOULD BE", "CALLS"], rows)
        );
        for one in &examples {
            text.push_str(&format!(
                "\n{} at {}: {}",
                shown(&one.call_id),
                one.position,
                shown(&one.difference)
            ));
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn coverage(
    client: &mut PolicyServiceClient<Channel>,
    tenant: &str,
    from: Option<String>,
    output: &Output,
) -> Result<ExitCode> {
    let request =
        v1::GetCoverageRequest { tenant: tenant.to_owned(), from_time: since(from)?, unmatched_max: 20 };
    let found = client.get_coverage(request).await.map_err(|status| refused(&status))?.into_inner();
    let parts = [
        ("allowed by rule", found.calls_allowed_by_rule),
        ("allowed by default", found.calls_allowed_by_default),
        ("reviewed", found.calls_reviewed),
        ("denied", found.calls_denied),
    ];
    let unmatched: Vec<Value> = found
        .unmatched
        .iter()
        .map(|one| json!({ "server": one.server, "tool": one.tool, "calls": one.calls, "sessions": one.sessions }))
        .collect();
    let sums: serde_json::Map<String, Value> =
        parts.iter().map(|(name, calls)| (name.replace(' ', "_"), json!(calls))).collect();
    output.result(&json!({ "calls": found.calls, "parts": sums, "unmatched": unmatched }), || {
        let share = |calls: u64| format!("{:.1} %", 100.0 * calls as f64 / found.calls.max(1) as f64);
        let rows = parts.iter().map(|(name, calls)| [(*name).to_owned(), calls.to_string(), share(*calls)]);
        let kinds = found.unmatched.iter().map(|one| {
            [shown(&one.server), shown(&one.tool), one.calls.to_string(), one.sessions.to_string()]
        });
        let hint = if found.calls == 0 { nothing(tenant) } else { String::new() };
        format!(
            "{} calls{hint}\n{}\nmost frequent calls that match no rule\n{}",
            found.calls,
            table(["", "CALLS", "SHARE"], rows),
            table(["SERVER", "TOOL", "CALLS", "SESSIONS"], kinds)
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What to say where a tenant has no calls: often it was not named.
fn nothing(tenant: &str) -> String {
    format!(
        " of tenant {} in this time; `askance sessions list` tells which tenants have some",
        shown(tenant)
    )
}

pub(super) async fn suggest(
    client: &mut PolicyServiceClient<Channel>,
    tenant: &str,
    output: &Output,
) -> Result<ExitCode> {
    let request =
        v1::ListSuggestionsRequest { tenant: tenant.to_owned(), page_size: 20, ..Default::default() };
    let found = client.list_suggestions(request).await.map_err(|status| refused(&status))?.into_inner();
    let told: Vec<Value> = found
        .suggestions
        .iter()
        .map(|one| json!({ "id": one.suggestion_id, "rule": one.rule_text, "why": one.sentence, "widened": one.widened_pointers }))
        .collect();
    output.result(&told, || {
        if found.suggestions.is_empty() {
            let tenant = shown(tenant);
            return format!(
                "the history of tenant {tenant} gives no ground for a rule that it does not have; `askance sessions list` tells \
                 which tenants there are"
            );
        }
        let one = |one: &v1::Suggestion| {
            let rule: String = one.rule_text.lines().map(|line| format!("    {}\n", shown(line))).collect();
            format!("{}\n  {}\n{rule}", one.suggestion_id, shown(&one.sentence))
        };
        found.suggestions.iter().map(one).collect()
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn accept(
    client: &mut PolicyServiceClient<Channel>,
    tenant: &str,
    suggestion_id: String,
    ttl: Option<String>,
    comment: String,
    output: &Output,
) -> Result<ExitCode> {
    let expire_time = match ttl {
        None => None,
        Some(text) => {
            let span = crate::policy::duration(&text)
                .ok_or_else(|| anyhow!("--ttl {text} is no duration such as 30d"))?;
            Some(proto_time(crate::clock::Clock::system().now().plus_micros(span)))
        }
    };
    let request =
        v1::AcceptSuggestionRequest { tenant: tenant.to_owned(), suggestion_id, expire_time, comment };
    let accepted = client.accept_suggestion(request).await.map_err(|status| refused(&status))?.into_inner();
    let grant = accepted.grant.unwrap_or_default();
    output.result(&json!({ "grant": grant.grant_id, "rule": grant.rule_text }), || {
        let rule: String = grant.rule_text.lines().map(|line| format!("    {}\n", shown(line))).collect();
        format!(
            "{} holds now; take it back with: askance policy grants --revoke {}\n{rule}",
            grant.grant_id, grant.grant_id
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn grants(
    client: &mut PolicyServiceClient<Channel>,
    tenant: &str,
    output: &Output,
) -> Result<ExitCode> {
    let request = v1::ListGrantsRequest { tenant: tenant.to_owned(), page_size: 1_000, ..Default::default() };
    let found = client.list_grants(request).await.map_err(|status| refused(&status))?.into_inner();
    let told: Vec<Value> = found
        .grants
        .iter()
        .map(|one| json!({ "id": one.grant_id, "rule": one.rule_text, "by": one.actor, "uses": one.uses }))
        .collect();
    output.result(&told, || {
        let rows = found.grants.iter().map(|one| {
            let rule: Vec<&str> = one.rule_text.lines().collect();
            [one.grant_id.clone(), shown(&rule.join("; ")), shown(&one.actor), one.uses.to_string()]
        });
        table(["GRANT", "RULE", "BY", "USES"], rows)
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn revoke(
    client: &mut PolicyServiceClient<Channel>,
    tenant: &str,
    grant_id: String,
    reason: String,
    output: &Output,
) -> Result<ExitCode> {
    let request = v1::RevokeGrantRequest { tenant: tenant.to_owned(), grant_id: grant_id.clone(), reason };
    let revoked = client.revoke_grant(request).await.map_err(|status| refused(&status))?.into_inner();
    output.result(&json!({ "revoked": grant_id, "position": revoked.position }), || {
        format!("{} holds no more", shown(&grant_id))
    })?;
    Ok(ExitCode::SUCCESS)
}
