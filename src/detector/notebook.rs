//! A live session's lesson, packed: a third of the bytes of a [`Lesson`], which it becomes when the session closes.
//!
//! A note is a call kept in full. Its tool is told only where [`Notebook::tools`] does not hold it, its time only
//! where it differs from the note before, and of each detector that judged it the surprise in one to three bytes.
//! An argument is the place of its path and kind in [`Notebook::paths`], the hash of its value, and its magnitude.
//! In a snapshot a notebook is its lesson.

use super::learn::{
    ABSTAINED, ARGUMENTS_MAX, CALLS_MAX, Lesson, Observation, TOOLS_MAX, local_hour_and_day, tool_key,
};
use super::models::is_for_rate;
use crate::domain::call::{ArgumentFeature, CallFeatures, limits::ARGUMENT_PATHS_MAX};
use crate::domain::decision::{Assessment, DETECTORS};
use crate::stats::packed::{Bytes, Unpack, make_room, unzigzag, zigzag};
use serde::{Deserialize, Serialize, Serializer};

/// Sets of capabilities that are remembered.
const CAPABILITIES_MAX: usize = 16;
/// Most bytes of a note without its arguments.
const NOTE_BYTES_MAX: usize = 19 + 3 * (DETECTORS + 1);
/// Most bytes of an argument.
const ARGUMENT_BYTES_MAX: usize = 6;
/// Most bytes of all notes.
const NOTES_BYTES_MAX: usize = CALLS_MAX * NOTE_BYTES_MAX + ARGUMENTS_MAX * ARGUMENT_BYTES_MAX;

/// Share of the notes that is left free for further ones after every second went.
const SPARE: usize = 8;

/// The call was not made after all.
const ABANDONED: u8 = 1;
/// The tool is told.
const TOOL_TOLD: u8 = 2;
/// The time is told.
const TIME_TOLD: u8 = 4;

// The surprises that are there are one bit each of a byte.
const _: () = assert!(DETECTORS <= 8 && ARGUMENTS_MAX < 128 && ARGUMENT_PATHS_MAX <= ARGUMENTS_MAX);

/// What a live session will teach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Lesson")]
pub struct Notebook {
    principal: u64,
    /// Tools in order.
    tools: Vec<u32>,
    /// Seldom more than a few: no room to spare.
    capabilities: Box<[u16]>,
    /// Paths and kinds of arguments, in the order in which they came up.
    paths: Vec<(u32, u8)>,
    notes: Vec<u8>,
    /// Calls noted so far, in full or not.
    noted: u32,
    /// Every so many-th call is kept in full, as a power of two.
    stride: u8,
    /// Calls in `notes`, and their arguments.
    kept: u8,
    arguments: u8,
    /// Time of the last note.
    hour_of_week: u8,
    day: i32,
    /// See [`Lesson::rate_doubted`].
    rate_doubted: bool,
}

impl Serialize for Notebook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.lesson().serialize(serializer)
    }
}

impl From<Lesson> for Notebook {
    fn from(lesson: Lesson) -> Self {
        let Lesson { principal, tools, calls, noted, stride, arguments, capabilities, rate_doubted } = lesson;
        let capabilities = capabilities.into();
        let mut notebook =
            Self { principal, tools, capabilities, noted, stride, rate_doubted, ..Self::default() };
        let mut rest = arguments.as_slice();
        for call in calls.iter().take(CALLS_MAX) {
            let (own, others) = rest.split_at(usize::from(call.arguments).min(rest.len()));
            rest = others;
            notebook.write(call, own);
        }
        notebook
    }
}

impl Notebook {
    /// Adds an allowed call.
    pub fn note(&mut self, call: u32, features: &CallFeatures, assessment: &Assessment) {
        if self.tools.is_empty() {
            self.principal = features.principal;
        }
        if self.tools.len() < TOOLS_MAX {
            make_room(&mut self.tools, 1, TOOLS_MAX);
            self.tools.push(tool_key(features.tool));
        }
        let capabilities = features.capabilities.bits();
        let known = &self.capabilities;
        if capabilities != 0 && known.len() < CAPABILITIES_MAX && !known.contains(&capabilities) {
            self.capabilities = known.iter().copied().chain([capabilities]).collect();
        }
        if !self.keeps_next() {
            return;
        }
        let room = ARGUMENTS_MAX.saturating_sub(self.arguments.into());
        let arguments = features.arguments.get(..room).unwrap_or(&features.arguments);
        let time = local_hour_and_day(features);
        let mut raw = [ABSTAINED; DETECTORS];
        for (slot, score) in raw.iter_mut().zip(&assessment.scores) {
            *slot = score.raw.map_or(ABSTAINED, short);
        }
        let observation = Observation {
            call,
            tool: tool_key(features.tool),
            hour_of_week: time.map_or(u8::MAX, |(hour, _, _)| hour),
            day: time.map_or(0, |(_, day, _)| day),
            raw,
            combined: short(assessment.combined_raw),
            arguments: arguments.len() as u8,
            abandoned: false,
        };
        self.write(&observation, arguments);
    }

    /// Whether the next call is kept in full; makes room for it.
    fn keeps_next(&mut self) -> bool {
        let next = self.noted;
        self.noted = self.noted.saturating_add(1);
        let kept = |stride: u8| next & ((1_u32 << stride.min(31)) - 1) == 0;
        if kept(self.stride) && usize::from(self.kept) == CALLS_MAX {
            self.thin_out();
        }
        kept(self.stride)
    }

    /// Drops every second call with its arguments.
    fn thin_out(&mut self) {
        let before = self.lesson();
        // Anew, because an allocator that is asked for a smaller room keeps the old one.
        self.notes = Vec::with_capacity(self.notes.len() / 2 + self.notes.len() / SPARE);
        self.paths.clear();
        (self.kept, self.arguments) = (0, 0);
        self.stride = self.stride.saturating_add(1);
        let mut rest = before.arguments.as_slice();
        for (place, call) in before.calls.iter().enumerate() {
            let (own, others) = rest.split_at(usize::from(call.arguments).min(rest.len()));
            rest = others;
            if place % 2 == 0 {
                self.write(call, own);
            }
        }
    }

    /// The tool of the next note, if the list of tools has it: kept calls lie evenly.
    fn tool_at(&self, kept: u8) -> Option<u32> {
        let place = usize::from(kept).checked_shl(self.stride.into())?;
        self.tools.get(place).copied()
    }

    fn write(&mut self, seen: &Observation, arguments: &[ArgumentFeature]) {
        let tool_told = self.tool_at(self.kept) != Some(seen.tool);
        let time_told = self.kept == 0 || (seen.hour_of_week, seen.day) != (self.hour_of_week, self.day);
        let mut note = Bytes::<{ NOTE_BYTES_MAX + ARGUMENT_BYTES_MAX * ARGUMENT_PATHS_MAX }>::default();
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        note.byte(flag(seen.abandoned, ABANDONED) | flag(tool_told, TOOL_TOLD) | flag(time_told, TIME_TOLD));
        note.word(seen.call);
        if tool_told {
            note.word(seen.tool);
        }
        if time_told {
            note.byte(seen.hour_of_week);
            note.number(zigzag(seen.day));
        }
        let judged = |place: &usize| seen.raw.get(*place).is_some_and(|raw| *raw != ABSTAINED);
        note.byte((0..DETECTORS).filter(judged).fold(0, |bits, place| bits | 1 << place));
        let judged = seen.raw.iter().filter(|raw| **raw != ABSTAINED);
        judged.chain([&seen.combined]).for_each(|raw| note.number((*raw).into()));
        let arguments = arguments.get(..ARGUMENT_PATHS_MAX).unwrap_or(arguments);
        note.byte(arguments.len() as u8);
        for argument in arguments {
            note.byte(self.path(argument));
            note.word(argument.value);
            note.byte(argument.magnitude);
        }
        make_room(&mut self.notes, note.get().len(), NOTES_BYTES_MAX);
        self.notes.extend_from_slice(note.get());
        (self.hour_of_week, self.day) = (seen.hour_of_week, seen.day);
        self.kept += 1;
        self.arguments += arguments.len() as u8;
    }

    /// Where an argument's path and kind are found; there are never more than arguments.
    fn path(&mut self, argument: &ArgumentFeature) -> u8 {
        let wanted = (argument.path, argument.kind);
        let known = self.paths.iter().position(|path| *path == wanted);
        known.unwrap_or_else(|| {
            make_room(&mut self.paths, 1, ARGUMENTS_MAX);
            self.paths.push(wanted);
            self.paths.len() - 1
        }) as u8
    }

    /// A call of the session was sent to review.
    pub fn doubt(&mut self, assessment: &Assessment) {
        self.rate_doubted |= is_for_rate(assessment);
    }

    /// A reviewer approved a call of the session.
    pub fn vouch(&mut self, assessment: &Assessment) {
        self.rate_doubted &= !is_for_rate(assessment);
    }

    /// Marks a call that was allowed but never made.
    pub fn abandon(&mut self, call: u32) {
        let mut notes = Notes::of(self);
        let mut found = None;
        while found.is_none() {
            let begin = self.notes.len() - notes.rest.0.len();
            let Some(note) = notes.next(|_| {}) else { return };
            found = (note.call == call).then_some(begin);
        }
        if let Some(flags) = found.and_then(|begin| self.notes.get_mut(begin)) {
            *flags |= ABANDONED;
        }
    }

    /// What it teaches.
    pub fn lesson(&self) -> Lesson {
        let mut calls = Vec::with_capacity(self.kept.into());
        let mut arguments = Vec::with_capacity(self.arguments.into());
        let mut notes = Notes::of(self);
        while let Some(call) = notes.next(|argument| arguments.push(argument)) {
            calls.push(call);
        }
        Lesson {
            principal: self.principal,
            tools: self.tools.clone(),
            calls,
            noted: self.noted,
            stride: self.stride,
            arguments,
            capabilities: self.capabilities.to_vec(),
            rate_doubted: self.rate_doubted,
        }
    }
}

/// The notes of a book, in order.
struct Notes<'n> {
    book: &'n Notebook,
    rest: Unpack<'n>,
    kept: u8,
    hour_of_week: u8,
    day: i32,
}

impl<'n> Notes<'n> {
    const fn of(book: &'n Notebook) -> Self {
        Self { book, rest: Unpack(book.notes.as_slice()), kept: 0, hour_of_week: 0, day: 0 }
    }

    /// The next call; its arguments are handed to `take`.
    fn next(&mut self, mut take: impl FnMut(ArgumentFeature)) -> Option<Observation> {
        let flags = self.rest.byte()?;
        let call = self.rest.word()?;
        let tool = match flags & TOOL_TOLD {
            0 => self.book.tool_at(self.kept)?,
            _ => self.rest.word()?,
        };
        if flags & TIME_TOLD != 0 {
            self.hour_of_week = self.rest.byte()?;
            self.day = unzigzag(self.rest.number()?);
        }
        let judged = self.rest.byte()?;
        let mut raw = [ABSTAINED; DETECTORS];
        for (place, slot) in raw.iter_mut().enumerate() {
            if judged >> place & 1 == 1 {
                *slot = self.rest.number()? as u16;
            }
        }
        let combined = self.rest.number()? as u16;
        let arguments = self.rest.byte()?;
        for _ in 0..arguments {
            let (path, kind) = *self.book.paths.get(usize::from(self.rest.byte()?))?;
            let value = self.rest.word()?;
            take(ArgumentFeature { path, value, magnitude: self.rest.byte()?, kind });
        }
        self.kept += 1;
        let abandoned = flags & ABANDONED != 0;
        let (hour_of_week, day) = (self.hour_of_week, self.day);
        Some(Observation { call, tool, hour_of_week, day, raw, combined, arguments, abandoned })
    }
}

fn short(millibits: i32) -> u16 {
    u16::try_from(millibits.max(0)).unwrap_or(ABSTAINED - 1).min(ABSTAINED - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::models::unknown;
    use crate::domain::decision::Detector;
    use crate::domain::risk::Capabilities;
    use crate::domain::time::Timestamp;
    use proptest::prelude::*;

    fn features(tool: u64, at: Option<i64>, arguments: Vec<ArgumentFeature>) -> CallFeatures {
        CallFeatures {
            tool,
            principal: 1,
            at: at.map(Timestamp::from_micros),
            arguments,
            ..CallFeatures::default()
        }
    }

    fn argument(path: u32, value: u32, magnitude: u8, kind: u8) -> ArgumentFeature {
        ArgumentFeature { path, value, magnitude, kind }
    }

    #[test]
    fn a_long_session_is_kept_evenly() {
        let mut notebook = Notebook::default();
        let features = features(7, None, vec![argument(1, 2, 3, 3)]);
        for call in 0..1_000 {
            notebook.note(call, &features, &unknown(0, 0));
        }
        let lesson = notebook.lesson();
        let kept: Vec<u32> = lesson.calls.iter().map(|call| call.call).collect();
        assert!(kept.len() <= CALLS_MAX && kept.len() > CALLS_MAX / 2, "{}", kept.len());
        assert!(kept.windows(2).all(|two| two[1] - two[0] == 32), "{kept:?}");
        assert_eq!(lesson.arguments.len(), kept.len());
        assert_eq!(lesson.tools.len(), TOOLS_MAX);
    }

    #[test]
    fn a_call_in_question_for_its_rate_is_remembered_until_it_is_approved() {
        let of = |detector: Detector| {
            let mut assessment = unknown(0, 0);
            assessment.scores[Detector::Rate.index()].surprise = 6_000;
            assessment.scores[detector.index()].surprise = 7_000;
            assessment
        };
        let mut notebook = Notebook::default();
        notebook.doubt(&of(Detector::Novelty));
        assert!(!notebook.lesson().rate_doubted, "it was odd for its tool");
        notebook.doubt(&of(Detector::Rate));
        assert!(notebook.lesson().rate_doubted);
        notebook.vouch(&of(Detector::Novelty));
        assert!(Notebook::from(notebook.lesson()).lesson().rate_doubted);
        notebook.vouch(&of(Detector::Rate));
        assert!(!notebook.lesson().rate_doubted);
    }

    #[test]
    fn an_abandoned_call_is_marked_and_no_other() {
        let mut notebook = Notebook::default();
        for call in 0..30 {
            notebook.note(
                call,
                &features(call.into(), None, vec![argument(call, 0, 0, 0); 2]),
                &unknown(0, 0),
            );
        }
        notebook.abandon(17);
        notebook.abandon(99);
        let marked = |call: &Observation| call.abandoned == (call.call == 17);
        assert!(notebook.lesson().calls.iter().all(marked));
    }

    /// What a notebook is to come to, kept in full without any packing.
    #[derive(Default)]
    struct Plain {
        calls: Vec<(Observation, Vec<ArgumentFeature>)>,
        noted: u32,
        stride: u32,
    }

    impl Plain {
        fn note(&mut self, observation: Observation, arguments: &[ArgumentFeature]) {
            let next = self.noted;
            self.noted += 1;
            if !next.is_multiple_of(1 << self.stride) {
                return;
            }
            if self.calls.len() == CALLS_MAX {
                let mut place = 0;
                self.calls.retain(|_| {
                    place += 1;
                    place % 2 == 1
                });
                self.stride += 1;
                if !next.is_multiple_of(1 << self.stride) {
                    return;
                }
            }
            let room = ARGUMENTS_MAX - self.calls.iter().map(|(_, own)| own.len()).sum::<usize>();
            let own = arguments[..arguments.len().min(room)].to_vec();
            self.calls.push((Observation { arguments: own.len() as u8, ..observation }, own));
        }
    }

    proptest! {
        #[test]
        fn a_notebook_holds_what_was_noted(
            calls in prop::collection::vec(
                (
                    any::<u32>(),
                    0..50_u32,
                    prop::option::of(-1_000_000_000_000_000..4_000_000_000_000_000_i64),
                    prop::collection::vec((0..40_u32, any::<u32>(), any::<u8>(), 0..5_u8), 0..=32),
                    prop::array::uniform7(prop::option::of(-5..100_000_i32)),
                ),
                0..700,
            ),
        ) {
            let (mut notebook, mut plain) = (Notebook::default(), Plain::default());
            for (call, tool, at, arguments, raw) in &calls {
                let arguments: Vec<_> = arguments.iter().map(|(p, v, m, k)| argument(*p, *v, *m, *k)).collect();
                let features = CallFeatures {
                    capabilities: Capabilities::from_bits(*tool as u16),
                    ..features((*tool).into(), *at, arguments)
                };
                let mut assessment = unknown(0, 0);
                assessment.combined_raw = raw[0].unwrap_or(0);
                for (score, raw) in assessment.scores.iter_mut().zip(raw) {
                    score.raw = *raw;
                }
                notebook.note(*call, &features, &assessment);
                let time = local_hour_and_day(&features);
                let observation = Observation {
                    call: *call,
                    tool: *tool,
                    hour_of_week: time.map_or(u8::MAX, |time| time.0),
                    day: time.map_or(0, |time| time.1),
                    raw: raw.map(|raw| raw.map_or(ABSTAINED, |raw| raw.clamp(0, 65_534) as u16)),
                    combined: raw[0].unwrap_or(0).clamp(0, 65_534) as u16,
                    arguments: 0,
                    abandoned: false,
                };
                plain.note(observation, &features.arguments);
            }
            let lesson = notebook.lesson();
            let (observed, arguments): (Vec<_>, Vec<_>) = plain.calls.into_iter().unzip();
            prop_assert_eq!(&lesson.calls, &observed);
            prop_assert_eq!(&lesson.arguments, &arguments.concat());
            let tools: Vec<u32> = calls.iter().map(|call| call.1).take(TOOLS_MAX).collect();
            prop_assert_eq!(&lesson.tools, &tools);
            let bytes = postcard::to_stdvec(&notebook).unwrap();
            prop_assert_eq!(&bytes, &postcard::to_stdvec(&lesson).unwrap());
            prop_assert_eq!(postcard::from_bytes::<Notebook>(&bytes).unwrap(), notebook);
        }
    }
}
