//! `askance sessions`: which there were, and what happened in one.

use super::Global;
use super::client::{Connection, Otherwise, connect, refused};
use super::evaluate::{as_json, short_name, verdict_name};
use super::import::wire_time;
use super::output::{Output, table};
use crate::detector::sentence::shown;
use crate::domain::time::{SECOND_US, Timestamp};
use crate::proto::v1::event::Data;
use crate::proto::v1::timeline_service_client::TimelineServiceClient;
use crate::proto::v1::{
    Event, EventFilter, GetSessionRequest, ListEventsRequest, ListSessionsRequest, Session, SessionState,
    Verdict,
};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::process::ExitCode;

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
    /// Tenant.
    #[arg(long, default_value = "", value_name = "NAME")]
    tenant: String,
    /// Only with this principal.
    #[arg(long, default_value = "", value_name = "NAME")]
    principal: String,
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
    /// Tenant.
    #[arg(long, default_value = "", value_name = "NAME")]
    tenant: String,
    /// Show arguments and results, masked as they are stored.
    #[arg(long)]
    payloads: bool,
    /// Most events to show.
    #[arg(long, default_value_t = 1_000, value_name = "COUNT")]
    limit: usize,
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

fn time(text: &str) -> Result<Timestamp, String> {
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

async fn list(args: &ListArgs, connection: &Connection, output: &Output) -> Result<()> {
    let mut client = TimelineServiceClient::new(connection.channel());
    let verdict = args.verdict.map_or(Verdict::Unspecified, |name| match name {
        VerdictName::Allow => Verdict::Allow,
        VerdictName::Review => Verdict::Review,
        VerdictName::Deny => Verdict::Deny,
    });
    let mut request = ListSessionsRequest {
        tenant: args.tenant.clone(),
        principal: args.principal.clone(),
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
    let json: Vec<Value> = sessions.iter().map(session_json).collect();
    output.result(&json, || {
        let head =
            ["SESSION", "TENANT", "ID", "PRINCIPAL", "STARTED", "STATE", "CALLS", "REVIEW", "DENY", "RISK"];
        table(head, sessions.iter().map(session_row))
    })
}

async fn show(args: &ShowArgs, connection: &Connection, output: &Output) -> Result<()> {
    let mut client = TimelineServiceClient::new(connection.channel());
    let asked = GetSessionRequest { tenant: args.tenant.clone(), session_key: args.key.clone() };
    let answer = client.get_session(asked).await.map_err(|status| refused(&status))?.into_inner();
    let session =
        answer.session.context("the daemon answered without a session; is it of another version?")?;
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
    let json = json!({ "session": session_json(&session), "events": events_json });
    output.result(&json, || {
        let head = ["TIME", "POSITION", "EVENT", "TOOL", "VERDICT", "RISK", "WHAT"];
        format!("{}\n\n{}", session_text(&session), table(head, rows(&events)))
    })
}

/// An instant of the API in words; a dash if it is absent.
fn when(time: Option<&prost_types::Timestamp>) -> String {
    time.map_or_else(
        || "-".to_owned(),
        |time| {
            let micros = time.seconds.saturating_mul(SECOND_US).saturating_add(i64::from(time.nanos) / 1_000);
            Timestamp::from_micros(micros).to_string()
        },
    )
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

fn session_text(session: &Session) -> String {
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

/// Rows of a timeline; a decision is shown with its call.
pub(super) fn rows(events: &[Event]) -> Vec<[String; 7]> {
    let mut tool = String::new();
    let mut rows = Vec::new();
    for event in events {
        let (kind, verdict, risk, what) = match &event.data {
            Some(Data::CallProposed(proposed)) => {
                let call = proposed.call.clone().unwrap_or_default();
                tool = shown(&call.tool);
                let arguments = String::from_utf8_lossy(&call.arguments_json).into_owned();
                ("proposed", String::new(), String::new(), shown(&arguments))
            }
            Some(Data::CallDecided(decided)) => {
                let decision = decided.decision.clone().unwrap_or_default();
                let verdict = verdict_name(decision.computed_verdict());
                ("decided", verdict, decision.risk.to_string(), shown(&decision.reason))
            }
            Some(Data::CallCompleted(completed)) => {
                let outcome = completed.outcome.clone().unwrap_or_default();
                let status = short_name(outcome.status().as_str_name(), "OUTCOME_STATUS_");
                let size = outcome.result_bytes.map_or_else(String::new, |bytes| format!(", {bytes} bytes"));
                ("completed", String::new(), String::new(), format!("{status}{size}"))
            }
            Some(Data::SessionOpened(_)) => ("opened", String::new(), String::new(), String::new()),
            Some(Data::SessionClosed(closed)) => {
                let end = short_name(closed.end().as_str_name(), "SESSION_END_");
                ("closed", String::new(), String::new(), end)
            }
            Some(other) => oversight_row(other),
            None => ("other", String::new(), String::new(), String::new()),
        };
        let of_call = matches!(kind, "proposed" | "decided" | "completed");
        let tool = if of_call { tool.clone() } else { String::new() };
        rows.push([
            when(event.event_time.as_ref()),
            event.position.to_string(),
            kind.to_owned(),
            tool,
            verdict,
            risk,
            what,
        ]);
    }
    rows
}

/// What an event of a review says: kind, verdict, nothing, and words.
fn oversight_row(data: &Data) -> (&'static str, String, String, String) {
    let none = String::new;
    match data {
        Data::ReviewOpened(opened) => {
            let review = opened.review.clone().unwrap_or_default();
            let groups =
                if review.groups.is_empty() { "any reviewer".to_owned() } else { review.groups.join(",") };
            let asked = format!("{} asks {} of {groups}", review.review_id, review.approvals_needed);
            ("review", none(), none(), shown(&asked))
        }
        Data::VoteCast(cast) => {
            let vote = cast.vote.clone().unwrap_or_default();
            let choice = short_name(vote.choice().as_str_name(), "VOTE_CHOICE_");
            let said = format!("{}: {} {}", cast.review_id, vote.reviewer, vote.comment);
            ("vote", choice, none(), shown(&said))
        }
        Data::ReviewResolved(resolved) => {
            let state = short_name(resolved.state().as_str_name(), "REVIEW_STATE_");
            (
                "resolved",
                none(),
                none(),
                shown(&format!("{} {state}: {}", resolved.review_id, resolved.reason)),
            )
        }
        Data::ReviewDelegated(event) => {
            ("delegated", none(), none(), shown(&format!("to {}{}", event.delegate, event.group)))
        }
        Data::ReviewJoined(event) => ("joined", none(), none(), shown(&event.review_id)),
        Data::CallReleased(event) => ("released", "allow".to_owned(), event.risk.to_string(), none()),
        Data::CallRefused(event) => ("refused", "deny".to_owned(), none(), shown(&event.reason)),
        Data::FeedbackGiven(event) => {
            let said = short_name(event.feedback().as_str_name(), "FEEDBACK_");
            ("feedback", none(), none(), shown(&format!("{said} {}", event.comment)))
        }
        _ => ("other", none(), none(), none()),
    }
}

fn event_json(event: &Event) -> Value {
    let (kind, data) = match &event.data {
        Some(Data::CallProposed(proposed)) => {
            let call = proposed.call.clone().unwrap_or_default();
            let arguments = serde_json::from_slice::<Value>(&call.arguments_json).unwrap_or(Value::Null);
            let data = json!({
                "call_id": call.call_id, "tool": call.tool, "server": call.server,
                "principal_chain": call.principal_chain, "arguments": arguments,
            });
            ("call_proposed", data)
        }
        Some(Data::CallDecided(decided)) => {
            ("call_decided", decided.decision.as_ref().map_or(Value::Null, as_json))
        }
        Some(Data::CallCompleted(completed)) => {
            let outcome = completed.outcome.clone().unwrap_or_default();
            let data = json!({
                "call_id": completed.call_id,
                "status": short_name(outcome.status().as_str_name(), "OUTCOME_STATUS_"),
                "result_bytes": outcome.result_bytes,
                "result": String::from_utf8_lossy(&outcome.result_text),
            });
            ("call_completed", data)
        }
        Some(Data::SessionOpened(_)) => ("session_opened", Value::Null),
        Some(Data::SessionClosed(closed)) => {
            ("session_closed", json!({ "end": short_name(closed.end().as_str_name(), "SESSION_END_") }))
        }
        Some(other) => (oversight_row(other).0, json!({ "words": oversight_row(other).3 })),
        None => ("other", Value::Null),
    };
    json!({
        "position": event.position,
        "revision": event.revision,
        "event_time": when(event.event_time.as_ref()),
        "receive_time": when(event.receive_time.as_ref()),
        "causation_position": event.causation_position,
        "hash": super::replay::hex(&event.hash),
        "kind": kind,
        "data": data,
    })
}
