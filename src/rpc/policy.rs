//! `PolicyService`: policies, grants and suggested rules.

use super::convert::call::{Intake, admit};
use super::convert::policy as convert;
use super::convert::{micros, timestamp};
use super::granted::{grant_at, holding};
use super::identity::identity_of;
use super::page::{Tokens, size};
use super::policy_history::{self, BacktestStream};
use super::shared::{Shared, tenant_of};
use super::status::Failure;
use crate::decide::ingest::{Violation, check_name};
use crate::decide::ruling::Ruling;
use crate::domain::decision::Mode;
use crate::domain::event::{Event, PolicyWithdrawn, RuleAccepted, RuleRevoked};
use crate::domain::position::Position;
use crate::domain::time::Timestamp;
use crate::engine::{Error, EventView};
use crate::policy::examples::{self, Example};
use crate::policy::{self, Cause, Policy, TEXT_BYTES_MAX};
use crate::proto::v1;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Items of a page by default, and at most.
pub(super) const PAGE: (usize, usize) = (50, 1_000);
/// Bytes of a comment or reason.
const COMMENT_BYTES_MAX: usize = 4 * 1024;

/// The service.
pub(super) struct Policies {
    shared: Arc<Shared>,
}

impl Policies {
    /// Over this engine.
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn get(&self, request: v1::GetPolicyRequest) -> Result<v1::GetPolicyResponse, Failure> {
        let tenant = named(&request.tenant)?;
        let name = tenant.clone();
        let current = self.shared.engine.ask(&tenant, move |state| state.policy_revision_of(&name)).await?;
        let revision =
            if request.revision.is_empty() { current } else { position("revision", &request.revision)? };
        let unknown = || Failure::from(Error::NotFound(format!("revision `{revision}` of the policy")));
        let found = adopted_at(&self.shared, &tenant, revision, true).await?.ok_or_else(unknown)?;
        Ok(v1::GetPolicyResponse { policy: Some(found), current: revision == current })
    }

    async fn list(&self, mut request: v1::ListPoliciesRequest) -> Result<v1::ListPoliciesResponse, Failure> {
        let tenant = named(&request.tenant)?;
        let token = std::mem::take(&mut request.page_token);
        let page = size(std::mem::take(&mut request.page_size), PAGE.0, PAGE.1);
        let tokens = Tokens::new(self.shared.engine.key(&tenant), "policies", &request);
        let before = if token.is_empty() { u64::MAX } else { tokens.open_number("page_token", &token)? };
        let name = tenant.clone();
        let revisions = self.shared.read(move |engine| engine.policy_revisions(&name)).await?;
        let mut left = revisions.into_iter().rev().filter(|revision| revision.get() < before);
        let shown: Vec<Position> = left.by_ref().take(page).collect();
        let next_page_token = match (left.next(), shown.last()) {
            (Some(_), Some(last)) => tokens.seal_number(last.get()),
            _ => String::new(),
        };
        let mut policies = Vec::new();
        for revision in shown {
            let found = match adopted_at(&self.shared, &tenant, revision, false).await? {
                None => withdrawn_at(&self.shared, &tenant, revision).await?,
                adopted => adopted,
            };
            policies.extend(found);
        }
        Ok(v1::ListPoliciesResponse { policies, next_page_token })
    }

    async fn check(&self, request: &v1::CheckPolicyRequest) -> Result<v1::CheckPolicyResponse, Failure> {
        let tenant = named(&request.tenant)?;
        check_text(&request.text)?;
        let now = self.shared.engine.now();
        let around = self.shared.engine.surroundings(&tenant).await?;
        let checked = policy::check(&request.text, Mode::Enforce, now, &around);
        let adoptable = checked.is_adoptable();
        let faults = checked.faults.into_iter().map(convert::fault).collect();
        Ok(v1::CheckPolicyResponse { faults, adoptable, revision: String::new() })
    }

    async fn adopt(
        &self,
        request: v1::AdoptPolicyRequest,
        actor: String,
    ) -> Result<v1::AdoptPolicyResponse, Failure> {
        let tenant = named(&request.tenant)?;
        check_text(&request.text)?;
        check_comment("comment", &request.comment)?;
        let name = tenant.clone();
        let current = self.shared.engine.ask(&tenant, move |state| state.policy_revision_of(&name)).await?;
        let base = base_of(&request.base_revision)?;
        let now = self.shared.engine.now();
        let around = self.shared.engine.surroundings(&tenant).await?;
        let checked = policy::check(&request.text, Mode::Enforce, now, &around);
        let faults = checked.faults.into_iter().map(convert::fault).collect();
        let old = adopted_at(&self.shared, &tenant, current, true).await?;
        if let Some(same) = old.filter(|old| old.text == request.text && old.tenant == tenant) {
            return Ok(v1::AdoptPolicyResponse {
                policy: Some(v1::Policy { text: String::new(), ..same }),
                faults,
            });
        }
        let ruling = Ruling::Adopt {
            tenant: tenant.clone(),
            text: request.text,
            // Where the text sets none, the mode that holds now goes on.
            mode: self.shared.engine.mode(&tenant),
            base,
            actor,
            comment: request.comment,
            around,
        };
        let ruled = self.shared.engine.rule(&tenant, ruling).await?;
        let policy = adopted_at(&self.shared, &tenant, ruled.position, false).await?;
        Ok(v1::AdoptPolicyResponse { policy, faults })
    }

    async fn withdraw(
        &self,
        request: v1::WithdrawPolicyRequest,
        actor: String,
    ) -> Result<v1::WithdrawPolicyResponse, Failure> {
        let tenant = named(&request.tenant)?;
        check_comment("comment", &request.comment)?;
        let event = PolicyWithdrawn { tenant: tenant.clone(), actor, comment: request.comment };
        let base = base_of(&request.base_revision)?;
        let ruled = self.shared.engine.rule(&tenant, Ruling::Withdraw { event, base }).await?;
        let name = tenant.clone();
        let current = self.shared.engine.ask(&tenant, move |state| state.policy_revision_of(&name)).await?;
        let policy = adopted_at(&self.shared, &tenant, current, false).await?;
        Ok(v1::WithdrawPolicyResponse { policy, position: ruled.position.get() })
    }

    async fn explain(&self, request: v1::ExplainPolicyRequest) -> Result<v1::ExplainPolicyResponse, Failure> {
        let mut asked = request.call;
        if let Some(call) = asked.as_mut().filter(|call| call.call_id.is_empty()) {
            "explain".clone_into(&mut call.call_id);
        }
        let (call, _) = admit(&self.shared.engine, asked, false, Intake::Live)?;
        let policy = if request.text.is_empty() {
            current_policy(&self.shared, &call.tenant).await?
        } else {
            check_text(&request.text)?;
            parsed(&request.text, self.shared.engine.now())?
        };
        let risk = match request.risk {
            Some(risk) => Some(
                u8::try_from(risk)
                    .ok()
                    .filter(|risk| *risk <= 100)
                    .ok_or_else(|| Failure::field("risk", format!("is {risk}, outside 0 to 100")))?,
            ),
            None => None,
        };
        let example = Example {
            tool: call.tool,
            server: call.server,
            chain: call.principal_chain,
            arguments: call.arguments,
            at: call.receive_time,
            risk,
            category: None,
        };
        Ok(examples::ask(&policy, &example, |outcome, considered| v1::ExplainPolicyResponse {
            verdict: v1::Verdict::from(outcome.effect.verdict()).into(),
            rule_id: outcome.rule.map_or_else(String::new, |rule| rule.id.clone()),
            reason: reason(outcome),
            rules: considered.iter().map(convert::considered).collect(),
            category: v1::RiskCategory::from(outcome.category).into(),
        }))
    }

    async fn accept(
        &self,
        request: v1::AcceptSuggestionRequest,
        actor: String,
    ) -> Result<v1::AcceptSuggestionResponse, Failure> {
        let tenant = named(&request.tenant)?;
        check_comment("comment", &request.comment)?;
        let mut faults = Vec::new();
        let expires = micros("expire_time", request.expire_time.as_ref(), &mut faults);
        if !faults.is_empty() {
            return Err(Failure::invalid(faults));
        }
        let found = policy_history::suggestions(&self.shared, &tenant).await?;
        let wanted = found.into_iter().find(|one| one.id == request.suggestion_id);
        let unknown = || Failure::from(Error::NotFound(format!("suggestion `{}`", request.suggestion_id)));
        let wanted = wanted.ok_or_else(unknown)?;
        let grant = RuleAccepted {
            tenant: tenant.clone(),
            grant_id: String::new(),
            rule_text: wanted.rule_text,
            expires: expires.map(Timestamp::from_micros),
            actor,
            review: Position::ZERO,
            suggestion_id: wanted.id,
            comment: request.comment,
        };
        let ruled = self.shared.engine.rule(&tenant, Ruling::Grant(grant)).await?;
        let grant = grant_at(&self.shared, &tenant, ruled.position)
            .await?
            .map(|(grant, at)| convert::accepted(grant, at, self.shared.engine.partition_of(&tenant)));
        Ok(v1::AcceptSuggestionResponse { grant })
    }

    async fn grants(&self, mut request: v1::ListGrantsRequest) -> Result<v1::ListGrantsResponse, Failure> {
        let tenant = named(&request.tenant)?;
        let token = std::mem::take(&mut request.page_token);
        let page = size(std::mem::take(&mut request.page_size), PAGE.0, PAGE.1);
        let tokens = Tokens::new(self.shared.engine.key(&tenant), "grants", &request);
        let skip = if token.is_empty() { 0 } else { tokens.open_number("page_token", &token)? };
        let mut held = holding(&self.shared, &tenant).await?;
        held.sort_by_key(|grant| (grant.expires.unwrap_or(Timestamp::from_micros(i64::MAX)), grant.position));
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let mut grants = Vec::new();
        for one in held.iter().skip(skip).take(page) {
            if let Some((event, _)) = grant_at(&self.shared, &tenant, one.position).await? {
                grants.push(convert::grant(event, one, self.shared.engine.partition_of(&tenant)));
            }
        }
        let shown = skip.saturating_add(page);
        let more = held.len() > shown;
        let next_page_token = if more { tokens.seal_number(shown as u64) } else { String::new() };
        Ok(v1::ListGrantsResponse { grants, next_page_token })
    }

    async fn revoke(
        &self,
        request: v1::RevokeGrantRequest,
        actor: String,
    ) -> Result<v1::RevokeGrantResponse, Failure> {
        let tenant = named(&request.tenant)?;
        check_comment("reason", &request.reason)?;
        let revoked =
            RuleRevoked { tenant: tenant.clone(), grant_id: request.grant_id, actor, reason: request.reason };
        let ruled = self.shared.engine.rule(&tenant, Ruling::Revoke(revoked)).await?;
        Ok(v1::RevokeGrantResponse { position: ruled.position.get() })
    }
}

/// The tenant of a request, checked.
pub(super) fn named(tenant: &str) -> Result<String, Failure> {
    let tenant = tenant_of(tenant).to_owned();
    check_name("tenant", &tenant, false).map_err(Failure::invalid)?;
    Ok(tenant)
}

pub(super) fn check_text(text: &str) -> Result<(), Failure> {
    if text.is_empty() {
        return Err(Failure::field("text", "is empty; hand the policy's YAML in"));
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(Failure::field(
            "text",
            format!("is {} bytes long, at most {TEXT_BYTES_MAX}", text.len()),
        ));
    }
    Ok(())
}

pub(super) fn check_comment(field: &'static str, text: &str) -> Result<(), Failure> {
    if text.len() > COMMENT_BYTES_MAX {
        let description = format!("is {} bytes long, at most {COMMENT_BYTES_MAX}", text.len());
        return Err(Failure::invalid(vec![Violation { field, description }]));
    }
    Ok(())
}

/// The revision that a change was made from; none: whichever is current.
fn base_of(text: &str) -> Result<Option<Position>, Failure> {
    (!text.is_empty()).then(|| position("base_revision", text)).transpose()
}

fn position(field: &'static str, text: &str) -> Result<Position, Failure> {
    text.parse().map(Position::new).map_err(|_| Failure::field(field, "is no revision: digits are expected"))
}

/// A policy from a request's text, or its faults.
pub(super) fn parsed(text: &str, now: Timestamp) -> Result<Policy, Failure> {
    let refused = |faults| Failure::from(Error::Refused(crate::decide::ruling::Refusal::Faults(faults)));
    policy::parse(text, Mode::Enforce, now).map_err(refused)
}

/// The policy that a tenant's calls are decided by, without its grants.
pub(super) async fn current_policy(shared: &Arc<Shared>, tenant: &str) -> Result<Policy, Failure> {
    let name = tenant.to_owned();
    let revision = shared.engine.ask(tenant, move |state| state.policy_revision_of(&name)).await?;
    let name = tenant.to_owned();
    let found = shared.read(move |engine| engine.log_events(&name, revision, 1, EventView::Basic)).await?;
    let policy = found.into_iter().next().and_then(|event| match event.recorded.record.event {
        Event::PolicyAdopted(adopted) => policy::adopted(&adopted, event.recorded.record.receive_time).ok(),
        _ => None,
    });
    policy.ok_or_else(|| Failure::from(Error::NotFound("a policy".to_owned())))
}

async fn adopted_at(
    shared: &Arc<Shared>,
    tenant: &str,
    revision: Position,
    with_text: bool,
) -> Result<Option<v1::Policy>, Failure> {
    if revision == Position::ZERO {
        return Ok(None);
    }
    let name = tenant.to_owned();
    let found = shared.read(move |engine| engine.log_events(&name, revision, 1, EventView::Basic)).await?;
    let event = found.into_iter().next().filter(|event| event.recorded.position == revision);
    Ok(event.and_then(|event| {
        let at = event.recorded.record.receive_time;
        match event.recorded.record.event {
            Event::PolicyAdopted(adopted) if adopted.tenant.is_empty() || adopted.tenant == tenant => {
                Some(convert::revision(adopted, at, revision.get(), with_text))
            }
            _ => None,
        }
    }))
}

/// The taking back of a tenant's own policy, as lists show it.
async fn withdrawn_at(
    shared: &Arc<Shared>,
    tenant: &str,
    at: Position,
) -> Result<Option<v1::Policy>, Failure> {
    let name = tenant.to_owned();
    let found = shared.read(move |engine| engine.log_events(&name, at, 1, EventView::Basic)).await?;
    let event = found.into_iter().next().filter(|event| event.recorded.position == at);
    Ok(event.and_then(|event| {
        let when = event.recorded.record.receive_time;
        match event.recorded.record.event {
            Event::PolicyWithdrawn(event) => Some(convert::withdrawal(event, when, at.get())),
            _ => None,
        }
    }))
}

fn reason(outcome: &policy::Outcome<'_>) -> String {
    let Some(rule) = outcome.rule else {
        return format!("no rule matches; the default of the risk category {} holds", outcome.category);
    };
    let id = &rule.id;
    match outcome.cause {
        Cause::AsWritten => format!("rule `{id}` wins"),
        Cause::ConditionFailed => format!("rule `{id}` wins, and its condition cannot be evaluated"),
        Cause::WindowClosed => format!("rule `{id}` wins, and its change window is closed"),
        Cause::Unexpected => format!("rule `{id}` wins, and what it expects does not hold"),
    }
}

#[tonic::async_trait]
impl v1::policy_service_server::PolicyService for Policies {
    async fn get_policy(
        &self,
        request: Request<v1::GetPolicyRequest>,
    ) -> Result<Response<v1::GetPolicyResponse>, Status> {
        Ok(Response::new(self.get(request.into_inner()).await?))
    }

    async fn list_policies(
        &self,
        request: Request<v1::ListPoliciesRequest>,
    ) -> Result<Response<v1::ListPoliciesResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn check_policy(
        &self,
        request: Request<v1::CheckPolicyRequest>,
    ) -> Result<Response<v1::CheckPolicyResponse>, Status> {
        Ok(Response::new(self.check(&request.into_inner()).await?))
    }

    async fn adopt_policy(
        &self,
        request: Request<v1::AdoptPolicyRequest>,
    ) -> Result<Response<v1::AdoptPolicyResponse>, Status> {
        let actor = identity_of(&request)?.actor();
        Ok(Response::new(self.adopt(request.into_inner(), actor).await?))
    }

    async fn withdraw_policy(
        &self,
        request: Request<v1::WithdrawPolicyRequest>,
    ) -> Result<Response<v1::WithdrawPolicyResponse>, Status> {
        let actor = identity_of(&request)?.actor();
        Ok(Response::new(self.withdraw(request.into_inner(), actor).await?))
    }

    async fn explain_policy(
        &self,
        request: Request<v1::ExplainPolicyRequest>,
    ) -> Result<Response<v1::ExplainPolicyResponse>, Status> {
        Ok(Response::new(self.explain(request.into_inner()).await?))
    }

    type BacktestPolicyStream = BacktestStream;

    async fn backtest_policy(
        &self,
        request: Request<v1::BacktestPolicyRequest>,
    ) -> Result<Response<BacktestStream>, Status> {
        Ok(Response::new(policy_history::backtest(&self.shared, request.into_inner())?))
    }

    async fn get_coverage(
        &self,
        request: Request<v1::GetCoverageRequest>,
    ) -> Result<Response<v1::GetCoverageResponse>, Status> {
        Ok(Response::new(policy_history::coverage(&self.shared, request.into_inner()).await?))
    }

    async fn list_suggestions(
        &self,
        request: Request<v1::ListSuggestionsRequest>,
    ) -> Result<Response<v1::ListSuggestionsResponse>, Status> {
        Ok(Response::new(policy_history::list_suggestions(&self.shared, request.into_inner()).await?))
    }

    async fn accept_suggestion(
        &self,
        request: Request<v1::AcceptSuggestionRequest>,
    ) -> Result<Response<v1::AcceptSuggestionResponse>, Status> {
        let actor = identity_of(&request)?.actor();
        Ok(Response::new(self.accept(request.into_inner(), actor).await?))
    }

    async fn list_grants(
        &self,
        request: Request<v1::ListGrantsRequest>,
    ) -> Result<Response<v1::ListGrantsResponse>, Status> {
        Ok(Response::new(self.grants(request.into_inner()).await?))
    }

    async fn revoke_grant(
        &self,
        request: Request<v1::RevokeGrantRequest>,
    ) -> Result<Response<v1::RevokeGrantResponse>, Status> {
        let actor = identity_of(&request)?.actor();
        Ok(Response::new(self.revoke(request.into_inner(), actor).await?))
    }
}

/// When a suggestion was made: now, as each is made from the log as it is.
pub(super) fn suggestion(tenant: &str, one: policy::suggest::Suggestion, now: Timestamp) -> v1::Suggestion {
    v1::Suggestion {
        suggestion_id: one.id,
        tenant: tenant.to_owned(),
        rule_text: one.rule_text,
        sentence: one.sentence,
        calls_seen: one.calls,
        sessions_seen: one.sessions,
        calls_approved: one.approved,
        approvers: one.approvers,
        denied_siblings: one.denied_siblings,
        reviews_saved: one.reviewed,
        widened_pointers: one.widened,
        create_time: Some(timestamp(now)),
    }
}
