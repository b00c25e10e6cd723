//! What a daemon does with policies: adopt, backtest, coverage, suggestions, grants.

use crate::cli::Global;
use crate::cli::client::{Channel, Connection, Otherwise, connect, refused};
use crate::cli::output::{Output, table};
use crate::detector::sentence::shown;
use crate::domain::time::Timestamp;
use crate::policy::{Fault, Severity};
use crate::proto::v1;
use crate::proto::v1::backtest_policy_response::Step;
use crate::proto::v1::policy_service_client::PolicyServiceClient;
use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to ask the daemon.
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Asked {
    /// Put a policy file into force for a tenant.
    Adopt {
        /// The file.
        file: PathBuf,
        /// What changed and why.
        #[arg(long, default_value = "")]
        comment: String,
        /// The revision it was made from; refused if another one is in force.
        #[arg(long, default_value = "")]
        base: String,
    },
    /// Take a tenant's own policy back: the daemon's policy file holds for it again.
    Withdraw {
        /// Why.
        #[arg(long, default_value = "")]
        comment: String,
        /// The revision that is meant; refused if another one is in force.
        #[arg(long, default_value = "")]
        base: String,
    },
    /// Show the policy in force, or list its revisions.
    Show {
        /// A revision; the one in force if absent.
        revision: Option<String>,
        /// List all revisions.
        #[arg(long)]
        list: bool,
    },
    /// Try a policy file on history: verdict changes by rule, reviews a day before and after.
    Backtest {
        /// The file.
        file: PathBuf,
        /// Only calls from then on: 7d, 24h, or a time.
        #[arg(long)]
        since: Option<String>,
        /// Examples to show.
        #[arg(long, default_value_t = 10)]
        examples: u32,
    },
    /// Show how much of the traffic is allowed by rule, by default, reviewed and denied.
    Coverage {
        /// Only calls from then on: 7d (the default), 24h, or a time.
        #[arg(long)]
        since: Option<String>,
    },
    /// Propose whitelist rules from history.
    Suggest {
        /// Accept the suggestion of this id: it becomes a grant.
        #[arg(long, value_name = "ID")]
        accept: Option<String>,
        /// How long an accepted suggestion holds, such as 30d; until it is revoked if absent.
        #[arg(long, value_name = "DURATION")]
        ttl: Option<String>,
        /// Why it is accepted.
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// List granted rules, or take one back.
    Grants {
        /// Take the grant of this id back.
        #[arg(long, value_name = "ID")]
        revoke: Option<String>,
        /// Why it is taken back.
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// Asks, and closes the connection.
pub(super) async fn run(asked: Asked, tenant: &str, global: &Global, output: &Output) -> Result<ExitCode> {
    let connection = connect(global, Otherwise::OpenExisting, output).await?;
    let done = ask(asked, tenant, &connection, output).await;
    let closed = connection.close().await;
    let code = done?;
    closed?;
    Ok(code)
}

async fn ask(asked: Asked, tenant: &str, connection: &Connection, output: &Output) -> Result<ExitCode> {
    let mut client = PolicyServiceClient::new(connection.channel()).max_decoding_message_size(16 << 20);
    match asked {
        Asked::Adopt { file, comment, base } => {
            adopt(&mut client, tenant, &file, comment, base, output).await
        }
        Asked::Withdraw { comment, base } => withdraw(&mut client, tenant, comment, base, output).await,
        Asked::Show { revision, list } => show(&mut client, tenant, revision, list, output).await,
        Asked::Backtest { file, since, examples } => {
            backtest(&mut client, tenant, &file, since, examples, output).await
        }
        Asked::Coverage { since } => coverage(&mut client, tenant, since, output).await,
        Asked::Suggest { accept: Some(id), ttl, comment } => {
            accept(&mut client, tenant, id, ttl, comment, output).await
        }
        Asked::Suggest { .. } => suggest(&mut client, tenant, output).await,
        Asked::Grants { revoke: Some(id), reason } => revoke(&mut client, tenant, id, reason, output).await,
        Asked::Grants { .. } => grants(&mut client, tenant, output).await,
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    let micros = at.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// A time, or a duration before now.
fn since(text: Option<String>) -> Result<Option<prost_types::Timestamp>> {
    let Some(text) = text else { return Ok(None) };
    let ago =
        crate::policy::duration(&text).map(|span| crate::clock::Clock::system().now().plus_micros(-span));
    let at = ago.or_else(|| Timestamp::parse(&text));
    let at = at.ok_or_else(|| anyhow!("--since {text} is neither a duration such as 7d nor a time"))?;
    Ok(Some(proto_time(at)))
}

fn fault_lines(name: &str, faults: Vec<v1::PolicyFault>) -> String {
    faults.into_iter().map(|fault| format!("{name}:{}\n", shown(&told(fault).to_string()))).collect()
}

/// A fault as the daemon tells it.
fn told(fault: v1::PolicyFault) -> Fault {
    let severity = match fault.severity() {
        v1::FaultSeverity::Warning => Severity::Warning,
        _ => Severity::Error,
    };
    let (line, column, rule_id) = (fault.line, fault.column, fault.rule_id);
    Fault { severity, line, column, rule_id, message: fault.message, nearest: fault.nearest_name }
}

/// The faults that the daemon finds in a policy's text, and whether it would adopt it.
pub(super) async fn check(connection: &Connection, tenant: &str, text: String) -> Result<(Vec<Fault>, bool)> {
    let mut client = PolicyServiceClient::new(connection.channel()).max_decoding_message_size(16 << 20);
    let request = v1::CheckPolicyRequest { tenant: tenant.to_owned(), text };
    let checked = client.check_policy(request).await.map_err(|status| refused(&status))?.into_inner();
    Ok((checked.faults.into_iter().map(told).collect(), checked.adoptable))
}

async fn adopt(
    client: &mut PolicyServiceClient<Channel>,
    tenant: &str,
    file: &Path,
    comment: String,
    base_revision: String,
    output: &Output,
) -> Result<ExitCode> {
    let text = read(file)?;
    let name = file.display().to_string();
    let check = v1::CheckPolicyRequest { tenant: tenant.to_owned(), text: text.clone() };
    let checked = client.check_policy(check).await.map_err(|status| refused(&status))?.into_inner();
    if !checked.adoptable {
        let faults: Vec<Value> = checked.faults.iter().map(|fault| json!(fault.message)).collect();
        output
            .result(&json!({ "adopted": false, "faults": faults }), || fault_lines(&name, checked.faults))?;
        return Ok(ExitCode::FAILURE);
    }
    let request = v1::AdoptPolicyRequest { tenant: tenant.to_owned(), text, base_revision, comment };
    let adopted = client.adopt_policy(request).await.map_err(|status| refused(&status))?.into_inner();
    let policy = adopted.policy.unwrap_or_default();
    output.result(&json!({ "adopted": true, "revision": policy.revision, "rules": policy.rules }), || {
        let warnings = fault_lines(&name, adopted.faults);
        format!("{warnings}revision {} with {} rules is in force", policy.revision, policy.rules)
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn withdraw(
    client: &mut PolicyServiceClient<Channel>,
    tenant: &str,
    comment: String,
    base_revision: String,
    output: &Output,
) -> Result<ExitCode> {
    let request = v1::WithdrawPolicyRequest { tenant: tenant.to_owned(), base_revision, comment };
    let withdrawn = client.withdraw_policy(request).await.map_err(|status| refused(&status))?.into_inner();
    let policy = withdrawn.policy.unwrap_or_default();
    let told = json!({ "withdrawn": true, "revision": policy.revision, "rules": policy.rules });
    output.result(&told, || {
        format!(
            "revision {} with {} rules, the one for every tenant, is in force again",
            policy.revision, policy.rules
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn show(
    client: &mut PolicyServiceClient<Channel>,
    tenant: &str,
    revision: Option<String>,
    list: bool,
    output: &Output,
) -> Result<ExitCode> {
    if list {
        let request =
            v1::ListPoliciesRequest { tenant: tenant.to_owned(), page_size: 1_000, ..Default::default() };
        let found = client.list_policies(request).await.map_err(|status| refused(&status))?.into_inner();
        let told: Vec<Value> = found
            .policies
            .iter()
            .map(|one| json!({ "revision": one.revision, "rules": one.rules, "actor": one.actor, "comment": one.comment }))
            .collect();
        output.result(&told, || {
            let rows = found.policies.iter().map(|one| {
                [one.revision.clone(), one.rules.to_string(), shown(&one.actor), shown(&one.comment)]
            });
            table(["REVISION", "RULES", "BY", "COMMENT"], rows)
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let request = v1::GetPolicyRequest { tenant: tenant.to_owned(), revision: revision.unwrap_or_default() };
    let found = client.get_policy(request).await.map_err(|status| refused(&status))?.into_inner();
    let policy = found.policy.unwrap_or_default();
    let told = json!({ "revision": policy.revision, "current": found.current, "text": policy.text });
    output.result(&told, || {
        if policy.text.is_empty() {
            "# the built-in policy: no rules, the defaults of the categories".to_owned()
        } else {
            policy.text.clone()
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn verdict(number: i32) -> &'static str {
    match v1::Verdict::try_from(number) {
        Ok(v1::Verdict::Allow) => "allow",
        Ok(v1::Verdict::Review) => "review",
        Ok(v1::Verdict::Deny) => "deny",
        _ => "?",
    }
}

async fn backtest(
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
        let mut text = format!(
            "{} calls decided again; reviews a day {:.1} before, {:.1} after; denied and now allowed: {}\n{}",
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

async fn coverage(
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
        format!(
            "{} calls\n{}\nmost frequent calls that match no rule\n{}",
            found.calls,
            table(["", "CALLS", "SHARE"], rows),
            table(["SERVER", "TOOL", "CALLS", "SESSIONS"], kinds)
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn suggest(
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
            return "history gives no ground for a rule".to_owned();
        }
        let one = |one: &v1::Suggestion| {
            let rule: String = one.rule_text.lines().map(|line| format!("    {}\n", shown(line))).collect();
            format!("{}\n  {}\n{rule}", one.suggestion_id, shown(&one.sentence))
        };
        found.suggestions.iter().map(one).collect()
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn accept(
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
        format!("{} holds now\n{}", grant.grant_id, shown(&grant.rule_text))
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn grants(
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

async fn revoke(
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
