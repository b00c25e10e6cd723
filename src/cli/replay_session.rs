//! `askance replay SESSION`: a session again in the terminal, at its own pace or faster, each call decided anew
//! beside what was recorded.

use super::Global;
use super::client::{Connection, Otherwise, connect, refused};
use super::evaluate::verdict_name;
use super::output::Output;
use super::sessions::{find, session_text};
use super::timeline::{micros, row};
use crate::detector::sentence::shown;
use crate::domain::hex::hex;
use crate::proto::v1::replay_session_response::Step;
use crate::proto::v1::timeline_service_client::TimelineServiceClient;
use crate::proto::v1::{Event, ReplayOptions, ReplaySessionRequest, ReplaySummary, ReplayedCall};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// Longest pause between two events, whatever the speed.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What to replay, and how.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// Key, or id, of the session.
    pub(super) session: &'a str,
    /// Its tenant; none: any.
    pub(super) tenant: Option<&'a String>,
    /// Last position.
    pub(super) at: Option<u64>,
    /// How many times faster than it happened; none: without pauses.
    pub(super) speed: Option<f64>,
    /// Text of another policy to decide by.
    pub(super) policy: Option<String>,
}

/// Runs the command; exit code 1 if a decision differs under the recorded policy.
pub(super) async fn run(wanted: Wanted<'_>, global: &Global, output: &Output) -> Result<ExitCode> {
    let connection = connect(global, Otherwise::OpenExisting, output).await?;
    let done = replay(&wanted, &connection, output).await;
    let closed = connection.close().await;
    let summary = done?;
    closed?;
    let differs = wanted.policy.is_none() && summary.calls_differing > 0;
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn replay(wanted: &Wanted<'_>, connection: &Connection, output: &Output) -> Result<ReplaySummary> {
    let mut client = TimelineServiceClient::new(connection.channel());
    let found = find(wanted.session, wanted.tenant, &mut client, connection).await?;
    let session = found.session.context("the daemon answered without a session")?;
    output.line(|| format!("{}\n", session_text(&session)))?;
    let request = ReplaySessionRequest {
        tenant: session.tenant.clone(),
        session_key: session.session_key.clone(),
        options: Some(ReplayOptions {
            policy_text: wanted.policy.clone().unwrap_or_default(),
            ..ReplayOptions::default()
        }),
        to_position: wanted.at,
        include_events: true,
        include_payloads: true,
    };
    let mut steps = client.replay_session(request).await.map_err(|status| refused(&status))?.into_inner();
    let mut told =
        Telling { output, speed: wanted.speed, last_us: None, tool: String::new(), calls: Vec::new() };
    let mut summary = None;
    while let Some(step) = steps.message().await.map_err(|status| refused(&status))? {
        match step.step {
            Some(Step::Event(event)) => told.event(&event).await?,
            Some(Step::Call(call)) => told.call(&call)?,
            Some(Step::Summary(end)) => summary = Some(end),
            None => {}
        }
    }
    let summary = summary.context("the replay broke off")?;
    let value = json!({
        "session_key": session.session_key,
        "tenant": session.tenant,
        "calls": told.calls,
        "decided": summary.calls,
        "differing": summary.calls_differing,
        "verdicts_differing": summary.verdicts_differing,
        "position": summary.end_position,
        "state_digest": hex(&summary.state_digest),
    });
    output.result(&value, || {
        format!(
            "\n{} calls decided again as of their own moments: {} differ, {} in their verdict\nstate at position {}: {}",
            summary.calls,
            summary.calls_differing,
            summary.verdicts_differing,
            summary.end_position,
            hex(&summary.state_digest)
        )
    })?;
    Ok(summary)
}

/// Tells a session step by step.
struct Telling<'a> {
    output: &'a Output,
    speed: Option<f64>,
    last_us: Option<i64>,
    tool: String,
    calls: Vec<Value>,
}

impl Telling<'_> {
    async fn event(&mut self, event: &Event) -> Result<()> {
        let at_us = event.event_time.as_ref().map(micros);
        if let (Some(speed), Some(last), Some(at)) = (self.speed, self.last_us, at_us) {
            let pause = Duration::from_micros(at.saturating_sub(last).max(0).unsigned_abs());
            tokio::time::sleep(pause.div_f64(speed).min(PAUSE_MAX)).await;
        }
        self.last_us = at_us.or(self.last_us);
        let [time, position, kind, tool, verdict, risk, what] = row(event, &mut self.tool);
        self.output.line(|| {
            let figures = if verdict.is_empty() { String::new() } else { format!("{verdict} risk {risk}  ") };
            format!("{time}  {position:>7}  {kind:<9}  {tool:<24}  {figures}{what}")
        })
    }

    fn call(&mut self, call: &ReplayedCall) -> Result<()> {
        let verdict = |decision: &Option<crate::proto::v1::Decision>| {
            decision.as_ref().map_or_else(String::new, |decision| verdict_name(decision.computed_verdict()))
        };
        let (recorded, now) = (verdict(&call.recorded), verdict(&call.replayed));
        self.calls.push(json!({
            "call_id": call.call_id,
            "position": call.position,
            "recorded": recorded,
            "now": now,
            "equal": call.equal,
            "difference": call.difference,
        }));
        if call.equal {
            return Ok(());
        }
        self.output.line(|| format!("{:width$}  now differs: {}", "", shown(&call.difference), width = 24))
    }
}
