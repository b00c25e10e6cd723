//! `askance tools`: what servers declare, what is made of it, and what was accepted.

use super::Global;
use super::client::{Channel, Otherwise, connect, refused};
use super::output::{Output, table};
use crate::detector::sentence::shown;
use crate::domain::json::Json;
use crate::policy::category;
use crate::proto::v1;
use crate::proto::v1::tool_service_client::ToolServiceClient;
use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use std::process::ExitCode;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// List registered tools.
    List {
        /// Only tools whose definition changed and was not accepted.
        #[arg(long)]
        changed: bool,
    },
    /// Show one tool with its definition.
    Show(Named),
    /// Show what changed between the accepted definition and the present one.
    Diff(Named),
    /// Accept a tool's changed definition, after having looked at it.
    Accept {
        #[command(flatten)]
        named: Named,
        /// Why.
        #[arg(long, default_value = "")]
        comment: String,
    },
}

/// A tool.
#[derive(Debug, clap::Args)]
pub(super) struct Named {
    /// Name of the tool.
    tool: String,
    /// Name of its server.
    #[arg(long, default_value = "")]
    server: String,
}

/// Runs the command.
pub(super) async fn run(action: Action, tenant: &str, global: &Global, output: &Output) -> Result<ExitCode> {
    let connection = connect(global, Otherwise::OpenExisting, output).await?;
    let mut client = ToolServiceClient::new(connection.channel());
    let done = match action {
        Action::List { changed } => list(&mut client, tenant, changed, output).await,
        Action::Show(named) => show(&mut client, tenant, named, output).await,
        Action::Diff(named) => diff(&mut client, tenant, named, output).await,
        Action::Accept { named, comment } => accept(&mut client, tenant, named, comment, output).await,
    };
    let closed = connection.close().await;
    let code = done?;
    closed?;
    Ok(code)
}

fn category_name(tool: &v1::Tool) -> String {
    let number = tool.assessment.as_ref().map_or(0, |assessment| assessment.category);
    v1::RiskCategory::try_from(number)
        .map_or("", |category| category.as_str_name().trim_start_matches("RISK_CATEGORY_"))
        .to_lowercase()
}

fn status_name(tool: &v1::Tool) -> String {
    v1::ToolStatus::try_from(tool.status)
        .map_or("", |status| status.as_str_name().trim_start_matches("TOOL_STATUS_"))
        .to_lowercase()
}

fn can(tool: &v1::Tool) -> String {
    let labels = tool.assessment.iter().flat_map(|assessment| &assessment.capabilities);
    labels.map(|label| label.name.as_str()).collect::<Vec<_>>().join(" ")
}

async fn list(
    client: &mut ToolServiceClient<Channel>,
    tenant: &str,
    changed: bool,
    output: &Output,
) -> Result<ExitCode> {
    let status = if changed { v1::ToolStatus::Changed } else { v1::ToolStatus::Unspecified };
    let mut request = v1::ListToolsRequest {
        tenant: tenant.to_owned(),
        status: status.into(),
        page_size: 1_000,
        ..v1::ListToolsRequest::default()
    };
    let mut tools = Vec::new();
    loop {
        let page = client.list_tools(request.clone()).await.map_err(|status| refused(&status))?.into_inner();
        tools.extend(page.tools);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let told: Vec<Value> = tools
        .iter()
        .map(|tool| json!({ "server": tool.server, "tool": tool.name, "status": status_name(tool), "category": category_name(tool), "capabilities": can(tool) }))
        .collect();
    output.result(&told, || {
        let rows = tools.iter().map(|tool| {
            [shown(&tool.server), shown(&tool.name), status_name(tool), category_name(tool), can(tool)]
        });
        table(["SERVER", "TOOL", "DEFINITION", "CATEGORY", "CAN"], rows)
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn get(
    client: &mut ToolServiceClient<Channel>,
    tenant: &str,
    named: &Named,
) -> Result<(v1::Tool, v1::ToolDefinition, Option<v1::ToolDefinition>)> {
    let request = v1::GetToolRequest {
        tenant: tenant.to_owned(),
        server: named.server.clone(),
        tool: named.tool.clone(),
    };
    let found = client.get_tool(request).await.map_err(|status| refused(&status))?.into_inner();
    let tool = found.tool.ok_or_else(|| anyhow!("the daemon answered without a tool"))?;
    Ok((tool, found.definition.unwrap_or_default(), found.accepted_definition))
}

/// A definition line by line, schemas laid out.
fn lines(definition: &v1::ToolDefinition) -> Vec<String> {
    let mut lines = vec![format!("title: {}", definition.title)];
    lines.extend(definition.description.lines().map(|line| format!("description: {line}")));
    for (name, schema) in
        [("input", &definition.input_schema_json), ("output", &definition.output_schema_json)]
    {
        let laid_out = serde_json::from_slice::<Value>(schema)
            .ok()
            .and_then(|value| serde_json::to_string_pretty(&value).ok());
        lines.extend(laid_out.unwrap_or_default().lines().map(|line| format!("{name}: {line}")));
    }
    let hints = definition.annotations.unwrap_or_default();
    let said = |hint: Option<bool>| match hint {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not said",
    };
    lines.push(format!(
        "hints: read-only {}, destructive {}, idempotent {}, open world {}",
        said(hints.read_only_hint),
        said(hints.destructive_hint),
        said(hints.idempotent_hint),
        said(hints.open_world_hint)
    ));
    lines.into_iter().map(|line| shown(&line)).collect()
}

async fn show(
    client: &mut ToolServiceClient<Channel>,
    tenant: &str,
    named: Named,
    output: &Output,
) -> Result<ExitCode> {
    let (tool, definition, _) = get(client, tenant, &named).await?;
    let schema = Json::parse(&definition.input_schema_json).ok();
    let inferred = category::infer(&definition.name, &definition.description, None, schema.as_ref());
    let told = json!({ "server": tool.server, "tool": tool.name, "status": status_name(&tool), "category": category_name(&tool), "capabilities": can(&tool), "why": inferred.reason, "definition": lines(&definition) });
    output.result(&told, || {
        format!(
            "{} {}  {}\ncategory {}: {}\ncan {}\n{}",
            shown(&tool.server),
            shown(&tool.name),
            status_name(&tool),
            category_name(&tool),
            shown(&inferred.reason),
            can(&tool),
            lines(&definition).join("\n")
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Lines that only one of two texts has, each with `-` or `+`, in order.
fn difference(old: &[String], new: &[String]) -> Vec<String> {
    let gone = old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}"));
    let come = new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}"));
    gone.chain(come).collect()
}

async fn diff(
    client: &mut ToolServiceClient<Channel>,
    tenant: &str,
    named: Named,
    output: &Output,
) -> Result<ExitCode> {
    let (tool, definition, accepted) = get(client, tenant, &named).await?;
    let changed = accepted.map(|accepted| difference(&lines(&accepted), &lines(&definition)));
    output.result(&json!({ "status": status_name(&tool), "difference": changed }), || match &changed {
        None => "the present definition is the accepted one".to_owned(),
        Some(lines) => lines.join("\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn accept(
    client: &mut ToolServiceClient<Channel>,
    tenant: &str,
    named: Named,
    comment: String,
    output: &Output,
) -> Result<ExitCode> {
    let (tool, ..) = get(client, tenant, &named).await?;
    let request = v1::AcceptToolRequest {
        tenant: tenant.to_owned(),
        server: named.server,
        tool: named.tool,
        definition_digest: tool.definition_digest,
        comment,
    };
    let accepted = client.accept_tool(request).await.map_err(|status| refused(&status))?.into_inner();
    let tool = accepted.tool.unwrap_or_default();
    output.result(
        &json!({ "status": status_name(&tool), "position": accepted.position }),
        || match accepted.position {
            0 => "its definition was accepted already".to_owned(),
            position => format!("accepted at position {position}; category {}", category_name(&tool)),
        },
    )?;
    Ok(ExitCode::SUCCESS)
}
