//! `GatewayService`: ask before a call, tell after it.

use super::convert::call::{Echo, FINGERPRINT_SCHEME, Intake, admit};
use super::convert::event::tenant_of_event;
use super::convert::review::of_review_id;
use super::convert::{decision, duration, span, stream_of_key, tool};
use super::deadline::answer_by;
use super::evaluate_stream::EvaluateStream;
use super::identity::identity_of;
use super::intake::{self, Earlier, Imports, Outcomes};
use super::ordered::Ordered;
use super::router::Arrival;
use super::shared::{Shared, tenant_of};
use super::status::Failure;
use super::waiting;
use crate::decide::ingest::{RawCall, check_name};
use crate::domain::call::limits;
use crate::domain::event::Event;
use crate::domain::json::DEPTH_MAX;
use crate::domain::position::{Position, Revision};
use crate::domain::risk::RiskCategory;
use crate::domain::stream::StreamId;
use crate::engine::{Command, Decided, Definedness, Engine, Error, EventView, Reply};
use crate::projection::{Tool, tool_hash};
use crate::proto::v1;
use crate::telemetry::SPANS;
use prost::bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

/// The service.
pub(super) struct Gateway {
    shared: Arc<Shared>,
}

impl Gateway {
    /// Over this engine.
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Hands a call to the engine and waits for its decision until then; after that, the fallback. `since`: when the
    /// call came, if its answer counts.
    async fn decide(
        &self,
        echo: Echo,
        by: Instant,
        command: impl FnOnce(Reply<Arc<Decided>>) -> Command,
        wait: Option<Instant>,
        since: Option<Instant>,
    ) -> Result<v1::Decision, Failure> {
        let note = |echo: &Echo, verdict| {
            if let Some(since) = since {
                self.shared.tally.note(&echo.tenant, &echo.tool, verdict, since.elapsed());
            }
        };
        let (sender, receiver) = oneshot::channel();
        let reply: Reply<Arc<Decided>> = Box::new(move |answer| {
            let _gone = sender.send(answer);
        });
        self.shared.engine.submit(&echo.tenant, command(reply));
        match timeout_at(by, receiver).await {
            Ok(Ok(Ok(decided))) => {
                note(&echo, Some(decided.decision.answer()));
                let decided = match wait {
                    Some(until) if !waiting::is_final(&decided) => {
                        let (tenant, call_id) = (&echo.tenant, &echo.call_id);
                        waiting::settled_by(&self.shared, tenant, call_id, decided, until).await?
                    }
                    _ => decided,
                };
                Ok(decision::decided(&decided, echo))
            }
            Ok(Ok(Err(error))) => Err(error.into()),
            Ok(Err(_)) => Err(Error::Stopping.into()),
            Err(_) => {
                note(&echo, None);
                self.shared.engine.count(&echo.tenant, |counters| &counters.answers_degraded);
                Ok(decision::fallback(self.shared.fallback(&echo.tenant), echo))
            }
        }
    }

    /// Until when an `Evaluate` waits for a review; none: it does not wait.
    fn wait_until(&self, request: &Request<v1::EvaluateRequest>) -> Result<Option<Instant>, Failure> {
        let wait = checked_span("wait", request.get_ref().wait.as_ref())?;
        let Some(wait) = wait.filter(|wait| !wait.is_zero()) else { return Ok(None) };
        let until = Instant::now() + wait.min(self.shared.options.wait_max);
        let deadline = request.extensions().get::<Arrival>().and_then(|arrival| arrival.deadline);
        Ok(Some(deadline.map_or(until, |_| until.min(self.answer_by(request)))))
    }

    /// When to answer a request.
    fn answer_by<T>(&self, request: &Request<T>) -> Instant {
        let arrival = request.extensions().get::<Arrival>();
        match arrival.and_then(|arrival| Some((arrival.received, arrival.deadline?))) {
            Some((received, deadline)) => answer_by(received, deadline),
            None => Instant::now() + self.shared.options.decision_timeout,
        }
    }
}

/// The review whose approval a call claims. One of another partition is surely of another tenant.
pub(super) fn claimed(review_id: &str, partition: usize) -> Result<Option<Position>, Failure> {
    if review_id.is_empty() {
        return Ok(None);
    }
    match of_review_id(review_id) {
        None => Err(Failure::field("review_id", "is not a review's id, such as r0-123")),
        Some((other, _)) if other != partition => Ok(Some(Position::new(u64::MAX))),
        Some((_, position)) => Ok(Some(position)),
    }
}

/// A span of a request.
fn checked_span(
    field: &'static str,
    sent: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Failure> {
    let mut faults = Vec::new();
    let read = span(field, sent, &mut faults);
    if faults.is_empty() { Ok(read) } else { Err(Failure::invalid(faults)) }
}

impl Gateway {
    async fn evaluated(&self, request: Request<v1::EvaluateRequest>) -> Result<v1::EvaluateResponse, Status> {
        let by = self.answer_by(&request);
        let until = self.wait_until(&request)?;
        let since = request.extensions().get::<Arrival>().map(|arrival| arrival.received);
        let identity = identity_of(&request)?;
        let request = request.into_inner();
        let (mut call, echo) = tracing::trace_span!(target: SPANS, "admit")
            .in_scope(|| admit(&self.shared.engine, request.call, request.explain, Intake::Live))?;
        identity.must_see(&echo.tenant)?;
        call.actor.clone_from(&identity.subject);
        let claims = claimed(&request.review_id, echo.partition)?;
        Earlier::check(&request.earlier)?;
        let earlier = Earlier::submit(&self.shared, &echo.tenant, request.earlier, &identity);
        let command = |reply| match claims {
            None => Command::Evaluate(call, reply),
            Some(review) => Engine::claiming(call, review, reply),
        };
        let span = tracing::trace_span!(target: SPANS, "decide");
        let decision = self.decide(echo, by, command, until, since).instrument(span).await?;
        Ok(v1::EvaluateResponse { decision: Some(decision), recorded: earlier.recorded(by).await })
    }

    async fn register(
        &self,
        request: v1::RegisterToolsRequest,
        actor: String,
    ) -> Result<v1::RegisterToolsResponse, Failure> {
        let tenant = tenant_of(&request.tenant).to_owned();
        check_name("tenant", &tenant, false).map_err(Failure::invalid)?;
        let definitions = tool::definitions(&request.server, request.tools)?;
        let names: Vec<String> = definitions.iter().map(|definition| definition.tool.clone()).collect();
        let engine = &self.shared.engine;
        let defined = engine
            .call(&tenant, |reply| Command::DefineTools {
                tenant: tenant.clone(),
                definitions,
                actor,
                now: engine.now(),
                reply,
            })
            .await?;
        let (asked, server) = (names.clone(), request.server);
        let name = tenant.clone();
        let known = engine
            .ask(&tenant, move |state| {
                let inventory = state.tenant(&name).map(|tenant| &tenant.inventory);
                let tool = |tool: &String| inventory?.get(tool_hash(&state.key(), &server, tool)).cloned();
                asked.iter().map(tool).collect::<Vec<_>>()
            })
            .await?;
        let registration = |((name, defined), known): ((String, Definedness), Option<Tool>)| {
            let Some(known) = known else {
                // Its place was lost to another tool between the two questions.
                return v1::ToolRegistration { name, ..Default::default() };
            };
            v1::ToolRegistration {
                name,
                status: tool::status(known.changed).into(),
                definition_digest: Bytes::copy_from_slice(&known.definition_hash),
                assessment: Some(tool::assessment(known.category, known.capabilities)),
                position: if defined == Definedness::Known { 0 } else { known.defined_at.get() },
            }
        };
        let tools = names.into_iter().zip(defined).zip(known).map(registration).collect();
        Ok(v1::RegisterToolsResponse { tools })
    }

    async fn end(
        &self,
        request: v1::EndSessionRequest,
        actor: String,
    ) -> Result<v1::EndSessionResponse, Failure> {
        let tenant = tenant_of(&request.tenant).to_owned();
        let stream = if request.session_key.is_empty() {
            self.stream_of_hints(&tenant, &request)?
        } else {
            stream_of_key(&request.session_key)
                .ok_or_else(|| Failure::field("session_key", "is not 32 hex digits"))?
        };
        let engine = &self.shared.engine;
        let now = engine.now();
        let name = tenant.clone();
        let closed = engine
            .call(&tenant, |reply| Command::EndSession { tenant: name, stream, actor, now, reply })
            .await?;
        if closed.is_none() {
            let name = tenant.clone();
            let first = self
                .shared
                .read(move |engine| {
                    engine.session_events(&name, stream, Revision::new(1), 1, EventView::Basic)
                })
                .await?;
            let is_ours = first.first().is_some_and(|event| tenant_of_event(event) == Some(tenant.as_str()));
            if !is_ours {
                return Err(Error::NotFound(format!("session {stream}")).into());
            }
        }
        let position = closed.map_or(0, Position::get);
        Ok(v1::EndSessionResponse { session_key: stream.to_string(), position })
    }

    fn stream_of_hints(&self, tenant: &str, request: &v1::EndSessionRequest) -> Result<StreamId, Failure> {
        let missing = "is missing; give a session_key, or hints with an id and the principal_chain";
        let Some(hints) = &request.session else { return Err(Failure::field("session_key", missing)) };
        let raw = RawCall {
            tenant,
            principal_chain: &request.principal_chain,
            session_id: &hints.session_id,
            conversation_id: &hints.conversation_id,
            host_session_id: &hints.host_session_id,
            mcp_session_id: &hints.mcp_session_id,
            ..RawCall::default()
        };
        let stream = self.shared.engine.ingest(tenant).stream(&raw);
        stream.ok_or_else(|| Failure::field("session_key", missing))
    }

    async fn settings(
        &self,
        request: v1::GetGatewaySettingsRequest,
    ) -> Result<v1::GetGatewaySettingsResponse, Failure> {
        let tenant = tenant_of(&request.tenant).to_owned();
        check_name("tenant", &tenant, false).map_err(Failure::invalid)?;
        let name = tenant.clone();
        let revision = self.shared.engine.ask(&tenant, move |state| state.policy_revision_of(&name)).await?;
        let name = tenant.clone();
        let adopted =
            self.shared.read(move |engine| engine.log_events(&name, revision, 1, EventView::Basic)).await?;
        let mode = adopted.first().and_then(|event| match &event.recorded.record.event {
            Event::PolicyAdopted(adopted) => Some(v1::Mode::from(adopted.mode)),
            _ => None,
        });
        let key = self.shared.engine.ingest(&tenant).key;
        let options = &self.shared.options;
        let late = self.shared.fallback(&tenant);
        let fallback = |category: RiskCategory| v1::FallbackVerdict {
            category: v1::RiskCategory::from(category).into(),
            verdict: v1::Verdict::from(late).into(),
        };
        Ok(v1::GetGatewaySettingsResponse {
            tenant,
            mode: mode.unwrap_or(v1::Mode::Unspecified).into(),
            fallbacks: RiskCategory::ALL.map(fallback).into(),
            arguments_bytes_max: limits::ARGUMENTS_BYTES_MAX as u32,
            arguments_depth_max: DEPTH_MAX as u32,
            message_bytes_max: u32::try_from(options.limits.message_bytes_max).unwrap_or(u32::MAX),
            wait_max: Some(duration(options.wait_max)),
            fingerprint_scheme: FINGERPRINT_SCHEME,
            fingerprint_key_id: key.words_id(),
            fingerprint_key: key.told_for_words().to_vec().into(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

/// Id of a scored call that has none.
const SCORED_ID: &str = "score";

#[tonic::async_trait]
impl v1::gateway_service_server::GatewayService for Gateway {
    async fn evaluate(
        &self,
        request: Request<v1::EvaluateRequest>,
    ) -> Result<Response<v1::EvaluateResponse>, Status> {
        let span = tracing::trace_span!(target: SPANS, "evaluate", verdict = tracing::field::Empty);
        let answer = self.evaluated(request).instrument(span.clone()).await?;
        let verdict = answer.decision.as_ref().map_or("", |decision| decision.verdict().as_str_name());
        span.record("verdict", verdict);
        Ok(Response::new(answer))
    }

    type EvaluateStreamStream = EvaluateStream;

    async fn evaluate_stream(
        &self,
        request: Request<Streaming<v1::EvaluateStreamRequest>>,
    ) -> Result<Response<EvaluateStream>, Status> {
        let identity = identity_of(&request)?;
        Ok(Response::new(EvaluateStream::new(Arc::clone(&self.shared), identity, request.into_inner())?))
    }

    async fn score(&self, request: Request<v1::ScoreRequest>) -> Result<Response<v1::ScoreResponse>, Status> {
        let by = self.answer_by(&request);
        let identity = identity_of(&request)?;
        let request = request.into_inner();
        let mut asked = request.call;
        if let Some(call) = asked.as_mut().filter(|call| call.call_id.is_empty()) {
            SCORED_ID.clone_into(&mut call.call_id);
        }
        let (call, echo) = admit(&self.shared.engine, asked, request.explain, Intake::Live)?;
        identity.must_see(&echo.tenant)?;
        let decision = self.decide(echo, by, |reply| Command::Score(call, reply), None, None).await?;
        Ok(Response::new(v1::ScoreResponse { decision: Some(decision) }))
    }

    type AwaitDecisionStream = waiting::Steps;

    async fn await_decision(
        &self,
        request: Request<v1::AwaitDecisionRequest>,
    ) -> Result<Response<Self::AwaitDecisionStream>, Status> {
        let identity = identity_of(&request)?;
        let request = request.into_inner();
        identity.must_see(tenant_of(&request.tenant))?;
        let wait = checked_span("wait", request.wait.as_ref())?.filter(|wait| !wait.is_zero());
        Ok(Response::new(waiting::begin(&self.shared, request, wait).await?))
    }

    async fn get_call_review(
        &self,
        request: Request<v1::GetCallReviewRequest>,
    ) -> Result<Response<v1::GetCallReviewResponse>, Status> {
        identity_of(&request)?.must_see(tenant_of(&request.get_ref().tenant))?;
        Ok(Response::new(super::call_review::look(&self.shared, request.into_inner()).await?))
    }

    async fn record_outcome(
        &self,
        request: Request<v1::RecordOutcomeRequest>,
    ) -> Result<Response<v1::RecordOutcomeResponse>, Status> {
        let identity = identity_of(&request)?;
        let request = request.into_inner();
        let tenant = tenant_of(&request.tenant);
        identity.must_see(tenant)?;
        let (sender, receiver) = oneshot::channel();
        let reply = Box::new(move |answer| {
            let _gone = sender.send(answer);
        });
        let told = intake::Told { tenant, call_id: request.call_id, outcome: request.outcome };
        let command = intake::complete(&self.shared, told, &identity, reply)?;
        self.shared.engine.submit(tenant, command);
        let answer = receiver.await.unwrap_or(Err(Error::Stopping));
        let completed = answer.map_err(Failure::from)?;
        Ok(Response::new(v1::RecordOutcomeResponse {
            position: completed.position.get(),
            repeated_outcome: completed.repeated,
        }))
    }

    type RecordOutcomeStreamStream = Ordered<v1::RecordOutcomeStreamResponse>;

    async fn record_outcome_stream(
        &self,
        request: Request<Streaming<v1::RecordOutcomeStreamRequest>>,
    ) -> Result<Response<Self::RecordOutcomeStreamStream>, Status> {
        let with = Outcomes(Arc::clone(&self.shared), identity_of(&request)?);
        Ok(Response::new(Ordered::new(Arc::clone(&self.shared), request.into_inner(), with)?))
    }

    async fn register_tools(
        &self,
        request: Request<v1::RegisterToolsRequest>,
    ) -> Result<Response<v1::RegisterToolsResponse>, Status> {
        let identity = identity_of(&request)?;
        identity.must_see(tenant_of(&request.get_ref().tenant))?;
        Ok(Response::new(self.register(request.into_inner(), identity.subject.clone()).await?))
    }

    async fn end_session(
        &self,
        request: Request<v1::EndSessionRequest>,
    ) -> Result<Response<v1::EndSessionResponse>, Status> {
        let identity = identity_of(&request)?;
        identity.must_see(tenant_of(&request.get_ref().tenant))?;
        Ok(Response::new(self.end(request.into_inner(), identity.subject.clone()).await?))
    }

    type ImportCallsStream = Ordered<v1::ImportCallsResponse>;

    async fn import_calls(
        &self,
        request: Request<Streaming<v1::ImportCallsRequest>>,
    ) -> Result<Response<Self::ImportCallsStream>, Status> {
        let peer = request.extensions().get::<Arrival>().map(|arrival| *arrival.peer);
        tracing::info!(?peer, "history is handed in");
        let with = Imports(Arc::clone(&self.shared), identity_of(&request)?);
        Ok(Response::new(Ordered::new(Arc::clone(&self.shared), request.into_inner(), with)?))
    }

    async fn get_gateway_settings(
        &self,
        request: Request<v1::GetGatewaySettingsRequest>,
    ) -> Result<Response<v1::GetGatewaySettingsResponse>, Status> {
        identity_of(&request)?.must_see(tenant_of(&request.get_ref().tenant))?;
        Ok(Response::new(self.settings(request.into_inner()).await?))
    }
}
