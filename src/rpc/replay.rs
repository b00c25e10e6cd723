//! `ReplaySession` and `ReplayLog`: decides recorded calls again, and tells what came out.
//!
//! A replay folds the log from its beginning on a thread of its own, one replay at a time; the worker goes on
//! beside it. A client that reads nothing for too long is cut.

use super::convert::decision::core;
use super::convert::event::Converter;
use super::convert::{key_of_stream, stream_of_key};
use super::shared::{Shared, tenant_of};
use super::status::Failure;
use crate::decide::ingest::check_name;
use crate::detector::sentence::shown;
use crate::domain::decision::{Decision, Mode};
use crate::domain::position::Position;
use crate::domain::stream::StreamId;
use crate::engine::{Engine, EventView, Plan, Redecided, ReplayReport, Step, replay_with};
use crate::policy::{self, Policy};
use crate::proto::v1::{self, ErrorCode};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Messages that wait for a client.
const WAITING_MAX: usize = 64;
/// Pause between two words of progress.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);
/// Differences sent by default, and at most.
const DIFFERENCES: (u32, u32) = (100, 10_000);

/// The messages of a replay.
pub(super) type ReplayStream<T> = ReceiverStream<Result<T, Status>>;

/// Begins the replay of a session.
pub(super) async fn session(
    shared: &Arc<Shared>,
    request: v1::ReplaySessionRequest,
) -> Result<ReplayStream<v1::ReplaySessionResponse>, Failure> {
    let tenant = tenant_of(&request.tenant).to_owned();
    check_name("tenant", &tenant, false).map_err(Failure::invalid)?;
    let stream = stream_of_key(&request.session_key)
        .ok_or_else(|| Failure::field("session_key", "is not 32 hex digits"))?;
    let plan = Plan {
        policy: chosen(shared, &tenant, request.options).await?,
        only: Some(stream),
        tenant: Some(tenant.clone()),
        ..Plan::default()
    };
    let name = tenant.clone();
    let last = shared.read(move |engine| last_position(engine, &name, stream)).await?;
    let unknown = || crate::engine::Error::NotFound(format!("session {}", key_of_stream(&stream)));
    let last = last.ok_or_else(unknown)?;
    let to = request.to_position.map_or(last, Position::new).min(last);
    let view = if request.include_payloads { EventView::Full } else { EventView::Basic };
    let events = request.include_events.then_some((stream, view));
    begin(shared, move |engine, outbox| {
        let mut sending =
            SessionReplay { engine, tenant: &tenant, events, converter: Converter::default(), outbox };
        replay_with(engine.log(&tenant), to, &plan, |step| sending.step(step))
            .map(|report| v1::replay_session_response::Step::Summary(summary(&report)))
            .map(|step| v1::ReplaySessionResponse { step: Some(step) })
    })
}

/// Begins the replay of a log.
pub(super) async fn log(
    shared: &Arc<Shared>,
    request: v1::ReplayLogRequest,
) -> Result<ReplayStream<v1::ReplayLogResponse>, Failure> {
    let only = (!request.tenant.is_empty()).then(|| request.tenant.clone());
    let partition = match &only {
        Some(tenant) => shared.engine.partition_of(tenant),
        None => request.partition as usize,
    };
    let Some(log) = shared.engine.logs().nth(partition).cloned() else {
        let most = shared.engine.partitions() - 1;
        return Err(Failure::field("partition", format!("is over {most}, the last")));
    };
    let tail = log.position();
    let to = request.to_position.map_or(tail, Position::new).min(tail);
    let most = match request.differences_max {
        0 => DIFFERENCES.0,
        asked => asked.min(DIFFERENCES.1),
    };
    let tenant = only.clone().unwrap_or_default();
    let plan = Plan {
        policy: chosen(shared, &tenant, request.options).await?,
        from: Position::new(request.from_position),
        tenant: only,
        ..Plan::default()
    };
    begin(shared, move |_, outbox| {
        let mut sending = LogReplay { left: most, end: to, told: Instant::now(), outbox };
        replay_with(&log, to, &plan, |step| sending.step(&step))
            .map(|report| v1::replay_log_response::Step::Summary(summary(&report)))
            .map(|step| v1::ReplayLogResponse { step: Some(step) })
    })
}

/// The policy that a request wants to decide by; none: the recorded ones.
async fn chosen(
    shared: &Shared,
    tenant: &str,
    options: Option<v1::ReplayOptions>,
) -> Result<Option<Policy>, Failure> {
    let options = options.unwrap_or_default();
    if !options.model_revision.is_empty() {
        return Err(Failure::unavailable_option("options.model_revision", "scores with another model"));
    }
    if !options.policy_text.is_empty() && !options.policy_revision.is_empty() {
        return Err(Failure::field("options.policy_text", "and policy_revision are both set; set one"));
    }
    if !options.policy_text.is_empty() {
        let parsed = policy::parse(&options.policy_text, Mode::Enforce, shared.engine.now());
        return parsed.map(Some).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(|fault| shown(&fault.to_string())).collect();
            Failure::new(ErrorCode::PolicyInvalid, format!("the policy has faults: {}", faults.join("; ")))
        });
    }
    if options.policy_revision.is_empty() {
        return Ok(None);
    }
    let revision: u64 = options.policy_revision.parse().map_err(|_| {
        Failure::field("options.policy_revision", "is no number; it is the position of a policy")
    })?;
    let name = tenant_of(tenant).to_owned();
    shared.read(move |engine| engine.policy_at(&name, Position::new(revision))).await.map(Some)
}

/// Position of the last event of a session, if it is the tenant's.
fn last_position(
    engine: &Engine,
    tenant: &str,
    stream: StreamId,
) -> Result<Option<Position>, crate::engine::Error> {
    let last = engine.session_last(tenant, stream)?;
    let events = engine.session_events(tenant, stream, last, 1, EventView::Basic)?;
    Ok(events
        .last()
        .filter(|event| super::convert::event::tenant_of_event(event) == Some(tenant))
        .map(|event| event.recorded.position))
}

/// Where the messages of a replay go.
struct Outbox<T> {
    sender: mpsc::Sender<Result<T, Status>>,
    runtime: Handle,
    stall: Duration,
}

impl<T> Outbox<T> {
    /// Hands a message over; waits for the client to read, but not for ever.
    fn send(&self, message: T) -> ControlFlow<()> {
        let sent = self.runtime.block_on(tokio::time::timeout(self.stall, self.sender.send(Ok(message))));
        if matches!(sent, Ok(Ok(()))) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// The place of the one replay or backtest that may run.
pub(super) fn permit(shared: &Arc<Shared>) -> Result<OwnedSemaphorePermit, Failure> {
    Arc::clone(&shared.replays).try_acquire_owned().map_err(|_| {
        Failure::new(ErrorCode::QuotaExceeded, "another replay runs").retry_after(Duration::from_secs(1))
    })
}

/// Runs a replay beside everything else.
fn begin<T: Send + 'static>(
    shared: &Arc<Shared>,
    run: impl FnOnce(&Engine, &Outbox<T>) -> Result<T, crate::engine::Error> + Send + 'static,
) -> Result<ReplayStream<T>, Failure> {
    let permit = permit(shared)?;
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let outbox =
        Outbox { sender: sender.clone(), runtime: Handle::current(), stall: shared.options.watcher_stall };
    let engine = shared.engine.clone();
    tokio::task::spawn_blocking(move || {
        let end = run(&engine, &outbox).map_err(|error| Status::from(Failure::from(error)));
        // A client that went away hears nothing.
        let _gone = outbox.runtime.block_on(tokio::time::timeout(outbox.stall, sender.send(end)));
        drop(permit);
    });
    Ok(ReceiverStream::new(receiver))
}

struct SessionReplay<'a> {
    engine: &'a Engine,
    tenant: &'a str,
    /// The session whose other events are sent, and how much of them.
    events: Option<(StreamId, EventView)>,
    converter: Converter,
    outbox: &'a Outbox<v1::ReplaySessionResponse>,
}

impl SessionReplay<'_> {
    fn step(&mut self, step: Step<'_>) -> ControlFlow<()> {
        use v1::replay_session_response::Step as Sent;
        let sent = match step {
            Step::Call(call) => Sent::Call(replayed(call)),
            Step::Event(recorded) => {
                let Some((stream, view)) = self.events else { return ControlFlow::Continue(()) };
                if recorded.record.stream != stream {
                    return ControlFlow::Continue(());
                }
                let found =
                    self.engine.session_events(self.tenant, stream, recorded.record.revision, 1, view);
                let Some(event) = found.ok().and_then(|events| events.into_iter().next()) else {
                    return ControlFlow::Continue(());
                };
                self.converter.note(&event);
                let partition = self.engine.partition_of(self.tenant);
                Sent::Event(self.converter.event(event, partition as u32))
            }
            Step::Progress(..) => {
                // A client that went away long before its session begins is noticed here.
                if self.outbox.sender.is_closed() {
                    return ControlFlow::Break(());
                }
                return ControlFlow::Continue(());
            }
        };
        self.outbox.send(v1::ReplaySessionResponse { step: Some(sent) })
    }
}

struct LogReplay<'a> {
    /// Differences that may still be sent.
    left: u32,
    end: Position,
    told: Instant,
    outbox: &'a Outbox<v1::ReplayLogResponse>,
}

impl LogReplay<'_> {
    fn step(&mut self, step: &Step<'_>) -> ControlFlow<()> {
        use v1::replay_log_response::Step as Sent;
        let sent = match step {
            Step::Call(call) if self.left > 0 && !call.is_equal() => {
                self.left -= 1;
                Sent::Difference(replayed(call))
            }
            Step::Progress(position, calls) if self.told.elapsed() >= PROGRESS_PAUSE => {
                self.told = Instant::now();
                let end_position = self.end.get();
                Sent::Progress(v1::ReplayProgress { position: position.get(), end_position, calls: *calls })
            }
            Step::Progress(..) if self.outbox.sender.is_closed() => return ControlFlow::Break(()),
            _ => return ControlFlow::Continue(()),
        };
        self.outbox.send(v1::ReplayLogResponse { step: Some(sent) })
    }
}

fn replayed(call: &Redecided) -> v1::ReplayedCall {
    v1::ReplayedCall {
        call_id: call.call_id.clone(),
        session_key: key_of_stream(&call.stream),
        position: call.position.get(),
        recorded: Some(core(&call.recorded, false, None)),
        replayed: Some(core(&call.now, false, None)),
        equal: call.is_equal(),
        difference: difference(&call.recorded, &call.now),
    }
}

/// What differs, in one sentence; empty: nothing.
fn difference(recorded: &Decision, now: &Decision) -> String {
    if recorded == now {
        return String::new();
    }
    let mut parts = Vec::new();
    if recorded.verdict != now.verdict {
        parts.push(format!("the verdict was {} and is {}", recorded.verdict, now.verdict));
    }
    if recorded.rule_id != now.rule_id {
        let name = |rule: &str| {
            if rule.is_empty() { "no rule".to_owned() } else { format!("rule `{}`", shown(rule)) }
        };
        parts.push(format!("{} decided and {} does", name(&recorded.rule_id), name(&now.rule_id)));
    }
    if recorded.category != now.category {
        parts.push(format!("the category was {} and is {}", recorded.category, now.category));
    }
    if recorded.assessment.risk != now.assessment.risk {
        parts.push(format!("the risk was {} and is {}", recorded.assessment.risk, now.assessment.risk));
    }
    if recorded.assessment.evidence != now.assessment.evidence {
        let (before, after) = (recorded.assessment.evidence, now.assessment.evidence);
        parts.push(format!("the evidence was {before} and is {after} millibits"));
    }
    if parts.is_empty() {
        parts.push("figures behind an equal verdict and risk differ".to_owned());
    }
    parts.join("; ")
}

fn summary(report: &ReplayReport) -> v1::ReplaySummary {
    let mut changes: Vec<v1::VerdictChange> = report
        .changes
        .iter()
        .map(|((rule_id, from, to), changed)| v1::VerdictChange {
            rule_id: rule_id.clone(),
            from: v1::Verdict::from(*from).into(),
            to: v1::Verdict::from(*to).into(),
            calls: changed.calls,
            example_call_ids: changed.examples.clone(),
        })
        .collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.calls));
    v1::ReplaySummary {
        calls: report.decided,
        calls_differing: report.differing,
        verdicts_differing: report.verdicts_differing,
        events: report.records,
        end_position: report.position.get(),
        state_digest: report.state_digest.to_vec().into(),
        changes,
    }
}
