//! Decisions of people about rules: a policy adopted, a rule granted or taken back, a definition accepted.

use super::lock::own;
use crate::domain::call::Digest;
use crate::domain::decision::Mode;
use crate::domain::event::{
    Event, Pending, PolicyAdopted, PolicyWithdrawn, RuleAccepted, RuleRevoked, ToolAccepted, ToolDefined,
};
use crate::domain::json::Json;
use crate::domain::position::Position;
use crate::domain::review::{Choice, Remember};
use crate::domain::time::Timestamp;
use crate::policy::{self, Effect, Fault, GRANTS_MAX, Severity, Surroundings, category};
use crate::projection::{Review, State, tool_hash};
use sha2::{Digest as _, Sha256};

/// Longest text of a granted rule, bytes.
pub const RULE_TEXT_BYTES_MAX: usize = 8 * 1024;

/// What somebody wants.
#[derive(Clone, Debug)]
pub enum Ruling {
    /// A policy is to hold from now on.
    Adopt {
        /// The tenant; empty: every tenant without a policy of its own.
        tenant: String,
        /// The file's text.
        text: String,
        /// Mode where the text sets none.
        mode: Mode,
        /// The revision it was made from; none: whichever is current.
        base: Option<Position>,
        /// Who wants it; empty: the daemon, from its file.
        actor: String,
        /// What was said about it.
        comment: String,
        /// What the daemon knows of people.
        around: Surroundings,
    },
    /// A tenant's own policy is to hold no more: the one for everybody does again.
    Withdraw {
        /// What becomes of it.
        event: PolicyWithdrawn,
        /// The revision that is meant; none: whichever is current.
        base: Option<Position>,
    },
    /// A rule is to hold on top of the policy.
    Grant(RuleAccepted),
    /// A granted rule is to hold no more.
    Revoke(RuleRevoked),
    /// A tool's definition is fine as it is now.
    AcceptTool {
        /// Tenant.
        tenant: String,
        /// The definition that was looked at, as it was recorded.
        definition: Box<ToolDefined>,
        /// Who looked.
        actor: String,
        /// What was said about it.
        comment: String,
    },
}

/// Why it cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The text has these faults.
    Faults(Vec<Fault>),
    /// Something changed meanwhile.
    Conflict(String),
    /// There is no such thing.
    Unknown(String),
    /// There are too many.
    Full(String),
}

/// SHA-256 of one byte for the mode and a policy's text.
pub fn policy_digest(text: &str, mode: Mode) -> Digest {
    Sha256::new().chain_update([u8::from(mode == Mode::Observe)]).chain_update(text).finalize().into()
}

/// The event that makes it so; none if it is so already.
pub fn rule(state: &State, ruling: Ruling, now: Timestamp) -> Result<Option<Pending>, Refusal> {
    let event = match ruling {
        Ruling::Adopt { tenant, text, mode, base, actor, comment, around } => {
            let current =
                if tenant.is_empty() { state.policy_revision } else { state.policy_revision_of(&tenant) };
            check_base(base, current)?;
            check_policy(&text, mode, now, &around)?;
            let digest = policy_digest(&text, mode);
            if tenant.is_empty() && digest == state.policy_digest {
                return Ok(None);
            }
            Event::PolicyAdopted(PolicyAdopted { text, mode, digest, tenant, actor, comment })
        }
        Ruling::Withdraw { event, base } => {
            let own = state.tenant(&event.tenant).map(|tenant| tenant.policies.revision);
            let Some(own) = own.filter(|own| *own != Position::ZERO) else {
                return Err(Refusal::Unknown(format!("a policy of tenant `{}` alone", event.tenant)));
            };
            check_base(base, own)?;
            Event::PolicyWithdrawn(event)
        }
        Ruling::Grant(grant) => Event::RuleAccepted(granted(state, grant, now)?),
        Ruling::Revoke(revoked) => {
            let known =
                state.tenant(&revoked.tenant).and_then(|tenant| tenant.policies.grant(&revoked.grant_id));
            if known.is_none() {
                return Err(Refusal::Unknown(format!("grant `{}`", revoked.grant_id)));
            }
            Event::RuleRevoked(revoked)
        }
        Ruling::AcceptTool { tenant, definition, actor, comment } => {
            match accepted(state, tenant, &definition, actor, comment)? {
                Some(event) => Event::ToolAccepted(event),
                None => return Ok(None),
            }
        }
    };
    Ok(Some(own(state, event, now)))
}

/// Refuses what was made from a revision that is not the current one any more.
fn check_base(base: Option<Position>, current: Position) -> Result<(), Refusal> {
    match base {
        Some(base) if base != current => {
            Err(Refusal::Conflict(format!("the policy is at revision {current}, not at {base} any more")))
        }
        _ => Ok(()),
    }
}

fn check_policy(text: &str, mode: Mode, now: Timestamp, around: &Surroundings) -> Result<(), Refusal> {
    if text.is_empty() {
        return Ok(());
    }
    let checked = policy::check(text, mode, now, around);
    if checked.is_adoptable() { Ok(()) } else { Err(Refusal::Faults(checked.faults)) }
}

/// A grant is narrow: it allows one exact tool, and says which.
fn granted(state: &State, grant: RuleAccepted, now: Timestamp) -> Result<RuleAccepted, Refusal> {
    let wrong = |message: &str| {
        let fault = Fault {
            severity: Severity::Error,
            line: 1,
            column: 1,
            rule_id: String::new(),
            message: message.to_owned(),
            nearest: String::new(),
        };
        Err(Refusal::Faults(vec![fault]))
    };
    if grant.rule_text.len() > RULE_TEXT_BYTES_MAX {
        return wrong("the rule is longer than 8192 bytes");
    }
    let rule = policy::parse_rule(&grant.rule_text, now).map_err(Refusal::Faults)?;
    if rule.effect != Effect::Allow {
        return wrong("a grant allows; put other rules into the policy file");
    }
    if rule.tool.contains(['*', '?', '[', '{']) {
        return wrong("a grant names one tool exactly; put wider rules into the policy file");
    }
    if grant.expires.is_some_and(|expires| expires <= now) {
        return wrong("the grant would be over before it begins");
    }
    let holding = |tenant: &crate::projection::Tenant| {
        let grants = tenant.policies.grants();
        grants.filter(|(_, grant)| grant.expires.is_none_or(|expires| expires > now)).count()
    };
    if state.tenant(&grant.tenant).is_some_and(|tenant| holding(tenant) >= GRANTS_MAX) {
        return Err(Refusal::Full(format!("{GRANTS_MAX} grants hold, the most there can be; revoke some")));
    }
    // The id that decisions will name: where it stands in the log.
    let grant_id = format!("{}{}", policy::GRANT_PREFIX, state.position.next());
    Ok(RuleAccepted { grant_id, ..grant })
}

/// The grant that an approved review leaves behind: what the last approving vote that asked for one said.
pub fn remembered(review: &Review, now: Timestamp) -> Option<RuleAccepted> {
    let approvals = review.votes.iter().rev().filter(|vote| vote.choice == Choice::Approve);
    let (vote, remember) = approvals.filter_map(|vote| Some((vote, vote.remember.as_ref()?))).next()?;
    Some(grant_of(&review.tenant, review.id, (&vote.reviewer, &vote.comment), remember, now))
}

/// The grant that a vote of somebody, who said this of it, asks for.
pub fn grant_of(
    tenant: &str,
    review: Position,
    (reviewer, comment): (&str, &str),
    remember: &Remember,
    now: Timestamp,
) -> RuleAccepted {
    RuleAccepted {
        tenant: tenant.to_owned(),
        grant_id: String::new(),
        rule_text: remember.rule_text.clone(),
        expires: Some(now.plus_micros(remember.ttl_us)),
        actor: reviewer.to_owned(),
        review,
        suggestion_id: String::new(),
        comment: comment.to_owned(),
    }
}

/// Whether a grant would be accepted now.
pub fn check_grant(state: &State, grant: RuleAccepted, now: Timestamp) -> Result<(), Refusal> {
    granted(state, grant, now).map(|_| ())
}

fn accepted(
    state: &State,
    tenant: String,
    definition: &ToolDefined,
    actor: String,
    comment: String,
) -> Result<Option<ToolAccepted>, Refusal> {
    let key = tool_hash(&state.key(), &definition.server, &definition.tool);
    let known = state.tenant(&tenant).and_then(|tenant| tenant.inventory.get(key));
    let unknown =
        || Refusal::Unknown(format!("tool `{}` of server `{}`", definition.tool, definition.server));
    let known = known.ok_or_else(unknown)?;
    if known.definition_hash != definition.definition_hash {
        let message = "the definition has changed again; look at it first".to_owned();
        return Err(Refusal::Conflict(message));
    }
    if !known.changed {
        return Ok(None);
    }
    let annotations = Json::parse(&definition.annotations).ok();
    let schema = Json::parse(&definition.input_schema).ok();
    let inferred =
        category::infer(&definition.tool, &definition.description, annotations.as_ref(), schema.as_ref());
    Ok(Some(ToolAccepted {
        tenant,
        server: definition.server.clone(),
        tool: definition.tool.clone(),
        definition_hash: definition.definition_hash,
        category: inferred.category,
        capabilities: inferred.capabilities,
        actor,
        comment,
    }))
}
