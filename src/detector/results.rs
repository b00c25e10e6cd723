//! What earlier results of the session brought in, and whether this call follows it.
//!
//! Results always bring something new: a mail reader returns new text with every call. So the new part of a
//! result (words in neighbourhoods that no earlier result of the tenant had) is weighed against the tool's
//! own history. Each new word w counts with
//!
//! ```text
//! l(w) = max(0, log2 (r_w + 1/2)/(R + 1) - log2 (t_w + 1/2)/(T + 1)),   r_w > 0
//! ```
//!
//! r_w of R different requests of the tenant's users used it, t_w of T results of the tool held it. The sum
//! over a new part, L, is the evidence that it speaks like a request and not like this tool. Text like that
//! is no alarm. A call is judged by how much of it only that text explains: its words and values that the
//! user did not say and the text did (each by its rarity among the tenant's results), the words of the
//! tool's name and description, and how much better the tool fits the text than the request (both read as
//! requests, see `requests`); the more so the less the tool fits the request. The surprise is the product
//! of all three, so that a session that met such text and did not follow it stays quiet. No list of words; nothing is learnt from
//! a session before it closes.
//!
//! Abstains without the user's request, before any result was handed in, and until [`REQUESTS_MIN`] requests
//! and [`RESULTS_MIN`] results were learnt.

use super::learn::{tool_key, tool_slot};
use super::reading::{NewText, Origin, Reading};
use super::requests::{RequestModel, Wanted};
use crate::domain::call::{ArgumentFeature, CallFeatures};
use crate::domain::decision::Evidence;
use crate::domain::risk::Capabilities;
use crate::stats::fingerprint::mix;
use crate::stats::millibits::MilliBits;
use crate::stats::seen::Seen;
use crate::stats::table::{SetTable, Weigh};
use serde::{Deserialize, Serialize};

/// Requests learnt before calls are judged.
const REQUESTS_MIN: u32 = 8;
/// Results learnt before calls are judged.
const RESULTS_MIN: u32 = 30;
/// Pairs of tool and word with a count of results.
const WORDS_MAX: usize = 65_536;
/// Tools with a count of results.
const TOOLS_MAX: usize = 4_096;
/// Results of a tool after which its counts are halved.
const TOOL_RESULTS_MAX: u32 = 8_192;
/// Stands for "any tool" in the table of words.
const ANY_TOOL: u32 = 0;
/// Words of a new part that are looked up as a request: those that speak most like one.
const LOOKED_UP_MAX: usize = 32;
/// Words of a value that can be a target.
pub const TARGET_WORDS_MAX: usize = 6;
/// Evidence that a new part speaks like a request, from which a target in it is a floor; milli-bits.
const STRANGE_REQUESTLIKE: u32 = 20_000;
/// The most that a new part counts, bits.
const REQUESTLIKE_MAX: f64 = 58.0;

/// A count that is halved with its tool's; `era`: halvings so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    times: u32,
    era: u16,
}

impl Count {
    fn at(self, era: u16) -> u32 {
        self.times >> u32::from(era.saturating_sub(self.era)).min(31)
    }

    fn add(&mut self, era: u16) {
        *self = Self { times: self.at(era).saturating_add(1), era };
    }
}

impl Weigh for Count {
    fn weight(&self) -> u64 {
        (u64::from(self.era) << 32) + u64::from(self.times)
    }
}

/// Results of a tenant's tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultsModel {
    requests: RequestModel,
    /// Pairs of neighbouring words of all results.
    pairs: Seen,
    words: SetTable<Count>,
    tools: SetTable<Count>,
}

impl Default for ResultsModel {
    fn default() -> Self {
        Self {
            requests: RequestModel::default(),
            pairs: Seen::default(),
            words: SetTable::new(WORDS_MAX),
            tools: SetTable::new(TOOLS_MAX),
        }
    }
}

fn pair(first: u32, second: u32) -> u64 {
    mix(first.into(), second.into())
}

fn word_of(tool: u32, word: u32) -> u64 {
    mix(tool.into(), word.into())
}

/// What the tool is called and said to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToolWords<'a> {
    /// Words of name and description with their weights, thousandths; may be empty.
    pub words: &'a [(u32, u32)],
}

/// A call's following of one new part, in parts that add up.
#[derive(Clone, Copy, Debug, Default)]
struct Match {
    /// Words of the call that the text explains, by rarity.
    words: f64,
    /// Values that the text explains, by rarity.
    values: f64,
    /// How much more of the tool's words are in the text than in the request.
    tool: f64,
    /// How much better the tool fits the text than the request, nats.
    fit: f64,
    explained: u16,
    unexplained: u16,
}

impl Match {
    /// `misfit`: surprise at the tool for the user's request, nats. Without anything that the text explains
    /// there is nothing to follow, however strange the call.
    fn total(&self, misfit: f64) -> f64 {
        let followed = self.words.min(3.0) + self.values.min(2.0) + 2.0 * self.tool + 0.3 * self.fit;
        followed * (0.4 + 0.3 * misfit.min(5.0))
    }
}

impl ResultsModel {
    /// The requests behind it.
    pub const fn requests(&self) -> &RequestModel {
        &self.requests
    }

    /// Whether enough was learnt to judge by.
    fn grown(&self) -> bool {
        self.requests.requests() >= REQUESTS_MIN && self.total(ANY_TOOL).0 >= RESULTS_MIN
    }

    /// Whether a short value of the call that the user did not name comes from new text that strangers can
    /// write and that speaks like a request. `known`: whether a value was given before.
    pub fn told_by_stranger(
        &self,
        features: &CallFeatures,
        reading: &Reading,
        turn: Option<u32>,
        known: impl Fn(&ArgumentFeature) -> bool,
    ) -> bool {
        let strange = |text: &NewText| {
            text.requestlike >= STRANGE_REQUESTLIKE
                && text.origin.capabilities.has_any(Capabilities::READS_UNTRUSTED)
        };
        self.grown()
            && reading.knows_request()
            && reading.visible(turn).filter(|(text, _)| strange(text)).any(|(_, words)| {
                features.arguments.iter().zip(features.words.by_argument()).any(|(argument, own)| {
                    (1..=TARGET_WORDS_MAX).contains(&own.len())
                        && own.iter().all(|word| words.contains(word))
                        && !own.iter().all(|word| reading.asked(*word))
                        && !known(argument)
                })
            })
    }

    fn total(&self, tool: u32) -> (u32, u16) {
        self.tools.get(tool_slot(tool)).map_or((0, 0), |count| (count.times, count.era))
    }

    fn results_with(&self, tool: u32, era: u16, word: u32) -> u32 {
        self.words.get(word_of(tool, word)).map_or(0, |count| count.at(era))
    }

    /// What a word of a tool's result weighs as evidence for a request, bits; none if requests do not use it.
    fn requestlike(&self, tool: u32, word: u32) -> Option<f64> {
        let uses = self.requests.uses(word);
        if uses == 0 {
            return None;
        }
        let (total, era) = self.total(tool);
        let share = |count: u32, of: u32| (f64::from(count) + 0.5) / (f64::from(of) + 1.0);
        let odds = share(uses, self.requests.requests()) / share(self.results_with(tool, era, word), total);
        (odds > 1.0).then(|| libm::log2(odds))
    }

    /// Rarity of a word among the tenant's results, 0 to 1.
    fn rarity(&self, word: u32) -> f64 {
        let (total, era) = self.total(ANY_TOOL);
        let known = f64::from(total) + 1.0;
        let seen = f64::from(self.results_with(ANY_TOOL, era, word)) + 1.0;
        (libm::log((known / seen).max(1.0)) / libm::log(known).max(1.0)).min(1.0)
    }

    /// Takes a result into what the session has read: `words` in order.
    pub fn read(&self, reading: &mut Reading, origin: Origin, words: &[u32]) {
        let mut runs = Vec::new();
        let mut familiar = Vec::new();
        let room = reading.room();
        let mut before = None::<bool>;
        for (place, word) in words.iter().enumerate() {
            let new_after = words.get(place + 1).is_some_and(|next| !self.pairs.contains(pair(*word, *next)));
            if before == Some(true) || new_after {
                if before != Some(true) && !runs.is_empty() {
                    runs.push(0);
                }
                runs.push(*word);
            } else if self.requests.uses(*word) > 0 && !familiar.contains(word) {
                familiar.push(*word);
            }
            before = Some(new_after);
            if runs.len() + 1 >= room {
                break;
            }
        }
        runs.truncate(room);
        let new = (!runs.is_empty()).then(|| (self.judge_text(origin, &runs), runs.as_slice()));
        reading.read(origin.tool, words, new, &familiar);
        if origin.capabilities.has_any(Capabilities::READS_SECRET) && self.grown() {
            let (_, era) = self.total(ANY_TOOL);
            let never = |word: &&u32| {
                self.results_with(ANY_TOOL, era, **word) == 0 && self.requests.uses(**word) == 0
            };
            reading.keep_secret(words.iter().filter(never).copied());
        }
    }

    fn judge_text(&self, origin: Origin, runs: &[u32]) -> NewText {
        let tool = origin.tool;
        let mut distinct: Vec<u32> = runs.iter().copied().filter(|word| *word != 0).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let mut speaking: Vec<(f64, u32)> =
            distinct.iter().filter_map(|word| Some((self.requestlike(tool, *word)?, *word))).collect();
        let requestlike: f64 = speaking.iter().map(|(bits, _)| bits).sum();
        let count = speaking.len();
        speaking.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        let mut looked_up: Vec<u32> = speaking.iter().take(LOOKED_UP_MAX).map(|(_, word)| *word).collect();
        looked_up.sort_unstable();
        NewText {
            origin,
            requestlike: (requestlike * 1_000.0) as u32,
            words: [distinct.len() as u16, count as u16],
            wanted: self.requests.wanted(&looked_up),
            from: 0,
            to: 0,
        }
    }

    /// Surprise at a call that follows what results brought in.
    pub fn score(
        &self,
        features: &CallFeatures,
        reading: &Reading,
        turn: Option<u32>,
        tool: ToolWords<'_>,
    ) -> Option<MilliBits> {
        self.strongest(features, reading, turn, tool)
            .map(|found| found.map_or(MilliBits::ZERO, |found| found.1))
    }

    fn strongest<'r>(
        &self,
        features: &CallFeatures,
        reading: &'r Reading,
        turn: Option<u32>,
        tool: ToolWords<'_>,
    ) -> Option<Option<(Match, MilliBits, &'r NewText)>> {
        if !reading.knows_request() || !reading.knows_results() {
            return None;
        }
        if !self.grown() {
            return None;
        }
        let mut misfit = None;
        let mut strongest = None::<(Match, MilliBits, &NewText)>;
        for (text, words) in reading.visible(turn).filter(|(text, _)| text.requestlike > 0) {
            let (usual, fits) = *misfit.get_or_insert_with(|| {
                let usual = self.requests.usual(tool_key(features.tool));
                (usual, RequestModel::chance(reading.wanted(), tool_key(features.tool), usual))
            });
            let matched = self.matched(features, reading, words, tool, &text.wanted, (usual, fits));
            let total = matched.total(-libm::log(fits.min(1.0) + 1e-4));
            let requestlike = (f64::from(text.requestlike) / 1_000.0).min(REQUESTLIKE_MAX);
            let surprise = MilliBits::from_bits(total * requestlike / 10.0);
            if strongest.as_ref().is_none_or(|found| surprise > found.1) {
                strongest = Some((matched, surprise, text));
            }
        }
        Some(strongest)
    }

    fn matched(
        &self,
        features: &CallFeatures,
        reading: &Reading,
        text: &[u32],
        tool: ToolWords<'_>,
        wanted: &Wanted,
        (usual, fits): (f64, f64),
    ) -> Match {
        let mut found = Match::default();
        let mut counted: Vec<u32> = Vec::new();
        for words in features.words.by_argument() {
            let unsaid = |word: &&u32| !reading.asked(**word);
            let mut held = 0;
            let mut rarest = 0.0f64;
            for word in words {
                let holds = text.contains(word);
                held += usize::from(holds);
                let weight = if holds { self.rarity(*word) } else { 0.0 };
                rarest = rarest.max(weight);
                if reading.asked(*word) || counted.contains(word) {
                    continue;
                }
                counted.push(*word);
                found.unexplained += 1;
                found.explained += u16::from(holds);
                found.words += weight;
            }
            let said = words.iter().filter(unsaid).count() == 0;
            if !words.is_empty() && !said {
                found.values += match words.len() {
                    7.. => held as f64 / words.len() as f64,
                    _ if held == words.len() => rarest,
                    _ => 0.0,
                };
            }
        }
        let (mut whole, mut in_text, mut in_request) = (0.0, 0.0, 0.0);
        for (word, weight) in tool.words {
            let weight = f64::from(*weight);
            whole += weight;
            in_text += if text.contains(word) { weight } else { 0.0 };
            in_request += if reading.asked(*word) { weight } else { 0.0 };
        }
        if whole > 0.0 {
            found.tool = ((in_text - in_request) / whole).max(0.0);
        }
        let fits_text = RequestModel::chance(wanted, tool_key(features.tool), usual);
        found.fit = libm::log((fits_text + 1e-3) / (fits + 1e-3)).max(0.0);
        found
    }

    /// The figures behind a score.
    pub fn explain(
        &self,
        features: &CallFeatures,
        reading: &Reading,
        turn: Option<u32>,
        tool: ToolWords<'_>,
    ) -> Evidence {
        match self.strongest(features, reading, turn, tool) {
            Some(Some((matched, _, text))) => Evidence::Results {
                explained: matched.explained.into(),
                unexplained: matched.unexplained.into(),
                new_words: text.words[0].into(),
                requestlike: text.words[1].into(),
                results: self.total(text.origin.tool).0,
                requests: self.requests.requests(),
            },
            _ => Evidence::None,
        }
    }

    /// Learns a session that is over: its request with the tools it called, and what its results held.
    pub fn learn(&mut self, reading: &Reading, tools: &[u32]) {
        self.requests.learn(reading.request(), tools);
        let (results, texts, new_words, familiar) = reading.lessons();
        for tool in results.iter().copied().chain(results.iter().map(|_| ANY_TOOL)) {
            if let Some(count) = self.tools.entry(tool_slot(tool), Count::default) {
                count.times += 1;
                if count.times >= TOOL_RESULTS_MAX {
                    count.times /= 2;
                    count.era = count.era.saturating_add(1);
                }
            }
        }
        for text in texts {
            let words = new_words.get(usize::from(text.from)..usize::from(text.to)).unwrap_or_default();
            for two in words.windows(2) {
                if let [first, second] = two
                    && *first != 0
                    && *second != 0
                {
                    self.pairs.insert(pair(*first, *second));
                }
            }
            let mut distinct: Vec<u32> = words.iter().copied().filter(|word| *word != 0).collect();
            distinct.sort_unstable();
            distinct.dedup();
            self.learn_words(text.origin.tool, &distinct);
        }
        for run in familiar.split(|word| *word == 0) {
            if let [tool, words @ ..] = run {
                self.learn_words(*tool, words);
            }
        }
    }

    fn learn_words(&mut self, tool: u32, words: &[u32]) {
        for of in [tool, ANY_TOOL] {
            let (_, era) = self.total(of);
            for word in words {
                if let Some(count) = self.words.entry(word_of(of, *word), Count::default) {
                    count.add(era);
                }
            }
        }
    }

    /// What a tool's words say of a request and not of other tools' results: see [`RequestModel::wanted`].
    pub fn wanted(&self, request: &[u32]) -> Wanted {
        self.requests.wanted(request)
    }
}
