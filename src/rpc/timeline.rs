//! `TimelineService`: looking back. Reads never stop the engine's thread.

use super::convert::micros;
use super::events::{Page, Scope};
use super::explain;
use super::page::{Tokens, size};
use super::replay::{self, ReplayStream};
use super::sessions;
use super::shared::Shared;
use super::status::Failure;
use super::unimplemented;
use super::watch::{self, WatchStream};
use crate::domain::time::Timestamp;
use crate::proto::v1;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Events of a page by default, and at most.
const PAGE: (usize, usize) = (1_000, 10_000);

/// The service.
pub(super) struct Timeline {
    shared: Arc<Shared>,
}

impl Timeline {
    /// Over this engine.
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn list(&self, mut request: v1::ListEventsRequest) -> Result<v1::ListEventsResponse, Failure> {
        let token = std::mem::take(&mut request.page_token);
        let page_size = size(std::mem::take(&mut request.page_size), PAGE.0, PAGE.1);
        let tokens = Tokens::new(self.shared.engine.key(""), "events", &request);
        let mut faults = Vec::new();
        let since = micros("from_time", request.from_time.as_ref(), &mut faults);
        let until = micros("to_time", request.to_time.as_ref(), &mut faults);
        if !faults.is_empty() {
            return Err(Failure::invalid(faults));
        }
        let resume = if token.is_empty() { None } else { Some(tokens.open_number("page_token", &token)?) };
        let page = Page {
            scope: Scope::new(&self.shared.engine, request.filter)?,
            positions: request.from_position.max(1)..=request.to_position.unwrap_or(u64::MAX),
            since: since.map(Timestamp::from_micros),
            until: until.map(Timestamp::from_micros),
            descending: request.descending,
            size: page_size,
            resume,
        };
        // A page carries its own failures: a position out of range is none of the engine's.
        let (events, next) = self.shared.read(move |engine| Ok(page.read(engine))).await??;
        let next_page_token = next.map_or_else(String::new, |place| tokens.seal_number(place));
        Ok(v1::ListEventsResponse { events, next_page_token })
    }
}

#[tonic::async_trait]
impl v1::timeline_service_server::TimelineService for Timeline {
    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        Ok(Response::new(sessions::list(&self.shared, request.into_inner()).await?))
    }

    async fn get_session(
        &self,
        request: Request<v1::GetSessionRequest>,
    ) -> Result<Response<v1::GetSessionResponse>, Status> {
        Ok(Response::new(sessions::get(&self.shared, request.into_inner()).await?))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    type WatchEventsStream = WatchStream;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<WatchStream>, Status> {
        Ok(Response::new(watch::begin(&self.shared, request.into_inner())?))
    }

    type ReplaySessionStream = ReplayStream<v1::ReplaySessionResponse>;

    async fn replay_session(
        &self,
        request: Request<v1::ReplaySessionRequest>,
    ) -> Result<Response<Self::ReplaySessionStream>, Status> {
        Ok(Response::new(replay::session(&self.shared, request.into_inner()).await?))
    }

    type ReplayLogStream = ReplayStream<v1::ReplayLogResponse>;

    async fn replay_log(
        &self,
        request: Request<v1::ReplayLogRequest>,
    ) -> Result<Response<Self::ReplayLogStream>, Status> {
        Ok(Response::new(replay::log(&self.shared, request.into_inner()).await?))
    }

    async fn explain_decision(
        &self,
        request: Request<v1::ExplainDecisionRequest>,
    ) -> Result<Response<v1::ExplainDecisionResponse>, Status> {
        Ok(Response::new(explain::explain(&self.shared, request.into_inner()).await?))
    }

    async fn get_inclusion_proof(
        &self,
        _: Request<v1::GetInclusionProofRequest>,
    ) -> Result<Response<v1::GetInclusionProofResponse>, Status> {
        Err(unimplemented::status("TimelineService/GetInclusionProof"))
    }

    async fn get_consistency_proof(
        &self,
        _: Request<v1::GetConsistencyProofRequest>,
    ) -> Result<Response<v1::GetConsistencyProofResponse>, Status> {
        Err(unimplemented::status("TimelineService/GetConsistencyProof"))
    }

    async fn get_checkpoint(
        &self,
        _: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        Err(unimplemented::status("TimelineService/GetCheckpoint"))
    }
}
