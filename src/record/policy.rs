//! Withdrawn policies, granted rules and accepted definitions as bytes.

use super::decode::each;
use super::wire::Writer;
use super::{Error, named};
use crate::domain::event::{PolicyWithdrawn, RuleAccepted, RuleRevoked, ToolAccepted};
use crate::domain::position::Position;
use crate::domain::risk::{Capabilities, RiskCategory};
use crate::domain::time::Timestamp;

pub(super) fn policy_withdrawn(event: &PolicyWithdrawn, out: &mut Writer) {
    out.text(1, &event.tenant);
    out.text(2, &event.actor);
    out.text(3, &event.comment);
}

pub(super) fn read_policy_withdrawn(body: &[u8]) -> Result<PolicyWithdrawn, Error> {
    let mut event = PolicyWithdrawn { tenant: String::new(), actor: String::new(), comment: String::new() };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.actor = field.text()?,
            3 => event.comment = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

pub(super) fn rule_accepted(event: &RuleAccepted, out: &mut Writer) {
    out.text(1, &event.tenant);
    out.text(2, &event.grant_id);
    out.text(3, &event.rule_text);
    out.sint_present(4, event.expires.map(Timestamp::as_micros));
    out.text(5, &event.actor);
    out.uint(6, event.review.get());
    out.text(7, &event.suggestion_id);
    out.text(8, &event.comment);
}

pub(super) fn read_rule_accepted(body: &[u8]) -> Result<RuleAccepted, Error> {
    let mut event = RuleAccepted {
        tenant: String::new(),
        grant_id: String::new(),
        rule_text: String::new(),
        expires: None,
        actor: String::new(),
        review: Position::ZERO,
        suggestion_id: String::new(),
        comment: String::new(),
    };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.grant_id = field.text()?,
            3 => event.rule_text = field.text()?,
            4 => event.expires = Some(Timestamp::from_micros(field.sint())),
            5 => event.actor = field.text()?,
            6 => event.review = Position::new(field.uint()),
            7 => event.suggestion_id = field.text()?,
            8 => event.comment = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

pub(super) fn rule_revoked(event: &RuleRevoked, out: &mut Writer) {
    out.text(1, &event.tenant);
    out.text(2, &event.grant_id);
    out.text(3, &event.actor);
    out.text(4, &event.reason);
}

pub(super) fn read_rule_revoked(body: &[u8]) -> Result<RuleRevoked, Error> {
    let mut event = RuleRevoked {
        tenant: String::new(),
        grant_id: String::new(),
        actor: String::new(),
        reason: String::new(),
    };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.grant_id = field.text()?,
            3 => event.actor = field.text()?,
            4 => event.reason = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

pub(super) fn tool_accepted(event: &ToolAccepted, out: &mut Writer) {
    out.text(1, &event.tenant);
    out.text(2, &event.server);
    out.text(3, &event.tool);
    out.bytes(4, &event.definition_hash);
    out.uint(5, event.category.number().into());
    out.uint(6, event.capabilities.bits().into());
    out.text(7, &event.actor);
    out.text(8, &event.comment);
}

pub(super) fn read_tool_accepted(body: &[u8]) -> Result<ToolAccepted, Error> {
    let mut event = ToolAccepted {
        tenant: String::new(),
        server: String::new(),
        tool: String::new(),
        definition_hash: [0; 32],
        category: RiskCategory::Critical,
        capabilities: Capabilities::NONE,
        actor: String::new(),
        comment: String::new(),
    };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.server = field.text()?,
            3 => event.tool = field.text()?,
            4 => event.definition_hash = field.array()?,
            5 => event.category = named(field, RiskCategory::from_number)?,
            6 => event.capabilities = Capabilities::from_bits(field.fit()?),
            7 => event.actor = field.text()?,
            8 => event.comment = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}
