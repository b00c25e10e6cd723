//! What a daemon does with policies: adopt, backtest, coverage, suggestions, grants.

use super::history;
use crate::cli::Global;
use crate::cli::client::{Channel, Connection, Otherwise, connect, refused};
use crate::cli::output::{Output, table};
use crate::cli::review::time_of;
use crate::detector::sentence::shown;
use crate::domain::time::Timestamp;
use crate::policy::{Fault, Severity};
use crate::proto::v1;
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
        #[arg(long, value_parser = moment)]
        since: Option<String>,
        /// Examples to show.
        #[arg(long, default_value_t = 10)]
        examples: u32,
    },
    /// Show how much of the traffic is allowed by rule, by default, reviewed and denied.
    Coverage {
        /// Only calls from then on: 7d (the default), 24h, or a time.
        #[arg(long, value_parser = moment)]
        since: Option<String>,
    },
    /// Propose whitelist rules from history.
    Suggest {
        /// Accept the suggestion of this id: it becomes a grant.
        #[arg(long, value_name = "ID")]
        accept: Option<String>,
        /// How long an accepted suggestion holds, such as 30d; until it is revoked if absent.
        #[arg(long, value_name = "DURATION", value_parser = span)]
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
            history::backtest(&mut client, tenant, &file, since, examples, output).await
        }
        Asked::Coverage { since } => history::coverage(&mut client, tenant, since, output).await,
        Asked::Suggest { accept: Some(id), ttl, comment } => {
            history::accept(&mut client, tenant, id, ttl, comment, output).await
        }
        Asked::Suggest { .. } => history::suggest(&mut client, tenant, output).await,
        Asked::Grants { revoke: Some(id), reason } => {
            history::revoke(&mut client, tenant, id, reason, output).await
        }
        Asked::Grants { .. } => history::grants(&mut client, tenant, output).await,
    }
}

pub(super) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

pub(super) fn proto_time(at: Timestamp) -> prost_types::Timestamp {
    let micros = at.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// Refuses what is neither a duration nor a time.
fn moment(text: &str) -> Result<String, String> {
    let is_one = crate::policy::duration(text).is_some() || Timestamp::parse(text).is_some();
    is_one
        .then(|| text.to_owned())
        .ok_or_else(|| "give a duration such as 7d, or a time such as 2026-11-17T03:12:00Z".to_owned())
}

fn span(text: &str) -> Result<String, String> {
    crate::policy::duration(text)
        .map(|_| text.to_owned())
        .ok_or_else(|| "give a duration such as 30d".to_owned())
}

/// A time, or a duration before now.
pub(super) fn since(text: Option<String>) -> Result<Option<prost_types::Timestamp>> {
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
        let request = v1::GetPolicyRequest { tenant: tenant.to_owned(), ..Default::default() };
        let current = match client.get_policy(request).await {
            Ok(current) => current.into_inner().policy.map(|policy| policy.revision),
            // Nobody has adopted one.
            Err(status) if status.code() == tonic::Code::NotFound => None,
            Err(status) => return Err(refused(&status)),
        };
        revisions(&found.policies, current.as_deref(), output)?;
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

/// The history of a tenant's policy.
fn revisions(policies: &[v1::Policy], current: Option<&str>, output: &Output) -> Result<()> {
    let is_current = |one: &v1::Policy| !one.withdrawn && current == Some(one.revision.as_str());
    let json = |one: &v1::Policy| {
        json!({
            "revision": one.revision,
            "position": one.position,
            "time": time_of(one.adopt_time.as_ref()),
            "tenant": one.tenant,
            "rules": one.rules,
            "actor": one.actor,
            "comment": one.comment,
            "withdrawn": one.withdrawn,
            "current": is_current(one),
        })
    };
    let told: Vec<Value> = policies.iter().map(json).collect();
    output.result(&told, || {
        let rows = policies.iter().map(|one| {
            let what = match one.withdrawn {
                true => "withdrawn",
                false if is_current(one) => "in force",
                false => "",
            };
            let rules = if one.withdrawn { "-".to_owned() } else { one.rules.to_string() };
            let of = if one.tenant.is_empty() { "every tenant".to_owned() } else { shown(&one.tenant) };
            let at = time_of(one.adopt_time.as_ref());
            let (by, comment) = (shown(&one.actor), shown(&one.comment));
            [one.position.to_string(), at, of, rules, what.to_owned(), by, comment]
        });
        table(["REVISION", "WHEN", "FOR", "RULES", "", "BY", "COMMENT"], rows)
    })
}
