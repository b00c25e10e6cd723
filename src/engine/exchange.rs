//! Another model to decide by in a replay: what of it can be put in place of what was used.
//!
//! - The table of verbs (`tool-risk.json`): where a tool gets another base category by it, or by the labels of another
//!   policy, the category of its calls is reckoned anew from their arguments; a call whose payload was erased is
//!   counted, not compared.
//! - The review model (`p_reject.params`): decides nothing; told is how likely it holds a rejection of each call that
//!   goes to a human, beside the model that was adopted then.
//!
//! What the statistics learnt is the recorded past: it is not learnt anew by another model.

use crate::detector::p_reject::{PReject, features};
use crate::domain::decision::{Decision, Verdict};
use crate::domain::event::{CallProposed, Event, ToolDefined};
use crate::domain::json::Json;
use crate::domain::risk::RiskCategory;
use crate::policy::Policy;
use crate::policy::category::{self, Verbs};
use crate::projection::tool_hash;
use crate::stats::fingerprint::FingerprintKey;
use std::collections::BTreeMap;

/// Parts of a model that stand in for those that were used.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    /// Verbs with their categories.
    pub verbs: Option<Verbs>,
    /// The review model.
    pub review: Option<PReject>,
}

/// What the review models say of the calls that went to a human.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reviewed {
    /// Such calls.
    pub calls: u64,
    /// Sum of the chances of rejection, by the other model.
    pub chance: f64,
    /// Those of them that were decided while a model was adopted.
    pub calls_before: u64,
    /// Sum of the chances of rejection, by the model adopted then.
    pub chance_before: f64,
}

/// Categories of a registered tool, as recorded and by the other table.
#[derive(Clone, Copy, Debug)]
struct Categories {
    /// What holds.
    holds: (RiskCategory, RiskCategory),
    /// Of the newest definition.
    newest: (RiskCategory, RiskCategory),
}

/// The exchanged parts at work along a log.
#[derive(Debug, Default)]
pub(super) struct Exchanged {
    /// Registered tools, by tenant and hash.
    tools: BTreeMap<(String, u64), Categories>,
    adopted: Option<PReject>,
    pub(super) reviewed: Reviewed,
}

impl Exchanged {
    /// Notes what later calls need of an event.
    pub(super) fn note(&mut self, exchange: &Exchange, key: &FingerprintKey, event: &Event) {
        match event {
            Event::ModelAdopted(adopted) => self.adopted = PReject::parse(&adopted.parameters).ok(),
            Event::ToolDefined(defined) => {
                let other = exchange.verbs.as_ref().map(|verbs| of_definition(verbs, defined));
                let now = (defined.category, other.unwrap_or(defined.category));
                let tool = (defined.tenant.clone(), tool_hash(key, &defined.server, &defined.tool));
                let known = self.tools.entry(tool).or_insert(Categories { holds: now, newest: now });
                known.newest = now;
                // A changed definition may raise what is known of a tool, never lower it, until it is accepted.
                known.holds = if defined.previous_hash.is_some() {
                    (known.holds.0.max(now.0), known.holds.1.max(now.1))
                } else {
                    now
                };
            }
            Event::ToolAccepted(accepted) => {
                let tool = (accepted.tenant.clone(), tool_hash(key, &accepted.server, &accepted.tool));
                if let Some(known) = self.tools.get_mut(&tool) {
                    known.holds = known.newest;
                }
            }
            _ => {}
        }
    }

    /// The base category of a call's tool by the other table and policy, if it differs from the one by which the call
    /// was recorded.
    pub(super) fn base(
        &self,
        exchange: &Exchange,
        key: &FingerprintKey,
        proposed: &CallProposed,
        (recorded, now): (&Policy, &Policy),
    ) -> Option<RiskCategory> {
        let tool = (proposed.tenant.clone(), tool_hash(key, &proposed.server, &proposed.tool));
        let inferred = || {
            let plain = category::infer(&proposed.tool, "", None, None).category;
            let other = exchange
                .verbs
                .as_ref()
                .map(|verbs| category::infer_by(verbs, &proposed.tool, "", None, None));
            (plain, other.map_or(plain, |other| other.category))
        };
        let (before, after) = self.tools.get(&tool).map_or_else(inferred, |known| known.holds);
        let label = |policy: &Policy, base| {
            policy.label(&proposed.tool, &proposed.server, (base, proposed.features.capabilities)).0
        };
        let (before, after) = (label(recorded, before), label(now, after));
        (before != after).then_some(after)
    }

    /// Notes a call decided anew.
    pub(super) fn decided(&mut self, exchange: &Exchange, now: &Decision) {
        let Some(model) = exchange.review.filter(|_| now.verdict == Verdict::Review) else { return };
        let features = features(now);
        self.reviewed.calls += 1;
        self.reviewed.chance += model.predict(&features);
        if let Some(adopted) = self.adopted {
            self.reviewed.calls_before += 1;
            self.reviewed.chance_before += adopted.predict(&features);
        }
    }
}

fn of_definition(verbs: &Verbs, defined: &ToolDefined) -> RiskCategory {
    let annotations = Json::parse(&defined.annotations).ok();
    let schema = Json::parse(&defined.input_schema).ok();
    category::infer_by(verbs, &defined.tool, &defined.description, annotations.as_ref(), schema.as_ref())
        .category
}
