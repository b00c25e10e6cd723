//! Rules that people granted, and the policy together with them.

use super::policy::current_policy;
use super::shared::Shared;
use super::status::Failure;
use crate::domain::event::{Event, RuleAccepted};
use crate::domain::position::Position;
use crate::domain::time::Timestamp;
use crate::engine::EventView;
use crate::policy::{self, Policy};
use crate::projection::{Grant, State};
use std::sync::Arc;

/// The grants of a tenant that hold now.
pub(super) async fn holding(shared: &Arc<Shared>, tenant: &str) -> Result<Vec<Grant>, Failure> {
    let (name, now) = (tenant.to_owned(), shared.engine.now());
    let held = move |state: &State| {
        let grants = state.tenant(&name).into_iter().flat_map(|tenant| tenant.policies.grants());
        let holding = grants.filter(|(_, grant)| grant.expires.is_none_or(|expires| expires > now));
        holding.map(|(_, grant)| grant.clone()).collect()
    };
    Ok(shared.engine.ask(tenant, held).await?)
}

/// The policy that decides a tenant's next call, with the rules that people granted.
pub(super) async fn with_grants(shared: &Arc<Shared>, tenant: &str) -> Result<Policy, Failure> {
    let policy = current_policy(shared, tenant).await?;
    let mut rules = Vec::new();
    for grant in holding(shared, tenant).await? {
        let found = grant_at(shared, tenant, grant.position).await?;
        rules.extend(found.and_then(|(event, at)| policy::granted(&event, at).ok()));
    }
    Ok(policy.with_rules(rules))
}

/// The grant whose event is there.
pub(super) async fn grant_at(
    shared: &Arc<Shared>,
    tenant: &str,
    at: Position,
) -> Result<Option<(RuleAccepted, Timestamp)>, Failure> {
    let name = tenant.to_owned();
    let found = shared.read(move |engine| engine.log_events(&name, at, 1, EventView::Basic)).await?;
    Ok(found.into_iter().next().and_then(|event| {
        let when = event.recorded.record.receive_time;
        match event.recorded.record.event {
            Event::RuleAccepted(grant) => Some((grant, when)),
            _ => None,
        }
    }))
}
