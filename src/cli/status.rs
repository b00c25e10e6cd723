//! `askance status`: how the daemon is, and what its reviewers are asked.

use super::Global;
use super::client::{Otherwise, connect, refused};
use super::output::{Output, table};
use crate::proto::v1::control_service_client::ControlServiceClient;
use crate::proto::v1::{GetStatusRequest, GetStatusResponse, ReviewBudget, TenantStatus};
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Arguments of `askance status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this tenant.
    #[arg(long, default_value = "", value_name = "NAME")]
    tenant: String,
}

/// Runs the command.
pub(super) async fn run(args: Args, global: &Global, output: &Output) -> Result<ExitCode> {
    let connection = connect(global, Otherwise::OpenExisting, output).await?;
    let mut client = ControlServiceClient::new(connection.channel());
    let answer = client.get_status(GetStatusRequest { tenant: args.tenant }).await;
    let status = answer.map_err(|status| refused(&status))?.into_inner();
    output.result(&as_json(&status), || text(&status))?;
    connection.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(status: &GetStatusResponse) -> Value {
    let partition = |partition: &crate::proto::v1::PartitionStatus| {
        let counters: serde_json::Map<String, Value> =
            partition.counters.iter().map(|counter| (counter.name.clone(), counter.value.into())).collect();
        json!({
            "partition": partition.partition, "tail_position": partition.tail_position,
            "snapshot_position": partition.snapshot_position, "writable": partition.writable,
            "queue_len": partition.queue_len, "evictions": partition.evictions, "counters": counters,
        })
    };
    json!({
        "version": status.version,
        "partitions": status.partitions.iter().map(partition).collect::<Vec<_>>(),
        "tenants": status.tenants.iter().map(tenant_json).collect::<Vec<_>>(),
    })
}

fn tenant_json(tenant: &TenantStatus) -> Value {
    let budget = tenant.budget.unwrap_or_default();
    json!({
        "tenant": tenant.tenant, "calls": tenant.calls, "sessions_open": tenant.sessions_open,
        "warming_up": tenant.warming_up,
        "budget": {
            "rate": budget.rate, "rate_spent": budget.rate_spent, "threshold_millibits": budget.threshold_millibits,
            "reviews_per_day": budget.reviews_per_day, "reviews_per_day_spent": budget.reviews_per_day_spent,
            "reviews_per_session": budget.reviews_per_session, "sessions_reviewed": budget.sessions_reviewed,
            "counted": budget.counted, "soft_reviews": budget.soft_reviews,
            "soft_reviews_bound": budget.soft_reviews_bound, "hard_reviews": budget.hard_reviews,
            "floor_reviews": budget.floor_reviews, "slow_reviews": budget.slow_reviews,
            "joined_reviews": budget.joined_reviews, "sessions_held": budget.sessions_held,
            "surges": budget.surges, "surging": budget.surging, "audited": budget.audited,
            "drift_index": budget.drift_index, "drifted": budget.drifted,
        },
    })
}

fn text(status: &GetStatusResponse) -> String {
    let mut text = format!("askance {}\n\n", status.version);
    let partitions = status.partitions.iter().map(|partition| {
        let writes =
            if partition.writable { "yes".to_owned() } else { partition.not_writable_reason.clone() };
        [
            partition.partition.to_string(),
            partition.tail_position.to_string(),
            partition.snapshot_position.to_string(),
            format!("{} of {}", partition.queue_len, partition.queue_len_max),
            partition.evictions.to_string(),
            writes,
        ]
    });
    text.push_str(&table(["PARTITION", "TAIL", "SNAPSHOT", "QUEUE", "EVICTED", "WRITES"], partitions));
    for tenant in &status.tenants {
        text.push_str("\n\n");
        text.push_str(&tenant_text(tenant));
    }
    text
}

fn tenant_text(tenant: &TenantStatus) -> String {
    let budget = tenant.budget.unwrap_or_default();
    let warming = if tenant.warming_up { ", still warming up" } else { "" };
    let mut text = format!(
        "tenant {}: {} calls, {} sessions open{warming}\n",
        crate::detector::sentence::shown(&tenant.tenant),
        tenant.calls,
        tenant.sessions_open
    );
    for line in budget_lines(&budget) {
        text.push_str("  ");
        text.push_str(&line);
        text.push('\n');
    }
    text.trim_end().to_owned()
}

fn budget_lines(budget: &ReviewBudget) -> Vec<String> {
    let percent = |share: f64| format!("{:.3} %", 100.0 * share);
    let allowed = if budget.reviews_per_day > 0.0 {
        format!("{:.1} a day", budget.reviews_per_day)
    } else {
        "no full day yet".to_owned()
    };
    let mut lines = vec![
        format!(
            "budget   {} of calls ({allowed}); spent {}: {} of {} calls, and no traffic could have made it more than {}",
            percent(budget.rate),
            percent(budget.rate_spent),
            budget.soft_reviews,
            budget.counted,
            budget.soft_reviews_bound
        ),
        format!(
            "reviews  {:.1} a day, {:.3} a session, {} of sessions, over the last days; threshold {:.2} bits",
            budget.reviews_per_day_spent,
            budget.reviews_per_session,
            percent(budget.sessions_reviewed),
            f64::from(budget.threshold_millibits) / 1_000.0
        ),
        format!(
            "outside  {} by 20 bits, {} by floors, {} by slow evidence; {} joined open ones ({} sessions held, {} surges)",
            budget.hard_reviews,
            budget.floor_reviews,
            budget.slow_reviews,
            budget.joined_reviews,
            budget.sessions_held,
            budget.surges
        ),
        format!(
            "sample   {} allowed calls to look at afterwards; drift index {:.3}",
            budget.audited, budget.drift_index
        ),
    ];
    if budget.surging {
        lines.push("a surge is on: more reviews this hour than ever; further ones join the first".to_owned());
    }
    if budget.drifted {
        lines.push("drifted: last week's surprises are not those of the first weeks any more".to_owned());
    }
    lines
}
