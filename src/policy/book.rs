//! The policies in force: one for everybody, a tenant's own, and rules that people granted on top.
//!
//! Kept in step with the log by [`Book::apply`], live and in replays alike.

use super::fault::Fault;
use super::file::{parse, parse_rule};
use super::policy::Policy;
use super::rule::Rule;
use crate::domain::event::{Event, PolicyAdopted, RuleAccepted};
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the ids of granted rules begin with, and no others.
pub const GRANT_PREFIX: &str = "grant-";
/// Grants that hold for a tenant.
pub const GRANTS_MAX: usize = 256;

/// The policies in force.
#[derive(Clone, Debug, Default)]
pub struct Book {
    general: Arc<Policy>,
    tenants: BTreeMap<String, Own>,
}

/// What a tenant has of its own.
#[derive(Clone, Debug, Default)]
struct Own {
    base: Option<Arc<Policy>>,
    grants: BTreeMap<String, Rule>,
    effective: Arc<Policy>,
}

impl Book {
    /// The policy for a tenant's next call.
    pub fn of(&self, tenant: &str) -> &Arc<Policy> {
        self.tenants.get(tenant).map_or(&self.general, |own| &own.effective)
    }

    /// Takes an event up. The error says what a recorded policy or rule has in it that this build does not
    /// accept; the book is then as before.
    pub fn apply(&mut self, event: &Event, received: Timestamp) -> Result<(), Vec<Fault>> {
        match event {
            Event::PolicyAdopted(event) => self.adopt(event, received)?,
            Event::PolicyWithdrawn(event) => {
                if let Some(own) = self.tenants.get_mut(&event.tenant) {
                    own.base = None;
                }
                self.refresh(&event.tenant);
            }
            Event::RuleAccepted(event) => self.grant(event, received)?,
            Event::RuleRevoked(event) => {
                if let Some(own) = self.tenants.get_mut(&event.tenant) {
                    own.grants.remove(&event.grant_id);
                }
                self.refresh(&event.tenant);
            }
            _ => {}
        }
        Ok(())
    }

    fn adopt(&mut self, event: &PolicyAdopted, received: Timestamp) -> Result<(), Vec<Fault>> {
        let policy = Arc::new(adopted(event, received)?);
        if event.tenant.is_empty() {
            self.general = policy;
            let tenants: Vec<String> = self.tenants.keys().cloned().collect();
            tenants.iter().for_each(|tenant| self.refresh(tenant));
        } else {
            self.tenants.entry(event.tenant.clone()).or_default().base = Some(policy);
            self.refresh(&event.tenant);
        }
        Ok(())
    }

    fn grant(&mut self, event: &RuleAccepted, received: Timestamp) -> Result<(), Vec<Fault>> {
        let rule = granted(event, received)?;
        self.tenants.entry(event.tenant.clone()).or_default().grants.insert(rule.id.clone(), rule);
        self.refresh(&event.tenant);
        Ok(())
    }

    fn refresh(&mut self, tenant: &str) {
        let general = Arc::clone(&self.general);
        let Some(own) = self.tenants.get_mut(tenant) else { return };
        let base = own.base.clone().unwrap_or(general);
        own.effective = if own.grants.is_empty() {
            base
        } else {
            Arc::new(base.with_rules(own.grants.values().cloned()))
        };
    }
}

/// The policy of an event.
pub fn adopted(event: &PolicyAdopted, received: Timestamp) -> Result<Policy, Vec<Fault>> {
    if event.text.is_empty() {
        Ok(Policy::built_in(event.mode))
    } else {
        parse(&event.text, event.mode, received)
    }
}

/// The rule of a grant.
pub fn granted(event: &RuleAccepted, received: Timestamp) -> Result<Rule, Vec<Fault>> {
    let rule = parse_rule(&event.rule_text, received)?;
    let expires = match (rule.expires, event.expires) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    Ok(Rule { id: event.grant_id.clone(), line: 0, expires, ..rule })
}
