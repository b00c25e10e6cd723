//! `ControlService`: how the daemon is. What changes it is not available in this version.

use super::convert::learning::budget;
use super::convert::timestamp;
use super::feed;
use super::identity::identity_of;
use super::locks;
use super::outbox::Reader;
use super::page::Tokens;
use super::shared::Shared;
use super::status::Failure;
use super::unimplemented;
use crate::decide::SCORING_VERSION;
use crate::engine::{CountersView, PartitionHealth};
use crate::projection::{State, Tenant};
use crate::proto::v1;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Sessions learnt before baselines count as warm.
const WARM_SESSIONS: u64 = 20;

/// The service.
pub(super) struct Control {
    shared: Arc<Shared>,
}

impl Control {
    /// Over this engine.
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn status(&self, request: v1::GetStatusRequest) -> Result<v1::GetStatusResponse, Failure> {
        let engine = &self.shared.engine;
        let health = self.shared.read(|engine| Ok(engine.health())).await?;
        let wanted = request.tenant;
        let by_partition = engine
            .ask_all(move |state| {
                let admitted = |name: &String| wanted.is_empty() || *name == wanted;
                let tenants = state.tenants().filter(|(name, _)| admitted(name));
                let tenants: Vec<_> = tenants.map(|(name, tenant)| describe(state, name, tenant)).collect();
                let evictions = |tenant: &Tenant| tenant.inventory.refused() + tenant.evicted_sessions;
                (tenants, state.tenants().map(|(_, tenant)| evictions(tenant)).sum::<u64>())
            })
            .await?;
        let storage = v1::StorageStatus {
            used_bytes: health.iter().map(|partition| partition.used_bytes).sum(),
            free_bytes: health.iter().filter_map(|partition| partition.free_bytes).min().unwrap_or(0),
            oldest_position: 1,
            ..v1::StorageStatus::default()
        };
        let mut tenants = Vec::new();
        let mut partitions = Vec::new();
        for (health, answer) in health.into_iter().zip(by_partition) {
            let (known, evictions) = answer.unwrap_or_default();
            partitions.push(partition(health, evictions));
            tenants.extend(known);
        }
        tenants.sort_by(|one, other| one.tenant.cmp(&other.tenant));
        let refused = self.shared.gate.refused();
        Ok(v1::GetStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            start_time: Some(timestamp(self.shared.started)),
            now: Some(timestamp(engine.now())),
            partitions,
            tenants,
            storage: Some(storage),
            subscriptions: Vec::new(),
            connections: Some(v1::ConnectionStatus {
                open: self.shared.gate.open() as u64,
                refused_full: refused.full,
                refused_peer_full: refused.peer_full,
                refused_no_preface: refused.no_preface,
            }),
        })
    }
}

fn describe(state: &State, name: &str, tenant: &Tenant) -> v1::TenantStatus {
    v1::TenantStatus {
        tenant: name.to_owned(),
        policy_revision: state.policy_revision.to_string(),
        model_revision: SCORING_VERSION.to_string(),
        calls: tenant.verdicts.iter().sum(),
        sessions_open: tenant.sessions.len() as u64,
        reviews_open: state
            .reviews
            .iter()
            .filter(|review| review.tenant == name && review.state.is_open())
            .count() as u64,
        locks: state
            .locks
            .held()
            .filter(|known| known.lock.on.tenant.is_empty() || known.lock.on.tenant == name)
            .count() as u64,
        budget: Some(budget(&tenant.budget)),
        warming_up: tenant.models.sessions() < WARM_SESSIONS,
        ..v1::TenantStatus::default()
    }
}

fn partition(health: PartitionHealth, evictions: u64) -> v1::PartitionStatus {
    v1::PartitionStatus {
        partition: health.partition,
        tail_position: health.tail.get(),
        head_hash: prost::bytes::Bytes::copy_from_slice(&health.head_hash),
        snapshot_position: health.snapshot.get(),
        writable: health.not_writable.is_none(),
        not_writable_reason: health.not_writable.unwrap_or_default(),
        queue_len: u32::try_from(health.queue_len).unwrap_or(u32::MAX),
        queue_len_max: u32::try_from(health.queue_len_max).unwrap_or(u32::MAX),
        evictions,
        counters: counters(&health.counters),
    }
}

fn counters(view: &CountersView) -> Vec<v1::Counter> {
    view.named().map(|(name, value)| v1::Counter { name: name.to_owned(), value }).collect()
}

#[tonic::async_trait]
impl v1::control_service_server::ControlService for Control {
    async fn place_lock(
        &self,
        request: Request<v1::PlaceLockRequest>,
    ) -> Result<Response<v1::PlaceLockResponse>, Status> {
        let identity = identity_of(&request)?;
        Ok(Response::new(locks::place(&self.shared, request.into_inner(), &identity).await?))
    }

    async fn lift_lock(
        &self,
        request: Request<v1::LiftLockRequest>,
    ) -> Result<Response<v1::LiftLockResponse>, Status> {
        let identity = identity_of(&request)?;
        Ok(Response::new(locks::lift(&self.shared, request.into_inner(), &identity).await?))
    }

    async fn list_locks(
        &self,
        request: Request<v1::ListLocksRequest>,
    ) -> Result<Response<v1::ListLocksResponse>, Status> {
        let identity = identity_of(&request)?;
        Ok(Response::new(locks::list(&self.shared, request.into_inner(), identity).await?))
    }

    type WatchLocksStream = Reader<v1::WatchLocksResponse>;

    async fn watch_locks(
        &self,
        request: Request<v1::WatchLocksRequest>,
    ) -> Result<Response<Self::WatchLocksStream>, Status> {
        let identity = identity_of(&request)?;
        let request = request.into_inner();
        let filters = v1::WatchLocksRequest { resume_token: String::new(), ..request.clone() };
        let tokens = Tokens::new(self.shared.engine.key(""), "watch locks", &filters);
        let feed = locks::LockFeed::new(request.tenant, identity)?;
        Ok(Response::new(feed::begin(&self.shared, feed, tokens, &request.resume_token)?))
    }

    async fn set_mode(
        &self,
        _: Request<v1::SetModeRequest>,
    ) -> Result<Response<v1::SetModeResponse>, Status> {
        Err(unimplemented::status("ControlService/SetMode"))
    }

    async fn take_snapshot(
        &self,
        _: Request<v1::TakeSnapshotRequest>,
    ) -> Result<Response<v1::TakeSnapshotResponse>, Status> {
        Err(unimplemented::status("ControlService/TakeSnapshot"))
    }

    async fn create_backup(
        &self,
        _: Request<v1::CreateBackupRequest>,
    ) -> Result<Response<v1::CreateBackupResponse>, Status> {
        Err(unimplemented::status("ControlService/CreateBackup"))
    }

    async fn erase_payload(
        &self,
        _: Request<v1::ErasePayloadRequest>,
    ) -> Result<Response<v1::ErasePayloadResponse>, Status> {
        Err(unimplemented::status("ControlService/ErasePayload"))
    }

    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        Ok(Response::new(self.status(request.into_inner()).await?))
    }
}
