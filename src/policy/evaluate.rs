//! Which rule wins for a call.
//!
//! 1. Deny rules come first, then granted rules, then the more specific rule (`policy::specificity`), then
//!    the order of the file.
//! 2. A rule that names principals is asked of every link of the chain, and the strictest of what the
//!    links' own rules ask for holds. Rules that name none, and are not more specific, hold only where no
//!    link has a rule of its own.
//! 3. A condition is asked only of rules whose names match. If it has no answer because the call lacks an
//!    argument, the rule does not match. If it has none for another reason, an allow rule does not match,
//!    and any other rule asks for a review: what cannot be judged is never waved through.
//! 4. A call outside its rule's change window is reviewed or denied, as the window says.

use super::cel::{Condition, Facts, Failure};
use super::policy::{Compiled, Policy};
use super::rule::{Effect, Rule};
use super::window::Outside;
use crate::domain::decision::Mode;
use crate::domain::risk::RiskCategory;

/// Why a rule's effect is not what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is what it says.
    AsWritten,
    /// Its condition could not be evaluated.
    ConditionFailed,
    /// The call is outside its change window.
    WindowClosed,
    /// What the rule expects of the scored call does not hold.
    Unexpected,
}

/// What the policy says of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'p> {
    /// The rule that won; none: the default of the category.
    pub rule: Option<&'p Rule>,
    /// What is to be done.
    pub effect: Effect,
    /// Why, where it is not what the rule says.
    pub cause: Cause,
    /// Category of the call, after a rule's override.
    pub category: RiskCategory,
    /// Whether verdicts bind.
    pub mode: Mode,
}

impl Outcome<'_> {
    /// Asks for a review if the rule expects something of the scored call that does not hold. What cannot
    /// be judged does not hold.
    #[must_use]
    pub fn after_scoring(mut self, facts: &Facts<'_>) -> Self {
        let expects = self.rule.and_then(|rule| rule.expect.as_ref());
        if let (Effect::Allow, Some(expect)) = (self.effect, expects)
            && expect.holds(facts) != Ok(true)
        {
            self.effect = Effect::Review;
            self.cause = Cause::Unexpected;
        }
        self
    }
}

/// What became of one rule whose names match a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It won.
    Won,
    /// It matches too, but another one comes first or is stricter.
    Shadowed,
    /// Its condition is false.
    False,
    /// Its condition has no answer.
    Failed(Failure),
    /// It has expired.
    Expired,
}

/// A rule that was considered, in the order they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered<'p> {
    /// The rule.
    pub rule: &'p Rule,
    /// What became of it.
    pub became: Match,
    /// The link of the chain it was considered for; empty: the call as a whole.
    pub principal: String,
}

/// Whether a rule's own tests hold, and its effect if so.
enum Tested {
    Holds(Effect, Cause),
    Not(Match),
}

struct Winner<'p> {
    place: usize,
    rule: &'p Rule,
    effect: Effect,
    cause: Cause,
}

impl Policy {
    /// The outcome for a call. Conditions see what `facts` says of risk and signals.
    pub fn evaluate(&self, facts: &Facts<'_>) -> Outcome<'_> {
        self.decide(facts, &mut |_, _, _| {})
    }

    /// The same, with every rule whose names match.
    pub fn explain(&self, facts: &Facts<'_>) -> (Outcome<'_>, Vec<Considered<'_>>) {
        let mut seen: Vec<(usize, Match, String)> = Vec::new();
        let outcome = self.decide(facts, &mut |place, became, principal| {
            seen.push((place, became, principal.to_owned()));
        });
        // Rules behind the winner are not asked on the hot path; here they are, to be shown.
        let asked: Vec<usize> = seen.iter().map(|(place, ..)| *place).collect();
        for (place, compiled) in self.candidates(facts) {
            if !asked.contains(&place) {
                let became = match compiled.test(facts) {
                    Tested::Holds(..) => Match::Shadowed,
                    Tested::Not(became) => became,
                };
                seen.push((place, became, String::new()));
            }
        }
        seen.sort_by_key(|(place, ..)| *place);
        let won = outcome.rule.map(|rule| rule.id.as_str());
        let considered = seen.into_iter().filter_map(|(place, became, principal)| {
            let rule = &self.rules.get(place)?.rule;
            let became = if won == Some(rule.id.as_str()) { Match::Won } else { became };
            Some(Considered { rule, became, principal })
        });
        (outcome, considered.collect())
    }

    /// Rules whose names match, by place.
    fn candidates<'p>(&'p self, facts: &Facts<'_>) -> impl Iterator<Item = (usize, &'p Compiled)> {
        let names = if self.rules.is_empty() { Vec::new() } else { self.names.candidates(facts.tool) };
        let matching = names.into_iter().filter_map(move |number| {
            let place = number as usize;
            self.rules.get(place).map(|compiled| (place, compiled))
        });
        let (tool, server) = (facts.tool.to_owned(), facts.server.to_owned());
        matching.filter(move |(_, compiled)| {
            compiled.tool.matches(&tool)
                && compiled.server.as_ref().is_none_or(|pattern| pattern.matches(&server))
        })
    }

    fn decide<'p>(&'p self, facts: &Facts<'_>, told: &mut dyn FnMut(usize, Match, &str)) -> Outcome<'p> {
        let mut links: Vec<Option<Winner<'p>>> = Vec::new();
        let mut general = None;
        for (place, compiled) in self.candidates(facts) {
            let own = compiled.principal.as_ref();
            let first = own.map(|pattern| facts.chain.iter().position(|link| pattern.matches(link)));
            if first == Some(None) {
                continue;
            }
            let (effect, cause) = match compiled.test(facts) {
                Tested::Not(became) => {
                    told(place, became, link_name(facts, first.flatten()));
                    continue;
                }
                Tested::Holds(effect, cause) => (effect, cause),
            };
            let rule = &compiled.rule;
            told(place, Match::Shadowed, link_name(facts, first.flatten()));
            let Some(pattern) = own else {
                general = Some(Winner { place, rule, effect, cause });
                break;
            };
            links.resize_with(facts.chain.len(), || None);
            for (slot, link) in links.iter_mut().zip(facts.chain) {
                if slot.is_none() && pattern.matches(link) {
                    *slot = Some(Winner { place, rule, effect, cause });
                }
            }
            if rule.effect == Effect::Deny || links.iter().all(Option::is_some) {
                break;
            }
        }
        let own = links.into_iter().flatten().max_by_key(|winner| (winner.effect, usize::MAX - winner.place));
        self.outcome(facts, own.or(general))
    }

    fn outcome<'p>(&'p self, facts: &Facts<'_>, winner: Option<Winner<'p>>) -> Outcome<'p> {
        let rule = winner.as_ref().map(|winner| winner.rule);
        let category = rule.and_then(|rule| rule.risk).unwrap_or(facts.category);
        Outcome {
            rule,
            effect: winner.as_ref().map_or_else(|| self.defaults.of(category), |winner| winner.effect),
            cause: winner.map_or(Cause::AsWritten, |winner| winner.cause),
            category,
            mode: rule.and_then(|rule| rule.mode).unwrap_or(self.mode),
        }
    }
}

fn link_name<'f>(facts: &Facts<'f>, link: Option<usize>) -> &'f str {
    link.and_then(|place| facts.chain.get(place)).map_or("", String::as_str)
}

impl Compiled {
    /// Asks everything but the names.
    fn test(&self, facts: &Facts<'_>) -> Tested {
        let rule = &self.rule;
        if rule.expires.is_some_and(|expires| facts.now >= expires) {
            return Tested::Not(Match::Expired);
        }
        match rule.when.as_ref().map_or(Ok(true), |when: &Condition| when.holds(facts)) {
            Ok(true) => {}
            Ok(false) => return Tested::Not(Match::False),
            Err(failure @ Failure::Missing(_)) => return Tested::Not(Match::Failed(failure)),
            Err(failure) if rule.effect == Effect::Allow => return Tested::Not(Match::Failed(failure)),
            Err(_) => return Tested::Holds(Effect::Review, Cause::ConditionFailed),
        }
        let outside = rule.window.as_ref().filter(|window| !window.contains(facts.now));
        match outside.map(|window| window.outside) {
            Some(Outside::Deny) => Tested::Holds(Effect::Deny, Cause::WindowClosed),
            Some(Outside::Review) if rule.effect == Effect::Allow => {
                Tested::Holds(Effect::Review, Cause::WindowClosed)
            }
            _ => Tested::Holds(rule.effect, Cause::AsWritten),
        }
    }
}

#[cfg(test)]
mod tests;
