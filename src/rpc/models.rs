//! `ModelService`: models that were fitted outside, and what was learnt.

use super::convert::learning::model;
use super::convert::stream_of_key;
use super::page::size;
use super::shared::{Shared, tenant_of};
use super::status::Failure;
use crate::decide::ingest::check_name;
use crate::detector::p_reject::PReject;
use crate::domain::event::{Event, ModelAdopted};
use crate::domain::hex::hex;
use crate::domain::position::Position;
use crate::engine::{Command, Engine, Error, EventView};
use crate::proto::v1;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Models of a page by default, and at most.
const PAGE: (usize, usize) = (50, 1_000);
/// Longest name of a model, bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest card of a model, bytes.
const CARD_BYTES_MAX: usize = 64 << 10;
/// Longest reason, bytes.
const REASON_BYTES_MAX: usize = 4 << 10;
/// Records looked through at a time.
const SCAN: usize = 10_000;

/// The service.
pub(super) struct Models {
    shared: Arc<Shared>,
}

impl Models {
    /// Over this engine.
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Models of the first partition: a model is adopted in all of them.
    async fn list(&self, request: v1::ListModelsRequest) -> Result<v1::ListModelsResponse, Failure> {
        if !request.page_token.is_empty() {
            return Err(Failure::token("page_token"));
        }
        let page = size(request.page_size, PAGE.0, PAGE.1);
        let mut models = self.shared.read(adopted).await?;
        models.reverse();
        models.truncate(page);
        let current_revision = models.first().map_or_else(String::new, |model| model.revision.clone());
        Ok(v1::ListModelsResponse { models, next_page_token: String::new(), current_revision })
    }

    async fn adopt(&self, request: v1::AdoptModelRequest) -> Result<v1::AdoptModelResponse, Failure> {
        if request.name.is_empty() || request.name.len() > NAME_BYTES_MAX {
            return Err(Failure::field("name", format!("needs 1 to {NAME_BYTES_MAX} bytes")));
        }
        if request.card.is_empty() || request.card.len() > CARD_BYTES_MAX {
            return Err(Failure::field("card", format!("needs 1 to {CARD_BYTES_MAX} bytes")));
        }
        PReject::parse(&request.parameters).map_err(|why| Failure::field("parameters", why))?;
        let digest = Sha256::digest(&request.parameters);
        let event = ModelAdopted {
            revision: hex(&digest[..8]),
            name: request.name,
            card: request.card,
            parameters: request.parameters.to_vec(),
        };
        let engine = &self.shared.engine;
        let now = engine.now();
        let mut first = None;
        for partition in 0..engine.partitions() {
            let event = event.clone();
            let position = engine
                .call_partition(partition, |reply| Command::AdoptModel { model: Box::new(event), now, reply })
                .await?;
            first = first.or(position);
        }
        let position = first.map_or(0, Position::get);
        let mut model = model(event, now, position);
        model.parameters.clear();
        Ok(v1::AdoptModelResponse { model: Some(model) })
    }

    async fn unlearn(
        &self,
        request: v1::UnlearnSessionRequest,
    ) -> Result<v1::UnlearnSessionResponse, Failure> {
        let tenant = tenant_of(&request.tenant).to_owned();
        check_name("tenant", &tenant, false).map_err(Failure::invalid)?;
        let Some(session) = stream_of_key(&request.session_key) else {
            return Err(Failure::field("session_key", "is not 32 lower-case hex digits"));
        };
        if request.reason.len() > REASON_BYTES_MAX {
            return Err(Failure::field("reason", format!("has more than {REASON_BYTES_MAX} bytes")));
        }
        let engine = &self.shared.engine;
        let unlearned = engine.ask(&tenant, |state| state.unlearned().clone()).await?;
        if unlearned.len() >= crate::decide::UNLEARNED_MAX {
            return Err(Failure::new(
                v1::ErrorCode::QuotaExceeded,
                format!("{} sessions are unlearnt already, the most there may be", unlearned.len()),
            ));
        }
        let name = tenant.clone();
        let relearning = self.shared.read(move |engine| engine.relearning(&name, session, unlearned)).await?;
        let (name, reason, now) = (tenant.clone(), request.reason, engine.now());
        let make = |reply| Command::Unlearn {
            tenant: name,
            session,
            reason,
            relearning: Box::new(relearning),
            now,
            reply,
        };
        let position = engine.call(&tenant, make).await?;
        Ok(v1::UnlearnSessionResponse { position: position.map_or(0, Position::get) })
    }
}

/// Every model that was adopted, oldest first, without parameters.
fn adopted(engine: &Engine) -> Result<Vec<v1::Model>, Error> {
    let mut found = Vec::new();
    let mut from = Position::FIRST;
    loop {
        let events = engine.partition_events(0, from, SCAN, EventView::Basic)?;
        let Some(last) = events.last() else { return Ok(found) };
        from = last.recorded.position.next();
        for event in events {
            let (position, at) = (event.recorded.position.get(), event.recorded.record.receive_time);
            if let Event::ModelAdopted(adopted) = event.recorded.record.event {
                let mut model = model(adopted, at, position);
                model.parameters.clear();
                found.push(model);
            }
        }
    }
}

#[tonic::async_trait]
impl v1::model_service_server::ModelService for Models {
    async fn list_models(
        &self,
        request: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn adopt_model(
        &self,
        request: Request<v1::AdoptModelRequest>,
    ) -> Result<Response<v1::AdoptModelResponse>, Status> {
        Ok(Response::new(self.adopt(request.into_inner()).await?))
    }

    async fn unlearn_session(
        &self,
        request: Request<v1::UnlearnSessionRequest>,
    ) -> Result<Response<v1::UnlearnSessionResponse>, Status> {
        Ok(Response::new(self.unlearn(request.into_inner()).await?))
    }
}
