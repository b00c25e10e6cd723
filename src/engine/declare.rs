//! What people and tool servers declare: policies, grants, and definitions of tools.

use super::Error;
use super::partition::{Definedness, Reply, Ruled};
use super::worker::Worker;
use crate::decide;
use crate::decide::observe::Definition;
use crate::decide::ruling::Ruling;
use crate::domain::event::kind;
use crate::domain::time::Timestamp;
use crate::projection::TENANTS_MAX;

impl Worker {
    pub(super) fn define_tools(
        &mut self,
        tenant: &str,
        definitions: Vec<Definition>,
        (actor, now): (&str, Timestamp),
        reply: Reply<Vec<Definedness>>,
    ) {
        if self.state.tenant(tenant).is_none() && self.state.tenants_len() >= TENANTS_MAX {
            return reply(Err(Error::TenantsFull(TENANTS_MAX)));
        }
        let mut result = Vec::with_capacity(definitions.len());
        for definition in definitions {
            result.push(match decide::define_tool(&self.state, tenant, definition, actor, now) {
                None => Definedness::Known,
                Some(pending) => {
                    let changed = pending.event.kind() == kind::TOOL_REDEFINED;
                    self.take_up(pending);
                    if changed { Definedness::Changed } else { Definedness::New }
                }
            });
        }
        self.defer(reply, result);
    }

    pub(super) fn rule(&mut self, ruling: Ruling, now: Timestamp, reply: Reply<Ruled>) {
        match decide::ruling::rule(&self.state, ruling, now) {
            Ok(Some(pending)) => {
                let position = self.take_up(pending);
                self.defer(reply, Ruled { position, repeated: false });
            }
            Ok(None) => {
                let position = self.state.position;
                self.defer(reply, Ruled { position, repeated: true });
            }
            Err(refusal) => reply(Err(Error::Refused(refusal))),
        }
    }
}
