//! One sentence a finding, from its figures: what was observed and what was expected.
//!
//! A sentence never says more than the figures support: counts are said as counts, and what is learnt
//! from few observations says how few. Texts that came from outside are escaped.

use crate::domain::decision::{Detector, Evidence, Score};
use crate::domain::risk::Capabilities;

/// Names that a finding's figures refer to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// Tool.
    pub tool: &'a str,
    /// Acting principal.
    pub principal: &'a str,
    /// Paths of the arguments in the order of the features: `features::path_names`.
    pub paths: &'a [String],
}

/// A finding in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// What was seen, in few words.
    pub observed: String,
    /// What was expected, in few words.
    pub expected: String,
    /// Both, as a sentence.
    pub sentence: String,
}

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Puts a score into words.
pub fn render(score: &Score, names: &Names<'_>) -> Words {
    let tool = shown(names.tool);
    let who = shown(names.principal);
    match score.evidence {
        Evidence::None => quiet(score),
        Evidence::Hour { hour_of_week, minute, active_here, active_total, weeks } => {
            hour(&tool, &who, [hour_of_week, minute], [active_here, active_total, weeks])
        }
        Evidence::Burst { window_s, count, mean_milli, per_tool } => {
            let what = if per_tool { format!("{tool} by {who}") } else { format!("calls by {who}") };
            burst(&what, window_s, count, mean_milli)
        }
        Evidence::Targets { count, mean_milli, per_tool } => {
            let whose = if per_tool { format!("{tool} by {who}") } else { format!("calls by {who}") };
            targets(&whose, count, mean_milli)
        }
        Evidence::Volume { whole_day, count, expected_milli } => {
            volume(&who, whole_day, count, expected_milli)
        }
        Evidence::Sequence { place: 0, after_two, two_total, .. } => {
            first_of_session(&tool, &who, after_two, two_total)
        }
        Evidence::Sequence { after_two, two_total, after_one, one_total, .. } => {
            sequence(&tool, &who, [after_two, two_total], [after_one, one_total])
        }
        Evidence::Context { seen, adds, together, sessions } => {
            context(&tool, seen, adds, together, sessions)
        }
        Evidence::Argument { index, aspect, seen, total } => {
            let path = names
                .paths
                .get(usize::from(index))
                .map_or_else(|| format!("argument {index}"), |path| shown(path));
            argument(&tool, &path, aspect, seen, total)
        }
        Evidence::Novelty { uses, calls, tools, peers, principals } => {
            novelty(&tool, &who, [uses, calls, tools], [peers, principals])
        }
        Evidence::Results { explained, unexplained, new_words, requestlike, results, requests } => {
            following(&tool, [explained, unexplained], [new_words, requestlike], [results, requests])
        }
    }
}

/// A text from outside, fit to print: everything invisible or controlling is escaped.
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if crate::domain::text::is_deceptive(letter) {
            out.extend(letter.escape_unicode());
        } else {
            out.push(letter);
        }
    }
    out
}

fn quiet(score: &Score) -> Words {
    let name = score.detector.name();
    match score.raw {
        None => Words {
            observed: "not judged".to_owned(),
            expected: "enough history to judge by".to_owned(),
            sentence: abstained(score.detector).to_owned(),
        },
        Some(_) => Words {
            observed: format!("{:.1} bits", f64::from(score.surprise) / 1_000.0),
            expected: "under 4.3 bits".to_owned(),
            sentence: format!("Nothing unusual in {name}."),
        },
    }
}

/// Why a detector did not judge.
const fn abstained(detector: Detector) -> &'static str {
    match detector {
        Detector::Time => "Time of day was not judged: no times, or fewer than two days of history.",
        Detector::Rate => "Rate was not judged: no times, or fewer than 20 calls of history.",
        Detector::Sequence => "Sequence was not judged: fewer than 50 calls of history.",
        Detector::Context => "Session context was not judged: fewer than 20 sessions of history.",
        Detector::Arguments => {
            "Arguments were not judged: none given, or fewer than 10 calls of this tool in the history."
        }
        Detector::Novelty => "Novelty was not judged: neither this principal nor its peers are known.",
        Detector::Results => {
            "Results were not judged: the user's request or the results were not handed in, or the history holds fewer than 8 requests or 30 results."
        }
    }
}

fn times(count: u32) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

fn plural(count: u32, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn hour(tool: &str, who: &str, [hour, minute]: [u8; 2], [here, total, weeks]: [u32; 3]) -> Words {
    let day = DAYS.get(usize::from(hour / 24)).copied().unwrap_or("day 8");
    let at = format!("{day} {:02}:{minute:02}", hour % 24);
    let active = plural(here, "active day");
    Words {
        observed: format!("{at}, {active} in this hour"),
        expected: format!(
            "one of the usual hours, {} in {}",
            plural(total, "active hour"),
            plural(weeks, "week")
        ),
        sentence: format!(
            "{tool} by {who} on {at}: this hour of the week had {active} in {}, out of {}.",
            plural(weeks, "week"),
            plural(total, "active hour"),
        ),
    }
}

fn burst(what: &str, window_s: u32, count: u32, mean_milli: u32) -> Words {
    let window = match window_s {
        60 => "1 minute".to_owned(),
        600 => "10 minutes".to_owned(),
        3_600 => "1 hour".to_owned(),
        seconds => format!("{seconds} seconds"),
    };
    let mean = f64::from(mean_milli) / 1_000.0;
    Words {
        observed: format!("{count} before it in {window}"),
        expected: format!("{mean:.1} on average"),
        sentence: format!("{count} {what} in the last {window}; its calls usually find {mean:.1}."),
    }
}

fn targets(whose: &str, count: u32, mean_milli: u32) -> Words {
    let mean = f64::from(mean_milli) / 1_000.0;
    Words {
        observed: format!("{count} different targets in 1 hour"),
        expected: format!("{mean:.1} on average"),
        sentence: format!(
            "{whose} had {count} different targets in the last hour; its calls usually find {mean:.1}."
        ),
    }
}

fn volume(who: &str, whole_day: bool, count: u32, expected_milli: u32) -> Words {
    let expected = f64::from(expected_milli) / 1_000.0;
    let (during, such) =
        if whole_day { ("today", "a day of this kind") } else { ("in this hour", "this hour of the week") };
    let calls = plural(count, "call");
    Words {
        observed: format!("{calls} {during}"),
        expected: format!("{expected:.1} in {such}"),
        sentence: format!("{calls} by {who} {during}; {such} usually has {expected:.1} in all."),
    }
}

fn first_of_session(tool: &str, who: &str, times_first: u32, sessions: u32) -> Words {
    let before = if times_first == 0 { "none".to_owned() } else { times_first.to_string() };
    let sessions = plural(sessions, "session");
    Words {
        observed: format!("{tool} as the first call of a session"),
        expected: format!("{before} of {sessions} began so"),
        sentence: format!(
            "{who} began {before} of {sessions} with {tool}; this is the first call of the session."
        ),
    }
}

fn sequence(tool: &str, who: &str, [after_two, two]: [u32; 2], [after_one, one]: [u32; 2]) -> Words {
    let sentence = if two > 0 {
        format!(
            "After the two tools before it, {who} called {tool} {} in {}.",
            times(after_two),
            plural(two, "case")
        )
    } else {
        format!(
            "After the tool before it, {who} called {tool} {} in {}; the two before it were never seen in this order.",
            times(after_one),
            plural(one, "case")
        )
    };
    Words {
        observed: format!("{tool} after these tools: {}", times(if two > 0 { after_two } else { after_one })),
        expected: format!("what followed in {}", plural(if two > 0 { two } else { one }, "earlier case")),
        sentence,
    }
}

fn context(tool: &str, seen: u16, adds: u16, together: u32, sessions: u32) -> Words {
    let names = |bits: u16| Capabilities::from_bits(bits).names().collect::<Vec<_>>().join(", ");
    let (seen, adds) = (names(seen), names(adds));
    Words {
        observed: format!("{adds} after {seen}"),
        expected: format!("{} in {}", times(together), plural(sessions, "session")),
        sentence: format!(
            "{tool} brings {adds} into a session that showed {seen}: seen {} in {} with {seen}.",
            times(together),
            plural(sessions, "session"),
        ),
    }
}

fn argument(tool: &str, path: &str, aspect: u8, seen: u32, total: u32) -> Words {
    let calls = plural(total, "call");
    // The empty pointer is the whole: an object or list without fields.
    let path = if path.is_empty() { "empty arguments" } else { path };
    let (observed, expected, sentence) = match aspect {
        1 => (
            format!("size of {path}"),
            format!("within the sizes of {}", plural(total, "earlier value")),
            format!("{path} of {tool} is unusually large or small among {}.", plural(total, "earlier value")),
        ),
        2 => (
            format!("{path} given"),
            format!("never given in {calls}"),
            format!("{tool} was never given {path} in {calls}."),
        ),
        3 => (
            format!("{path} given"),
            format!("given {} in {calls}", times(seen)),
            format!("{tool} was given {path} only {} in {calls}.", times(seen)),
        ),
        _ => (
            format!("a value of {path} seen {}", times(seen)),
            format!("one of {}", plural(total, "earlier value")),
            format!("This value of {path} was seen {} in {} of {tool}.", times(seen), plural(total, "value")),
        ),
    };
    Words { observed, expected, sentence }
}

fn following(tool: &str, words: [u32; 2], text: [u32; 2], learnt: [u32; 2]) -> Words {
    let ([explained, unexplained], [new_words, requestlike], [results, requests]) = (words, text, learnt);
    let of_call = plural(unexplained, "word");
    let new = plural(new_words, "word");
    Words {
        observed: format!(
            "{explained} of {of_call} that the user did not say come from new text in a result"
        ),
        expected: "calls that follow what the user said".to_owned(),
        sentence: format!(
            "{tool} follows an earlier result more than the request: that result has {new} in new places compared with {} of its tool, {requestlike} of them more at home in {} by users; {explained} of {of_call} of this call that the user did not say are there.",
            plural(results, "result"),
            plural(requests, "request"),
        ),
    }
}

fn novelty(tool: &str, who: &str, [uses, calls, tools]: [u32; 3], [peers, principals]: [u32; 2]) -> Words {
    let known = format!("{}, {} known", plural(calls, "call"), plural(tools, "tool"));
    let by_peers = format!("{peers} of {principals} principals use it");
    let sentence = if calls == 0 {
        format!("First call by {who}; {by_peers}.")
    } else if uses == 0 {
        format!("First use of {tool} by {who} ({known}); {by_peers}.")
    } else {
        format!("{who} used {tool} only {} before ({known}); {by_peers}.", times(uses))
    };
    Words { observed: format!("{} used before", times(uses)), expected: by_peers, sentence }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(detector: Detector, evidence: Evidence, sentence: &str) {
        let score = Score { detector, raw: Some(9_000), surprise: 9_000, evidence };
        let paths = ["env".to_owned()];
        let names = Names { tool: "scale_replicas", principal: "agent:ops", paths: &paths };
        assert_eq!(render(&score, &names).sentence, sentence);
    }

    #[test]
    fn arguments_without_fields_have_a_name() {
        let words = argument("get_logs", "", 2, 0, 1_352);
        assert_eq!(words.sentence, "get_logs was never given empty arguments in 1352 calls.");
    }

    #[test]
    fn sentences_read_as_written() {
        check(
            Detector::Time,
            Evidence::Hour { hour_of_week: 27, minute: 12, active_here: 0, active_total: 43, weeks: 5 },
            "scale_replicas by agent:ops on Tuesday 03:12: this hour of the week had 0 active days in 5 weeks, out of 43 active hours.",
        );
        check(
            Detector::Rate,
            Evidence::Burst { window_s: 60, count: 17, mean_milli: 2_100, per_tool: true },
            "17 scale_replicas by agent:ops in the last 1 minute; its calls usually find 2.1.",
        );
        check(
            Detector::Rate,
            Evidence::Targets { count: 17, mean_milli: 2_040, per_tool: true },
            "scale_replicas by agent:ops had 17 different targets in the last hour; its calls usually find 2.0.",
        );
        check(
            Detector::Rate,
            Evidence::Volume { whole_day: false, count: 31, expected_milli: 240 },
            "31 calls by agent:ops in this hour; this hour of the week usually has 0.2 in all.",
        );
        check(
            Detector::Rate,
            Evidence::Volume { whole_day: true, count: 310, expected_milli: 24_000 },
            "310 calls by agent:ops today; a day of this kind usually has 24.0 in all.",
        );
        check(
            Detector::Sequence,
            Evidence::Sequence { place: 2, after_two: 0, two_total: 212, after_one: 3, one_total: 400 },
            "After the two tools before it, agent:ops called scale_replicas never in 212 cases.",
        );
        check(
            Detector::Sequence,
            Evidence::Sequence { place: 0, after_two: 0, two_total: 56, after_one: 0, one_total: 56 },
            "agent:ops began none of 56 sessions with scale_replicas; this is the first call of the session.",
        );
        check(
            Detector::Arguments,
            Evidence::Argument { index: 0, aspect: 0, seen: 3, total: 412 },
            "This value of env was seen 3 times in 412 values of scale_replicas.",
        );
        check(
            Detector::Arguments,
            Evidence::Argument { index: 7, aspect: 2, seen: 0, total: 30 },
            "scale_replicas was never given argument 7 in 30 calls.",
        );
        check(
            Detector::Novelty,
            Evidence::Novelty { uses: 0, calls: 1_204, tools: 14, peers: 1, principals: 11 },
            "First use of scale_replicas by agent:ops (1204 calls, 14 tools known); 1 of 11 principals use it.",
        );
        check(
            Detector::Results,
            Evidence::Results {
                explained: 3,
                unexplained: 4,
                new_words: 57,
                requestlike: 21,
                results: 120,
                requests: 80,
            },
            "scale_replicas follows an earlier result more than the request: that result has 57 words in new places compared with 120 results of its tool, 21 of them more at home in 80 requests by users; 3 of 4 words of this call that the user did not say are there.",
        );
        check(
            Detector::Context,
            Evidence::Context { seen: 1, adds: 1 << 6, together: 0, sessions: 80 },
            "scale_replicas brings egress into a session that showed reads_secret: seen never in 80 sessions with reads_secret.",
        );
    }

    #[test]
    fn texts_from_outside_are_escaped() {
        let score = Score {
            detector: Detector::Novelty,
            raw: Some(9_000),
            surprise: 9_000,
            evidence: Evidence::Novelty { uses: 0, calls: 0, tools: 0, peers: 0, principals: 4 },
        };
        let names = Names { tool: "x", principal: "a\u{1b}[2J\u{202e}b", paths: &[] };
        assert_eq!(
            render(&score, &names).sentence,
            "First call by a\\u{1b}[2J\\u{202e}b; 0 of 4 principals use it."
        );
    }
}
