//! What a live session has read: the user's request, and what the results brought in.
//!
//! Part of the session's state, about 4 KB at most (see the constants), of which a session without request and
//! results has next to nothing. The new parts of results are judged
//! by `results`; where an argument's value comes from is told here.

use super::requests::{Wanted, key_of};
use crate::domain::call::{CallFeatures, CallWords};
use crate::domain::risk::Capabilities;
use crate::stats::fingerprint::mix;
use crate::stats::packed::make_room;
use serde::{Deserialize, Serialize};

/// Words of the user's requests.
pub const ASKED_MAX: usize = 192;
/// Words of the new parts of results, with separators.
pub const NEW_WORDS_MAX: usize = 512;
/// Results with a new part.
pub const TEXTS_MAX: usize = 8;
/// Words of results that were known before and that requests use, with tools and separators.
pub const FAMILIAR_MAX: usize = 192;
/// Calls whose result may still come.
const OPEN_MAX: usize = 16;
/// Results that are counted.
const RESULTS_MAX: usize = 64;
/// Words of 64 bits of the filter of words read.
const READ_WORDS: usize = 64;

/// A call whose result may still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    call: u32,
    origin: Origin,
}

/// The call behind a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Tool.
    pub tool: u32,
    /// Turn of the call; later turns see its result. None: seen at once.
    pub turn: Option<u32>,
    /// What the tool can do.
    pub capabilities: Capabilities,
}

/// The new part of one result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewText {
    /// The call that returned it.
    pub origin: Origin,
    /// How much its words speak like requests rather than like this tool's results, thousandths of a bit.
    pub requestlike: u32,
    /// Different new words, and how many of them speak so.
    pub words: [u16; 2],
    /// Tools that it would lead to, were it a request.
    pub wanted: Wanted,
    /// Its words in [`Reading::new_words`].
    pub from: u16,
    /// End of its words.
    pub to: u16,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The user named it.
    Request,
    /// A result of this session holds it.
    Result,
    /// An earlier call of this session had it.
    Arguments,
    /// Nothing that was seen here holds it.
    Nowhere,
}

impl Source {
    /// All sources.
    pub const ALL: [Self; 4] = [Self::Request, Self::Result, Self::Arguments, Self::Nowhere];
}

/// What a session has read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "stored::Reading<'static>")]
pub struct Reading {
    open: Vec<Open>,
    /// Values of earlier arguments.
    values: Vec<u32>,
    /// None: neither the request nor any result is known.
    texts: Option<Box<Texts>>,
}

/// What is known of the user's request and of results.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Texts {
    /// Words of the user's requests, sorted.
    asked: Vec<u32>,
    /// Tools that requests like it lead to.
    wanted: Wanted,
    /// Tools of the results that were handed in.
    results: Vec<u32>,
    new: Vec<NewText>,
    new_words: Vec<u32>,
    /// Runs of a zero, a tool, and words.
    familiar: Vec<u32>,
    /// Words of all results; a Bloom filter, empty until the first.
    read: Vec<u64>,
    /// Words that only results of reading secrets held.
    secrets: Vec<u32>,
}

impl Texts {
    const NONE: Self = Self {
        asked: Vec::new(),
        wanted: Wanted::NONE,
        results: Vec::new(),
        new: Vec::new(),
        new_words: Vec::new(),
        familiar: Vec::new(),
        read: Vec::new(),
        secrets: Vec::new(),
    };
}

/// For sessions that know none.
static NO_TEXTS: Texts = Texts::NONE;

/// What goes into a snapshot: all lists side by side.
mod stored {
    use super::{NewText, Open, Texts, Wanted, key_of};
    use serde::{Deserialize, Serialize, Serializer};
    use std::borrow::Cow;

    #[derive(Serialize, Deserialize)]
    pub(super) struct Reading<'r> {
        asked: Cow<'r, [u32]>,
        asked_key: u64,
        wanted: Cow<'r, Wanted>,
        open: Cow<'r, [Open]>,
        results: Cow<'r, [u32]>,
        texts: Cow<'r, [NewText]>,
        new_words: Cow<'r, [u32]>,
        familiar: Cow<'r, [u32]>,
        read: Cow<'r, [u64]>,
        values: Cow<'r, [u32]>,
        secrets: Cow<'r, [u32]>,
    }

    impl From<Reading<'static>> for super::Reading {
        fn from(stored: Reading<'static>) -> Self {
            let texts = Texts {
                asked: stored.asked.into(),
                wanted: stored.wanted.into_owned(),
                results: stored.results.into(),
                new: stored.texts.into(),
                new_words: stored.new_words.into(),
                familiar: stored.familiar.into(),
                read: stored.read.into(),
                secrets: stored.secrets.into(),
            };
            let texts = (texts != Texts::NONE).then(|| Box::new(texts));
            Self { open: stored.open.into(), values: stored.values.into(), texts }
        }
    }

    impl Serialize for super::Reading {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let texts = self.texts();
            Reading {
                asked: (&texts.asked).into(),
                asked_key: if texts.asked.is_empty() { 0 } else { key_of(&texts.asked) },
                wanted: Cow::Borrowed(&texts.wanted),
                open: (&self.open).into(),
                results: (&texts.results).into(),
                texts: (&texts.new).into(),
                new_words: (&texts.new_words).into(),
                familiar: (&texts.familiar).into(),
                read: (&texts.read).into(),
                values: (&self.values).into(),
                secrets: (&texts.secrets).into(),
            }
            .serialize(serializer)
        }
    }
}

/// Words of secrets that are remembered.
const SECRETS_MAX: usize = 48;

/// Values of earlier arguments that are remembered.
const VALUES_MAX: usize = 96;

fn places(word: u32) -> [usize; 2] {
    let key = mix(word.into(), 0x7265_6164);
    [key as usize % (READ_WORDS * 64), (key >> 32) as usize % (READ_WORDS * 64)]
}

impl Reading {
    fn texts(&self) -> &Texts {
        self.texts.as_deref().unwrap_or(&NO_TEXTS)
    }

    fn texts_mut(&mut self) -> &mut Texts {
        self.texts.get_or_insert_with(|| Box::new(Texts::NONE))
    }

    /// Whether the user's request is known.
    pub fn knows_request(&self) -> bool {
        !self.texts().asked.is_empty()
    }

    /// Whether any result was handed in.
    pub fn knows_results(&self) -> bool {
        !self.texts().results.is_empty()
    }

    /// Whether the user's requests hold `word`.
    pub fn asked(&self, word: u32) -> bool {
        self.texts().asked.binary_search(&word).is_ok()
    }

    /// All words of the user's requests, sorted.
    pub fn request(&self) -> &[u32] {
        &self.texts().asked
    }

    /// Tools that requests like the user's lead to.
    pub fn wanted(&self) -> &Wanted {
        &self.texts().wanted
    }

    /// The new parts that a call of this turn can see, with their words.
    pub fn visible(&self, turn: Option<u32>) -> impl Iterator<Item = (&NewText, &[u32])> {
        let texts = self.texts();
        let visible = move |text: &&NewText| match (text.origin.turn, turn) {
            (Some(of), Some(now)) => of < now,
            _ => true,
        };
        let words = move |text: &NewText| {
            texts.new_words.get(usize::from(text.from)..usize::from(text.to)).unwrap_or_default()
        };
        texts.new.iter().filter(visible).map(move |text| (text, words(text)))
    }

    /// Tools of all results, the new parts, their words, and the familiar words, for learning.
    pub fn lessons(&self) -> (&[u32], &[NewText], &[u32], &[u32]) {
        let texts = self.texts();
        (&texts.results, &texts.new, &texts.new_words, &texts.familiar)
    }

    /// The request with this one added, if it says anything new.
    pub fn request_with(&self, words: &[u32]) -> Option<Vec<u32>> {
        if words.iter().all(|word| self.asked(*word)) {
            return None;
        }
        let mut all: Vec<u32> = self.texts().asked.iter().chain(words).copied().collect();
        all.sort_unstable();
        all.dedup();
        all.truncate(ASKED_MAX);
        Some(all)
    }

    /// Takes the request as it now is, and what it leads to.
    pub fn ask(&mut self, words: Vec<u32>, wanted: Wanted) {
        let texts = self.texts_mut();
        texts.asked = words;
        texts.wanted = wanted;
    }

    /// Notes a call that was let through, and the values it gave.
    pub fn called(&mut self, call: u32, origin: Origin, values: impl Iterator<Item = u32>) {
        if self.open.len() == OPEN_MAX {
            self.open.remove(0);
        }
        // Most calls end before the next begins.
        if self.open.len() == self.open.capacity() {
            self.open.reserve_exact(self.open.len().clamp(1, OPEN_MAX / 2));
        }
        self.open.push(Open { call, origin });
        for value in values {
            if self.values.len() < VALUES_MAX && !self.values.contains(&value) {
                make_room(&mut self.values, 1, VALUES_MAX);
                self.values.push(value);
            }
        }
    }

    /// The call whose result has come; each once.
    pub fn take(&mut self, call: u32) -> Option<Origin> {
        let at = self.open.iter().position(|open| open.call == call)?;
        Some(self.open.remove(at).origin)
    }

    /// Notes words that only the result of reading a secret held.
    pub fn keep_secret(&mut self, words: impl Iterator<Item = u32>) {
        for word in words {
            let known = &self.texts().secrets;
            if known.len() < SECRETS_MAX && !known.contains(&word) && !self.asked(word) {
                self.texts_mut().secrets.push(word);
            }
        }
    }

    /// Whether a call holds words that only a secret held.
    pub fn tells_secret(&self, words: &CallWords) -> bool {
        let secrets = &self.texts().secrets;
        !secrets.is_empty() && words.arguments.iter().any(|word| secrets.contains(word) && !self.asked(*word))
    }

    /// Whether the user named every value of a call; no where the request is not known.
    pub fn all_said(&self, features: &CallFeatures) -> bool {
        let values = features.arguments.iter().map(|argument| argument.value);
        self.knows_request()
            && self.sources(&features.words, values).all(|source| source == Some(Source::Request))
    }

    /// Room for words of new parts.
    pub fn room(&self) -> usize {
        let texts = self.texts();
        if texts.new.len() < TEXTS_MAX { NEW_WORDS_MAX.saturating_sub(texts.new_words.len()) } else { 0 }
    }

    /// Takes a result up: all its words, those of its new part in runs, and the familiar ones.
    pub fn read(&mut self, tool: u32, words: &[u32], new: Option<(NewText, &[u32])>, familiar: &[u32]) {
        let texts = self.texts_mut();
        if texts.results.len() < RESULTS_MAX {
            make_room(&mut texts.results, 1, RESULTS_MAX);
            texts.results.push(tool);
        }
        if texts.read.is_empty() && !words.is_empty() {
            texts.read.resize(READ_WORDS, 0);
        }
        for place in words.iter().flat_map(|word| places(*word)) {
            if let Some(bits) = texts.read.get_mut(place / 64) {
                *bits |= 1 << (place % 64);
            }
        }
        if let Some((mut text, runs)) = new {
            make_room(&mut texts.new_words, runs.len(), NEW_WORDS_MAX);
            text.from = texts.new_words.len() as u16;
            texts.new_words.extend_from_slice(runs);
            text.to = texts.new_words.len() as u16;
            make_room(&mut texts.new, 1, TEXTS_MAX);
            texts.new.push(text);
        }
        if !familiar.is_empty() && texts.familiar.len() + familiar.len() + 2 <= FAMILIAR_MAX {
            make_room(&mut texts.familiar, familiar.len() + 2, FAMILIAR_MAX);
            texts.familiar.extend([0, tool]);
            texts.familiar.extend_from_slice(familiar);
        }
    }

    fn has_read(&self, word: u32) -> bool {
        let holds = |place: usize| {
            self.texts().read.get(place / 64).is_some_and(|bits| bits >> (place % 64) & 1 == 1)
        };
        places(word).into_iter().all(holds)
    }

    /// Where an argument's value comes from: most of its words, of a short one all.
    pub fn source(&self, value: u32, words: &[u32]) -> Source {
        let enough =
            |held: usize| if words.len() > 6 { held * 10 >= words.len() * 6 } else { held == words.len() };
        if !words.is_empty() {
            if enough(words.iter().filter(|word| self.asked(**word)).count()) {
                return Source::Request;
            }
            if enough(words.iter().filter(|word| self.asked(**word) || self.has_read(**word)).count()) {
                return Source::Result;
            }
        }
        if self.values.contains(&value) { Source::Arguments } else { Source::Nowhere }
    }

    /// Where each argument of a call comes from; none if the user's request is not known.
    pub fn sources<'r>(
        &'r self,
        words: &'r CallWords,
        values: impl Iterator<Item = u32> + 'r,
    ) -> impl Iterator<Item = Option<Source>> + 'r {
        let known = self.knows_request();
        let own = words.by_argument().chain(std::iter::repeat(&[][..]));
        values.zip(own).map(move |(value, words)| known.then(|| self.source(value, words)))
    }
}
