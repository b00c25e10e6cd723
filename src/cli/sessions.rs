//! `askance sessions`: which there were, and what happened in one.

use super::Global;
use super::client::{Connection, Otherwise, connect, refused};
use super::evaluate::short_name;
use super::import::wire_time;
use super::output::{Output, table};
use super::timeline::{event_json, rows, when};
use crate::detector::sentence::shown;
use crate::domain::time::Timestamp;
use crate::proto::v1::control_service_client::ControlServiceClient;
use crate::proto::v1::timeline_service_client::TimelineServiceClient;
use crate::proto::v1::{
    EventFilter, GetSessionRequest, GetSessionResponse, GetStatusRequest, ListEventsRequest,
    ListSessionsRequest, Session, SessionOrder, SessionState, Verdict,
};
use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::process::ExitCode;
use tonic::Code;

/// Sessions asked for at once.
const PAGE: u32 = 500;
/// Events asked for at once.
const EVENTS_PAGE: u32 = 2_000;
/// Digits of a session key that are shown; enough to name it again.
const KEY_DIGITS: usize = 12;

/// What to do with sessions.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// List sessions, newest first.
    List(ListArgs),
    /// Show a session's timeline.
    Show(ShowArgs),
}

/// Arguments of `askance sessions list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only of this tenant; without it those of all.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Only with this principal.
    #[arg(long, default_value = "", value_name = "NAME")]
    principal: String,
    /// Only with a call of this tool.
    #[arg(long, default_value = "", value_name = "NAME")]
    tool: String,
    /// Only with a call of a tool of this server.
    #[arg(long, default_value = "", value_name = "NAME")]
    server: String,
    /// Order: the newest first, the latest call first, or the highest risk first.
    #[arg(long, value_enum, default_value_t = Sort::Start)]
    sort: Sort,
    /// Only with a call of this verdict.
    #[arg(long, value_enum)]
    verdict: Option<VerdictName>,
    /// Only with a call of at least this risk.
    #[arg(long, default_value_t = 0, value_name = "RISK", value_parser = clap::value_parser!(u32).range(0..=100))]
    risk_min: u32,
    /// Only from this time on, such as 2026-11-17T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Only before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Most sessions to show.
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: usize,
}

/// Arguments of `askance sessions show`.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The session's key, or the first 6 or more digits of it.
    key: String,
    /// Its tenant; without it every tenant is looked through.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Show arguments and results, masked as they are stored.
    #[arg(long)]
    payloads: bool,
    /// Most events to show.
    #[arg(long, default_value_t = 1_000, value_name = "COUNT")]
    limit: usize,
}

/// An order of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    /// Latest start first.
    Start,
    /// Latest call first.
    Last,
    /// Highest risk first.
    Risk,
}

/// A verdict to filter by.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum VerdictName {
    /// Allowed.
    Allow,
    /// Sent to a human.
    Review,
    /// Denied.
    Deny,
}

pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "give a time such as 2026-11-17T03:12:00Z".to_owned())
}

/// Runs the command.
pub(super) async fn run(action: Action, global: &Global, output: &Output) -> Result<ExitCode> {
    let connection = connect(global, Otherwise::OpenExisting, output).await?;
    let done = match &action {
        Action::List(args) => list(args, &connection, output).await,
        Action::Show(args) => show(args, &connection, output).await,
    };
    let closed = connection.close().await;
    done?;
    closed?;
    Ok(ExitCode::SUCCESS)
}

/// The tenant asked for, or all that the daemon knows.
pub(super) async fn tenants(asked: Option<&String>, connection: &Connection) -> Result<Vec<String>> {
    if let Some(tenant) = asked {
        return Ok(vec![tenant.clone()]);
    }
    let mut client = ControlServiceClient::new(connection.channel());
    let status = client.get_status(GetStatusRequest::default()).await.map_err(|status| refused(&status))?;
    Ok(status.into_inner().tenants.into_iter().map(|tenant| tenant.tenant).collect())
}

async fn list(args: &ListArgs, connection: &Connection, output: &Output) -> Result<()> {
    let mut sessions = Vec::new();
    for tenant in tenants(args.tenant.as_ref(), connection).await? {
        sessions.extend(list_of(tenant, args, connection).await?);
    }
    let at = |time: &Option<prost_types::Timestamp>| time.map(|at| (at.seconds, at.nanos));
    match args.sort {
        Sort::Start => sessions.sort_by_key(|session| Reverse(at(&session.start_time))),
        Sort::Last => sessions.sort_by_key(|session| Reverse(at(&session.last_call_time))),
        Sort::Risk => sessions.sort_by_key(|session| Reverse((session.risk_max, at(&session.start_time)))),
    }
    sessions.truncate(args.limit);
    let json: Vec<Value> = sessions.iter().map(session_json).collect();
    output.result(&json, || session_table(&sessions))
}

/// The newest sessions of a tenant that pass.
async fn list_of(tenant: String, args: &ListArgs, connection: &Connection) -> Result<Vec<Session>> {
    let mut client = TimelineServiceClient::new(connection.channel());
    let verdict = args.verdict.map_or(Verdict::Unspecified, |name| match name {
        VerdictName::Allow => Verdict::Allow,
        VerdictName::Review => Verdict::Review,
        VerdictName::Deny => Verdict::Deny,
    });
    let mut request = ListSessionsRequest {
        tenant,
        principal: args.principal.clone(),
        server: args.server.clone(),
        tool: args.tool.clone(),
        order: match args.sort {
            Sort::Start => SessionOrder::Start,
            Sort::Last => SessionOrder::LastCall,
            Sort::Risk => SessionOrder::Risk,
        }
        .into(),
        verdict: verdict.into(),
        risk_min: args.risk_min,
        from_time: args.since.map(wire_time),
        to_time: args.until.map(wire_time),
        ..ListSessionsRequest::default()
    };
    let mut sessions = Vec::new();
    while sessions.len() < args.limit {
        request.page_size = PAGE.min(u32::try_from(args.limit - sessions.len()).unwrap_or(PAGE));
        let page =
            client.list_sessions(request.clone()).await.map_err(|status| refused(&status))?.into_inner();
        sessions.extend(page.sessions);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    Ok(sessions)
}

async fn show(args: &ShowArgs, connection: &Connection, output: &Output) -> Result<()> {
    let mut client = TimelineServiceClient::new(connection.channel());
    let found = find(&args.key, args.tenant.as_ref(), &mut client, connection).await?;
    let children = found.children;
    let session = found.session.context("the daemon answered without a session")?;
    let mut request = ListEventsRequest {
        filter: Some(EventFilter {
            tenant: session.tenant.clone(),
            session_key: session.session_key.clone(),
            include_payloads: args.payloads,
            ..EventFilter::default()
        }),
        ..ListEventsRequest::default()
    };
    let mut events = Vec::new();
    while events.len() < args.limit {
        request.page_size = EVENTS_PAGE.min(u32::try_from(args.limit - events.len()).unwrap_or(EVENTS_PAGE));
        let page = client.list_events(request.clone()).await.map_err(|status| refused(&status))?.into_inner();
        events.extend(page.events);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let events_json: Vec<Value> = events.iter().map(event_json).collect();
    let nested: Vec<Value> = children.iter().map(session_json).collect();
    let json = json!({ "session": session_json(&session), "events": events_json, "nested": nested });
    output.result(&json, || {
        let head = ["TIME", "POSITION", "EVENT", "TOOL", "VERDICT", "RISK", "WHAT"];
        let mut text = format!("{}\n\n{}", session_text(&session), table(head, rows(&events)));
        if !children.is_empty() {
            text.push_str("\n\nsessions that it started:\n");
            text.push_str(&session_table(&children));
        }
        text
    })
}

/// A table of sessions.
fn session_table(sessions: &[Session]) -> String {
    let head =
        ["SESSION", "TENANT", "ID", "PRINCIPAL", "STARTED", "STATE", "CALLS", "REVIEW", "DENY", "RISK"];
    table(head, sessions.iter().map(session_row))
}

/// The session asked for: of the tenant named, or of the first that has one.
pub(super) async fn find(
    key: &str,
    tenant: Option<&String>,
    client: &mut TimelineServiceClient<super::client::Channel>,
    connection: &Connection,
) -> Result<GetSessionResponse> {
    let mut refusal = None;
    for tenant in tenants(tenant, connection).await? {
        let asked = GetSessionRequest { tenant, session_key: key.to_owned() };
        match client.get_session(asked).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if status.code() == Code::NotFound => refusal = Some(status),
            Err(status) => return Err(refused(&status)),
        }
    }
    Err(refusal.map_or_else(|| anyhow!("there are no sessions yet"), |status| refused(&status)))
}

fn state_name(session: &Session) -> String {
    let state = session.state();
    let name = short_name(state.as_str_name(), "SESSION_STATE_");
    let end = short_name(session.end().as_str_name(), "SESSION_END_");
    if state == SessionState::Closed && end != "unspecified" { format!("{name} ({end})") } else { name }
}

fn session_json(session: &Session) -> Value {
    json!({
        "session_key": session.session_key,
        "tenant": session.tenant,
        "session_id": session.session_id,
        "source": short_name(session.source().as_str_name(), "SESSION_SOURCE_"),
        "confidence": short_name(session.confidence().as_str_name(), "SESSION_CONFIDENCE_"),
        "principal_chain": session.principal_chain,
        "client": session.client,
        "parent_session_key": session.parent_session_key,
        "state": short_name(session.state().as_str_name(), "SESSION_STATE_"),
        "start_time": when(session.start_time.as_ref()),
        "last_call_time": when(session.last_call_time.as_ref()),
        "calls": session.calls,
        "calls_reviewed": session.calls_reviewed,
        "calls_denied": session.calls_denied,
        "risk_max": session.risk_max,
        "position": session.position,
    })
}

fn short_key(key: &str) -> String {
    key.chars().take(KEY_DIGITS).collect()
}

fn session_row(session: &Session) -> [String; 10] {
    [
        short_key(&session.session_key),
        shown(&session.tenant),
        shown(&session.session_id),
        shown(session.principal_chain.last().map_or("", String::as_str)),
        when(session.start_time.as_ref()),
        state_name(session),
        session.calls.to_string(),
        session.calls_reviewed.to_string(),
        session.calls_denied.to_string(),
        session.risk_max.to_string(),
    ]
}

pub(super) fn session_text(session: &Session) -> String {
    let chain: Vec<String> = session.principal_chain.iter().map(|link| shown(link)).collect();
    format!(
        "session {}\n  id {} ({}, {})\n  tenant {}, {}\n  {} to {}, {}\n  {} calls, {} reviewed, {} denied, highest risk {}",
        session.session_key,
        shown(&session.session_id),
        short_name(session.source().as_str_name(), "SESSION_SOURCE_"),
        short_name(session.confidence().as_str_name(), "SESSION_CONFIDENCE_"),
        shown(&session.tenant),
        chain.join(" > "),
        when(session.start_time.as_ref()),
        when(session.last_call_time.as_ref()),
        state_name(session),
        session.calls,
        session.calls_reviewed,
        session.calls_denied,
        session.risk_max
    )
}
