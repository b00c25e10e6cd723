//! `AccessService`: tokens, and who the caller is.

use super::convert::micros;
use super::convert::oversight::{known_token, role, role_of};
use super::identity::{Standing, hash, identity_of};
use super::page::{Tokens, size};
use super::shared::Shared;
use super::status::Failure;
use crate::decide::ingest::check_name;
use crate::domain::event::{TokenCreated, TokenRevoked};
use crate::domain::hex::hex;
use crate::domain::identity::{ALIASES_MAX, GROUPS_MAX, Role, TENANTS_MAX, Token};
use crate::domain::review::limits::COMMENT_BYTES_MAX;
use crate::domain::time::Timestamp;
use crate::projection::KnownToken;
use crate::proto::v1;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// What a secret begins with, so that scanners know it.
const SECRET_PREFIX: &str = "askance_";

/// The service.
pub(super) struct Access {
    shared: Arc<Shared>,
}

impl Access {
    /// Over this engine.
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn create(
        &self,
        request: v1::CreateTokenRequest,
        actor: String,
    ) -> Result<v1::CreateTokenResponse, Failure> {
        check_name("subject", &request.subject, true).map_err(Failure::invalid)?;
        let Some(role) = role_of(request.role) else {
            return Err(Failure::field("role", "is none of gateway, reviewer, operator and auditor"));
        };
        check_list("groups", &request.groups, GROUPS_MAX)?;
        check_list("tenants", &request.tenants, TENANTS_MAX)?;
        check_list("aliases", &request.aliases, ALIASES_MAX)?;
        if !request.groups.is_empty() && role != Role::Reviewer {
            return Err(Failure::field("groups", "are for reviewers"));
        }
        let mut faults = Vec::new();
        let expires = micros("expire_time", request.expire_time.as_ref(), &mut faults);
        if !faults.is_empty() {
            return Err(Failure::invalid(faults));
        }
        let expires = expires.map(Timestamp::from_micros);
        if expires.is_some_and(|expires| expires <= self.shared.engine.now()) {
            return Err(Failure::field("expire_time", "is in the past"));
        }
        let mut random = [0; 40];
        getrandom::fill(&mut random).map_err(|fault| Failure::internal(&fault.to_string()))?;
        let (name, secret) = random.split_at(8);
        let secret = format!("{SECRET_PREFIX}{}", hex(secret));
        let token = Token {
            id: format!("tk_{}", hex(name)),
            subject: request.subject,
            aliases: request.aliases,
            role,
            groups: request.groups,
            tenants: request.tenants,
            expires,
            hash: hash(secret.as_bytes()),
        };
        let known = self.shared.engine.create_token(TokenCreated { token, actor }).await?;
        self.shared.learn_tokens().await?;
        Ok(v1::CreateTokenResponse { token: Some(self.shown(&known)), secret })
    }

    async fn list(&self, request: v1::ListTokensRequest) -> Result<v1::ListTokensResponse, Failure> {
        let page = size(request.page_size, 50, 1_000);
        let filters = v1::ListTokensRequest { page_token: String::new(), page_size: 0, ..request };
        let tokens = Tokens::new(self.shared.engine.key(""), "tokens", &filters);
        let before = match request.page_token.as_str() {
            "" => u64::MAX,
            token => tokens.open_number("page_token", token)?,
        };
        let now = self.shared.engine.now();
        let mut known = self.shared.engine.tokens().await?;
        let is_shown = |known: &KnownToken| {
            request.include_ended || known.revoked.is_none() && !known.token.is_expired(now)
        };
        known.retain(|known| known.position.get() < before && is_shown(known));
        known.sort_by_key(|known| std::cmp::Reverse(known.position));
        let more = known.len() > page;
        known.truncate(page);
        let last = known.last().map_or(0, |known| known.position.get());
        Ok(v1::ListTokensResponse {
            tokens: known.iter().map(|known| self.shown(known)).collect(),
            next_page_token: if more { tokens.seal_number(last) } else { String::new() },
        })
    }

    async fn revoke(
        &self,
        request: v1::RevokeTokenRequest,
        actor: String,
    ) -> Result<v1::RevokeTokenResponse, Failure> {
        check_name("token_id", &request.token_id, true).map_err(Failure::invalid)?;
        check_text("reason", &request.reason, COMMENT_BYTES_MAX)?;
        let event = TokenRevoked { token_id: request.token_id, reason: request.reason, actor };
        let known = self.shared.engine.revoke_token(event).await?;
        self.shared.learn_tokens().await?;
        Ok(v1::RevokeTokenResponse { token: Some(self.shown(&known)) })
    }

    fn shown(&self, known: &KnownToken) -> v1::Token {
        known_token(known, self.shared.identities.last_use(&known.token.id))
    }
}

/// Checks a text of a request: not too long.
pub(super) fn check_text(field: &'static str, text: &str, most: usize) -> Result<(), Failure> {
    if text.len() > most {
        return Err(Failure::field(field, format!("is {} bytes long, at most {most}", text.len())));
    }
    Ok(())
}

fn check_list(field: &'static str, names: &[String], most: usize) -> Result<(), Failure> {
    if names.len() > most {
        return Err(Failure::field(field, format!("has {} entries, at most {most}", names.len())));
    }
    names.iter().try_for_each(|name| check_name(field, name, true)).map_err(Failure::invalid)
}

#[tonic::async_trait]
impl v1::access_service_server::AccessService for Access {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let actor = identity_of(&request)?.actor();
        Ok(Response::new(self.create(request.into_inner(), actor).await?))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let actor = identity_of(&request)?.actor();
        Ok(Response::new(self.revoke(request.into_inner(), actor).await?))
    }

    async fn get_identity(
        &self,
        request: Request<v1::GetIdentityRequest>,
    ) -> Result<Response<v1::GetIdentityResponse>, Status> {
        let identity = identity_of(&request)?;
        let role = match identity.standing {
            Standing::Token(own) => role(own),
            Standing::Unix(_) => v1::Role::Operator,
            Standing::Loopback => v1::Role::Gateway,
        };
        Ok(Response::new(v1::GetIdentityResponse {
            subject: identity.subject.clone(),
            role: role.into(),
            groups: identity.groups.clone(),
            tenants: identity.tenants.clone(),
            token_id: identity.token_id.clone(),
        }))
    }
}
