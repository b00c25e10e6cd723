//! What the policy says of a call: composition rules, rules and conditions, what a rule expects.

use crate::domain::call::Origin;
use crate::domain::decision::{Assessment, Completed, Floor};
use crate::domain::event::CallProposed;
use crate::domain::risk::RiskCategory;
use crate::domain::time::Timestamp;
use crate::policy::composition::{Composition, Scope};
use crate::policy::{Arguments, Facts, Happened, OnFire, Outcome, Policy, SessionFacts};
use crate::projection::{Session, Tenant, Trail, telling};

/// Completed compositions of one call that are recorded with title and tags; of further ones the id.
const TOLD_MAX: usize = 16;

/// What the policy says, and the assessment it was said on.
#[derive(Debug)]
pub struct Policed<'p> {
    /// Of the rules.
    pub outcome: Outcome<'p>,
    /// With the floors that schema and compositions set.
    pub assessment: Assessment,
    /// Composition rules that the call completes.
    pub compositions: Vec<Completed>,
    /// The strictest of what they ask for.
    pub fired: Option<OnFire>,
}

/// What a call is judged on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'s> {
    pub(super) tenant: Option<&'s Tenant>,
    pub(super) session: Option<&'s Session>,
    pub(super) proposed: &'s CallProposed,
    pub(super) now: Timestamp,
}

/// The instant that windows, expiries and conditions go by: ours for a live call, the call's own for history.
pub const fn moment(origin: Origin, event_time: Timestamp, receive_time: Timestamp) -> Timestamp {
    match origin {
        Origin::Live => receive_time,
        Origin::Imported => event_time,
    }
}

/// Asks the policy. `assess` scores the call for a category and floors.
pub(super) fn apply<'p>(
    seen: &Seen<'_>,
    policy: &'p Policy,
    arguments: &[u8],
    assess: &dyn Fn(RiskCategory, u16) -> Assessment,
) -> Policed<'p> {
    let proposed = seen.proposed;
    let (compositions, fired, risk) = completed(seen, policy);
    let mut floors = 0;
    if !proposed.schema_fault.is_empty() {
        floors |= Floor::SchemaMismatch.bit();
    }
    if fired >= Some(OnFire::Review) {
        floors |= Floor::Composition.bit();
    }
    let scored = |category| {
        let mut assessment = assess(category, floors);
        assessment.risk = assessment.risk.max(risk);
        assessment
    };
    let mut assessment = scored(proposed.category);
    let arguments = Arguments::new(arguments);
    let facts = Facts { assessment: Some(&assessment), ..facts(seen, &arguments, &compositions) };
    let outcome = policy.evaluate(&facts);
    let outcome = if outcome.category == proposed.category {
        outcome.after_scoring(&facts)
    } else {
        let category = outcome.category;
        let again = scored(category);
        let facts = Facts { category, assessment: Some(&again), ..facts };
        let outcome = outcome.after_scoring(&facts);
        assessment = again;
        outcome
    };
    Policed { outcome, assessment, compositions, fired }
}

/// What conditions can ask of a call.
pub(super) fn facts<'f>(
    seen: &Seen<'f>,
    arguments: &'f Arguments<'f>,
    compositions: &'f [Completed],
) -> Facts<'f> {
    let proposed = seen.proposed;
    let known = seen.tenant.and_then(|tenant| tenant.inventory.get(proposed.features.tool));
    let session = seen.session.map_or_else(SessionFacts::default, |session| {
        let [_, reviews, denies] = session.verdicts;
        SessionFacts {
            calls: session.calls,
            reviews,
            denies,
            risk_max: session.risk_max,
            capabilities: session.seen,
            age_us: seen.now.since(session.opened).max(0),
            nested: !session.parent.is_none(),
        }
    });
    Facts {
        tool: &proposed.tool,
        server: &proposed.server,
        chain: &proposed.principal_chain,
        category: proposed.category,
        capabilities: proposed.features.capabilities,
        registered: known.is_some(),
        changed: known.is_some_and(|tool| tool.changed),
        arguments,
        session,
        assessment: None,
        compositions,
        now: seen.now,
    }
}

/// Composition rules that the call completes, the strictest of what they ask for, and the least risk.
fn completed(seen: &Seen<'_>, policy: &Policy) -> (Vec<Completed>, Option<OnFire>, u8) {
    let (mut found, mut fired, mut risk) = (Vec::new(), None, 0);
    if policy.compositions().is_empty() {
        return (found, fired, risk);
    }
    let proposed = seen.proposed;
    let values = telling(&proposed.features.arguments);
    let call = Happened {
        at: proposed.features.at.unwrap_or(seen.now),
        server: &proposed.server,
        tool: &proposed.tool,
        capabilities: proposed.features.capabilities,
        values: &values,
        brought: &[],
    };
    let mut trails: [Option<Vec<Happened<'_>>>; 3] = [None, None, None];
    for rule in policy.compositions() {
        if !rule.can_end_with(&call) {
            continue;
        }
        let (place, trail) = match rule.scope {
            Scope::Session => (0, seen.session.map(|session| &session.trail)),
            Scope::Principal => {
                (1, seen.tenant.and_then(|tenant| tenant.principals.get(&proposed.features.principal)))
            }
            Scope::Tree => {
                let root = seen.session.map(|session| session.root);
                let tree = root.zip(seen.tenant).and_then(|(root, tenant)| tenant.trees.get(&root));
                (2, tree.or_else(|| seen.session.map(|session| &session.trail)))
            }
        };
        let Some(slot) = trails.get_mut(place) else { continue };
        let before = slot.get_or_insert_with(|| trail.map(happened).unwrap_or_default());
        if rule.fires(&call, before) {
            found.push(told(rule, found.len()));
            fired = fired.max(Some(rule.effect));
            risk = risk.max(rule.risk);
        }
    }
    (found, fired, risk)
}

/// A rule as it is recorded, with so many before it.
fn told(rule: &Composition, before: usize) -> Completed {
    let id = rule.id.clone();
    if before >= TOLD_MAX {
        return Completed { id, ..Completed::default() };
    }
    Completed { id, title: rule.title.clone(), tags: rule.tags.clone(), risk: rule.risk }
}

/// The calls of a trail, newest first.
fn happened(trail: &Trail) -> Vec<Happened<'_>> {
    let view = trail.calls().map(|passed| Happened {
        at: passed.at,
        server: passed.name.server(),
        tool: passed.name.tool(),
        capabilities: passed.capabilities,
        values: passed.values,
        brought: passed.brought,
    });
    let mut view: Vec<Happened<'_>> = view.collect();
    view.reverse();
    view
}
