//! What users ask of a tenant's agents, and which tools such requests lead to.
//!
//! A vocabulary (in how many different requests a word was used) and up to [`SKETCHES_MAX`] requests as sets
//! of words, each with the tools its sessions called. From these: how usual a tool is for a text, read as a
//! request, by its nearest neighbours (detection.md 13.4, rel_knn).

use crate::stats::fingerprint::mix;
use crate::stats::table::{SetTable, Weigh};
use serde::{Deserialize, Serialize};

/// Requests kept.
const SKETCHES_MAX: usize = 256;
/// Words of a request that are kept in its sketch; the first in order of their fingerprints.
const SKETCH_WORDS_MAX: usize = 48;
/// Tools of a request that are kept.
const SKETCH_TOOLS_MAX: usize = 24;
/// Words with a count of requests.
const WORDS_MAX: usize = 16_384;
/// Requests after which all counts are halved.
const REQUESTS_MAX: u32 = 65_536;
/// Tools that an answer names.
pub const WANTED_MAX: usize = 16;

/// In how many requests a word was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Uses(u32);

impl Weigh for Uses {
    fn weight(&self) -> u64 {
        self.0.into()
    }
}

/// One request that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sketch {
    key: u64,
    /// Sorted.
    words: Vec<u32>,
    /// Length of its vector of weights, as of its last session; bits of an f64.
    length: u64,
    sessions: u32,
    /// Sessions by tool.
    tools: Vec<(u32, u32)>,
    last: u64,
}

/// How usual tools are for a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Tools and their shares in 1/65,536, most usual first; at most [`WANTED_MAX`].
    tools: Vec<(u32, u16)>,
    /// How much the neighbours weigh against the prior, in 1/65,536 of a whole.
    weight: u32,
}

impl Wanted {
    /// Of a text that nothing is known of.
    pub const NONE: Self = Self { tools: Vec::new(), weight: 0 };
}

/// Requests of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestModel {
    words: SetTable<Uses>,
    requests: u32,
    sketches: Vec<Sketch>,
    clock: u64,
}

impl Default for RequestModel {
    fn default() -> Self {
        Self { words: SetTable::new(WORDS_MAX), requests: 0, sketches: Vec::new(), clock: 0 }
    }
}

/// The name of a request: its set of words.
pub fn key_of(words: &[u32]) -> u64 {
    words.iter().fold(0x7265_7175, |key, word| mix(key, u64::from(*word)))
}

/// Weight of the prior against the neighbours.
const PRIOR: f64 = 0.25;
/// A share is one 65,536th.
const WHOLE: f64 = 65_536.0;

impl RequestModel {
    /// Different requests learnt.
    pub const fn requests(&self) -> u32 {
        self.requests
    }

    /// In how many requests `word` was used.
    pub fn uses(&self, word: u32) -> u32 {
        self.words.get(spread(word)).map_or(0, |uses| uses.0)
    }

    /// The fourth power of a word's inverse document frequency: rare words decide.
    fn weight(&self, word: u32) -> f64 {
        let known = self.sketches.len() as f64;
        let idf = libm::log((known + 1.0) / (1.0 + f64::from(self.uses(word))).min(known + 1.0)) + 0.1;
        idf * idf * idf * idf
    }

    /// Which tools a text of these words leads to. `words`: sorted, distinct.
    pub fn wanted(&self, words: &[u32]) -> Wanted {
        let weights: Vec<f64> = words.iter().map(|word| self.weight(*word)).collect();
        let length = libm::sqrt(weights.iter().sum::<f64>());
        let mut shares: Vec<(u32, f64)> = Vec::new();
        let mut whole = 0.0;
        for sketch in &self.sketches {
            let shared = shared_weight(words, &weights, &sketch.words);
            if shared <= 0.0 {
                continue;
            }
            let cosine = shared / (f64::from_bits(sketch.length) * length + 1e-9);
            let weight = cosine * cosine * cosine;
            whole += weight;
            for (tool, sessions) in &sketch.tools {
                let share = weight * f64::from(*sessions) / f64::from(sketch.sessions.max(1));
                match shares.iter_mut().find(|(known, _)| known == tool) {
                    Some((_, sum)) => *sum += share,
                    None => shares.push((*tool, share)),
                }
            }
        }
        shares.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        shares.truncate(WANTED_MAX);
        let scale =
            |(tool, share): (u32, f64)| (tool, (share / (whole + PRIOR) * WHOLE).min(65_535.0) as u16);
        Wanted {
            tools: shares.into_iter().map(scale).collect(),
            weight: (whole / (whole + PRIOR) * WHOLE) as u32,
        }
    }

    /// How usual the tool is for any request: mean share over the requests kept.
    pub fn usual(&self, tool: u32) -> f64 {
        let share = |sketch: &Sketch| {
            let own = sketch.tools.iter().find(|(known, _)| *known == tool);
            own.map_or(0.0, |(_, sessions)| f64::from(*sessions) / f64::from(sketch.sessions.max(1)))
        };
        (self.sketches.iter().map(share).sum::<f64>() + 0.3) / (self.sketches.len() as f64 + 1.0)
    }

    /// Chance that a text with this answer leads to `tool`; `usual`: of any request.
    pub fn chance(wanted: &Wanted, tool: u32, usual: f64) -> f64 {
        let own =
            wanted.tools.iter().find(|(known, _)| *known == tool).map_or(0.0, |(_, share)| f64::from(*share));
        own / WHOLE + (1.0 - f64::from(wanted.weight) / WHOLE) * usual
    }

    /// Learns a session that began with these words (sorted, distinct) and called these tools.
    pub fn learn(&mut self, words: &[u32], tools: &[u32]) {
        if words.is_empty() {
            return;
        }
        self.clock += 1;
        let key = key_of(words);
        if !self.sketches.iter().any(|sketch| sketch.key == key) {
            self.add(key, words);
        }
        let Some(at) = self.sketches.iter().position(|sketch| sketch.key == key) else { return };
        let length = {
            let words = self.sketches.get(at).map_or(&[][..], |sketch| &sketch.words);
            libm::sqrt(words.iter().map(|word| self.weight(*word)).sum::<f64>())
        };
        let Some(sketch) = self.sketches.get_mut(at) else { return };
        sketch.length = length.to_bits();
        sketch.last = self.clock;
        sketch.sessions = sketch.sessions.saturating_add(1);
        let mut called: Vec<u32> = tools.to_vec();
        called.sort_unstable();
        called.dedup();
        for tool in called {
            if let Some((_, sessions)) = sketch.tools.iter_mut().find(|(known, _)| *known == tool) {
                *sessions = sessions.saturating_add(1);
            } else if sketch.tools.len() < SKETCH_TOOLS_MAX {
                sketch.tools.push((tool, 1));
            }
        }
    }

    fn add(&mut self, key: u64, words: &[u32]) {
        for word in words {
            if let Some(uses) = self.words.entry(spread(*word), Uses::default) {
                uses.0 = uses.0.saturating_add(1);
            }
        }
        self.requests += 1;
        if self.requests >= REQUESTS_MAX {
            self.requests /= 2;
            self.words.iter_mut().for_each(|(_, uses)| uses.0 /= 2);
        }
        let words = words.iter().copied().take(SKETCH_WORDS_MAX).collect();
        let sketch = Sketch { key, words, length: 0, sessions: 0, tools: Vec::new(), last: self.clock };
        if self.sketches.len() < SKETCHES_MAX {
            self.sketches.push(sketch);
        } else if let Some(least) =
            self.sketches.iter_mut().min_by_key(|kept| (kept.sessions.min(8), kept.last))
        {
            *least = sketch;
        }
    }
}

/// Fingerprints of 32 bits to keys of a table, whose top bits choose the set.
const fn spread(word: u32) -> u64 {
    mix(word as u64, 0x776f_7264)
}

/// Sum of the weights of the words in both; both sorted.
fn shared_weight(words: &[u32], weights: &[f64], others: &[u32]) -> f64 {
    let mut rest = others.iter().peekable();
    let mut sum = 0.0;
    for (word, weight) in words.iter().zip(weights) {
        while rest.next_if(|other| *other < word).is_some() {}
        if rest.next_if(|other| *other == word).is_some() {
            sum += weight;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_of_similar_requests() {
        let mut model = RequestModel::default();
        for n in 0..20 {
            model.learn(&[1, 2, 100 + n], &[7]);
            model.learn(&[1, 3, 200 + n], &[8, 9]);
        }
        let chance =
            |words: &[u32], tool| RequestModel::chance(&model.wanted(words), tool, model.usual(tool));
        assert!(chance(&[1, 2, 105], 7) > 0.5, "{}", chance(&[1, 2, 105], 7));
        assert!(chance(&[1, 2, 105], 8) < 0.2);
        assert!(chance(&[999], 7) > 0.3 && chance(&[999], 7) < 0.6, "nothing known: as for any request");
        assert_eq!((model.uses(1), model.uses(2), model.uses(4), model.requests()), (40, 20, 0, 40));
    }

    #[test]
    fn a_flood_of_requests_stays_bounded_and_keeps_the_common_one() {
        let mut model = RequestModel::default();
        (0..10).for_each(|_| model.learn(&[1, 2, 3], &[7]));
        for n in 0..3_000 {
            model.learn(&[10, 1_000 + n], &[8]);
        }
        assert_eq!(model.sketches.len(), SKETCHES_MAX);
        assert!(model.sketches.iter().any(|sketch| sketch.sessions == 10));
        assert!(model.words.len() <= WORDS_MAX);
    }
}
