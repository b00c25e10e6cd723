//! A finding in words: what was seen, what is normal, and both in one sentence.
//!
//! Made from the figures that the detector left, when somebody reads them. The words hold names of tools,
//! principals and argument paths, never values.

use crate::domain::decision::{Evidence, Score};
use crate::domain::risk::Capabilities;

/// What a finding is about.
#[derive(Clone, Debug, Default)]
pub(in crate::rpc) struct SentenceContext<'a> {
    /// The tool that is called.
    pub(in crate::rpc) tool: &'a str,
    /// Who calls it.
    pub(in crate::rpc) principal: &'a str,
    /// Names of the argument paths in the order of the call's features; empty if unknown.
    pub(in crate::rpc) path_names: &'a [String],
}

/// A finding in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::rpc) struct Sentence {
    /// What was seen, short.
    pub(in crate::rpc) observed: String,
    /// What is normal, short.
    pub(in crate::rpc) expected: String,
    /// Both, whole.
    pub(in crate::rpc) sentence: String,
}

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The words for one detector's score. All empty if it has no figures.
pub(in crate::rpc) fn sentence_of(score: &Score, context: &SentenceContext<'_>) -> Sentence {
    let SentenceContext { tool, principal, .. } = context;
    let (observed, expected) = match &score.evidence {
        Evidence::None => return Sentence::default(),
        Evidence::Hour { hour_of_week, minute, active_here, active_total, weeks } => {
            let (day, hour) = (DAYS[usize::from(hour_of_week / 24) % 7], hour_of_week % 24);
            (
                format!("a call at {hour:02}:{minute:02} on {day}"),
                format!("{active_here} of {active_total} active hours in {weeks} weeks were this one"),
            )
        }
        Evidence::Burst { window_s, count, mean_milli, per_tool } => {
            let of = if *per_tool { format!("{principal} calling {tool}") } else { (*principal).to_owned() };
            (
                format!("{count} calls in the last {window_s} s"),
                format!("{:.1} calls of {of} in such a span", f64::from(*mean_milli) / 1_000.0),
            )
        }
        Evidence::Sequence { after_two, two_total, after_one, one_total } => (
            format!("{tool} after the two calls before it"),
            format!(
                "so in {after_two} of {two_total} cases, after the last call alone in {after_one} of {one_total}"
            ),
        ),
        Evidence::Context { seen, adds, together, sessions } => {
            let names = |bits: u16| {
                let names: Vec<&str> = Capabilities::from_bits(bits).names().collect();
                names.join(", ")
            };
            (
                format!("{} in a session that had {}", names(*adds), names(*seen)),
                format!("so in {together} of {sessions} such sessions"),
            )
        }
        Evidence::Argument { index, aspect, seen, total } => {
            argument(context, *index, *aspect, *seen, *total)
        }
        Evidence::Novelty { uses, calls, tools, peers, principals } => (
            format!("{principal} has called {tool} {uses} times in {calls} calls of {tools} tools"),
            format!("{peers} of {principals} principals use it"),
        ),
    };
    let sentence = format!("{observed}; normal: {expected}");
    Sentence { observed, expected, sentence }
}

fn argument(context: &SentenceContext<'_>, index: u8, aspect: u8, seen: u32, total: u32) -> (String, String) {
    let name = match context.path_names.get(usize::from(index)) {
        Some(name) if !name.is_empty() => format!("argument {name}"),
        _ => format!("argument {}", u32::from(index) + 1),
    };
    let tool = context.tool;
    match aspect {
        0 => (format!("the value of {name} of {tool}"), format!("seen in {seen} of {total} calls")),
        1 => (format!("the size of {name} of {tool}"), format!("seen in {seen} of {total} calls")),
        2 => (format!("{name} of {tool}, never given before"), format!("absent in {total} calls")),
        _ => (format!("{name} of {tool}"), format!("given in {seen} of {total} calls")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decision::Detector;

    #[test]
    fn figures_become_words() {
        let check = |evidence: Evidence, expected: &str| {
            let score = Score { detector: Detector::Time, raw: Some(9_000), surprise: 9_000, evidence };
            let names = ["env".to_owned()];
            let context = SentenceContext { tool: "deploy", principal: "agent:a", path_names: &names };
            assert_eq!(sentence_of(&score, &context).sentence, expected);
        };
        check(Evidence::None, "");
        check(
            Evidence::Hour { hour_of_week: 27, minute: 12, active_here: 0, active_total: 90, weeks: 4 },
            "a call at 03:12 on Tuesday; normal: 0 of 90 active hours in 4 weeks were this one",
        );
        check(
            Evidence::Burst { window_s: 10, count: 40, mean_milli: 1_500, per_tool: true },
            "40 calls in the last 10 s; normal: 1.5 calls of agent:a calling deploy in such a span",
        );
        check(
            Evidence::Argument { index: 0, aspect: 0, seen: 0, total: 80 },
            "the value of argument env of deploy; normal: seen in 0 of 80 calls",
        );
        check(
            Evidence::Argument { index: 3, aspect: 3, seen: 1, total: 80 },
            "argument 4 of deploy; normal: given in 1 of 80 calls",
        );
        check(
            Evidence::Context {
                seen: Capabilities::READS_SECRET.bits(),
                adds: Capabilities::EGRESS.bits(),
                together: 0,
                sessions: 60,
            },
            "egress in a session that had reads_secret; normal: so in 0 of 60 such sessions",
        );
    }
}
