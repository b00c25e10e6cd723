//! Live sessions of a tenant: what each has done so far, and in which order they fell silent.
//!
//! Bounded: at most `SESSIONS_MAX` sessions. What one of 48 calls takes, each of another tool with four arguments, is
//! measured by `askance bench --memory`: two fifths of it are the trail of 40 calls (28 bytes a call, 8 a name), a third the
//! lesson, a tenth the values of arguments, and the rest the session itself with its places in the maps. Results that it read add up to 4 KB
//! (see the constants). Sessions that are over are not here: the log has them.

use super::budget::SESSION_TICKETS_MAX;
use super::trail::Trail;
use crate::detector::models::NOTABLE;
use crate::detector::notebook::Notebook;
use crate::detector::reading::Reading;
use crate::detector::time_of_day::PassedHour;
use crate::domain::account::Tier;
use crate::domain::call::SessionSource;
use crate::domain::decision::{Assessment, Decision};
use crate::domain::event::Recorded;
use crate::domain::position::{Position, Revision};
use crate::domain::risk::Capabilities;
use crate::domain::stream::StreamId;
use crate::domain::time::{HOUR_US, Timestamp};
use crate::stats::edetector::{EDetector, FINDING};
use crate::stats::millibits::MilliBits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tools denied in a session that are remembered.
const DENIED_TOOLS_MAX: usize = 8;

/// A live session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The id it goes by.
    pub session_id: Box<str>,
    /// Where the id came from.
    pub source: SessionSource,
    /// The principal that opened it.
    pub principal: Box<str>,
    /// Position of its `SessionOpened`.
    pub opened_at: Position,
    /// Hash of principal and client, for sessions told apart by pauses.
    pub gap_key: u64,
    /// The parent's stream, if any.
    pub parent: StreamId,
    /// Event time of its first event.
    pub opened: Timestamp,
    /// Event time of its latest event.
    pub active: Timestamp,
    /// Position of its latest event: orders sessions by silence.
    pub last_position: Position,
    /// Place of its latest event in the stream.
    pub revision: Revision,
    /// Calls proposed.
    pub calls: u32,
    /// Calls decided ALLOW, REVIEW and DENY.
    pub verdicts: [u32; 3],
    /// Highest risk so far.
    pub risk_max: u8,
    /// Capabilities of its calls so far.
    pub seen: Capabilities,
    /// The last two tools, latest first; zero: none yet.
    pub tools: [u64; 2],
    /// Hashes of tools denied here.
    pub denied_tools: Box<[u64]>,
    /// What it has read.
    pub reading: Reading,
    /// The first of its parents, or itself: all sessions under it are one tree.
    pub root: StreamId,
    /// What was called in it lately.
    pub trail: Trail,
    /// What it will teach when it closes.
    pub lesson: Notebook,
    /// What its calls have added up to.
    pub evidence: EDetector,
    /// Reviews that evidence asked for and the budget or the session's own evidence paid.
    pub tickets: u8,
    /// The hour in which its last call was let go.
    pub passed_hour: Option<PassedHour>,
    /// A reviewer said no to one of its calls: it teaches nothing.
    pub rejected: bool,
    /// Detectors that an approval muted, one bit each.
    muted: u8,
    /// Until when.
    muted_until: Timestamp,
}

// The allocator's next room is 512 bytes.
const _: () = assert!(size_of::<Session>() <= 448);

/// How long an approval mutes what was odd about the approved call.
const MUTED_US: i64 = HOUR_US;

impl Session {
    /// Whether further reviews join the one that is open.
    pub const fn is_held(&self) -> bool {
        self.tickets >= SESSION_TICKETS_MAX
    }

    /// Detectors that are muted at this time, one bit each.
    pub fn muted_at(&self, at: Option<Timestamp>) -> u8 {
        if at.is_none_or(|at| at < self.muted_until) { self.muted } else { 0 }
    }

    /// A reviewer approved a call of this assessment: what was odd about it is muted here for an hour.
    pub fn approve(&mut self, assessment: &Assessment, at: Timestamp) {
        if self.muted_at(Some(at)) == 0 {
            self.muted = 0;
        }
        let odd = assessment.scores.iter().filter(|score| score.surprise >= NOTABLE);
        self.muted |= odd.fold(0, |bits, score| bits | 1 << score.detector.index());
        self.muted_until = at.plus_micros(MUTED_US);
        self.lesson.vouch(assessment);
    }

    /// A tool was denied here.
    pub(super) fn deny(&mut self, tool: u64) {
        if self.denied_tools.len() < DENIED_TOOLS_MAX {
            self.denied_tools = self.denied_tools.iter().copied().chain([tool]).collect();
        }
    }

    /// A reviewer said no: nothing of this session will be learnt.
    pub fn reject(&mut self) {
        self.rejected = true;
        self.lesson = Notebook::default();
    }

    /// Notes a decision on its account; true if the session is held from now on.
    pub(super) fn on_account(&mut self, decision: &Decision) -> bool {
        let account = &decision.account;
        self.evidence = EDetector::at(MilliBits::new(account.session_evidence));
        if self.evidence.is_finding() || MilliBits::new(account.principal_evidence) >= FINDING {
            self.evidence = EDetector::new();
        }
        if !matches!(account.tier, Tier::Soft | Tier::Session) {
            return false;
        }
        let before = self.is_held();
        self.tickets = self.tickets.saturating_add(1);
        !before && self.is_held()
    }

    /// A session that just opened.
    pub(super) fn new(opened: &Recorded, session_id: String, source: SessionSource, principal: &str) -> Self {
        let record = &opened.record;
        Self {
            session_id: session_id.into(),
            source,
            principal: principal.into(),
            opened_at: opened.position,
            gap_key: 0,
            parent: StreamId::NONE,
            opened: record.event_time,
            active: record.event_time,
            last_position: opened.position,
            revision: record.revision,
            calls: 0,
            verdicts: [0; 3],
            risk_max: 0,
            seen: Capabilities::NONE,
            tools: [0; 2],
            denied_tools: Box::default(),
            root: record.stream,
            trail: Trail::default(),
            reading: Reading::default(),
            lesson: Notebook::default(),
            evidence: EDetector::new(),
            tickets: 0,
            passed_hour: None,
            rejected: false,
            muted: 0,
            muted_until: Timestamp::from_micros(i64::MIN),
        }
    }
}

/// All live sessions of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Boxed: the tree's nodes are then small enough to be searched and split in the processor's cache.
    live: BTreeMap<StreamId, Box<Session>>,
    /// Position of the latest event to stream: the first is the longest silent.
    silence: BTreeMap<Position, StreamId>,
    /// The latest session of each principal and client, for resolving by pauses.
    gaps: BTreeMap<u64, StreamId>,
}

impl Sessions {
    /// The session of this stream, if it is live.
    pub fn get(&self, stream: &StreamId) -> Option<&Session> {
        self.live.get(stream).map(Box::as_ref)
    }

    /// Live sessions.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none is live.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// All live sessions in the order of their streams.
    pub fn iter(&self) -> impl Iterator<Item = (&StreamId, &Session)> {
        self.live.iter().map(|(stream, session)| (stream, session.as_ref()))
    }

    /// All live sessions, to change what is no activity of theirs.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.live.values_mut().map(Box::as_mut)
    }

    /// Sessions from the longest silent on.
    pub fn by_silence(&self) -> impl Iterator<Item = (&StreamId, &Session)> {
        self.silence.values().filter_map(|stream| self.live_of(stream))
    }

    /// The latest live session of this principal and client.
    pub fn of_gap(&self, gap_key: u64) -> Option<(&StreamId, &Session)> {
        self.live_of(self.gaps.get(&gap_key)?)
    }

    fn live_of(&self, stream: &StreamId) -> Option<(&StreamId, &Session)> {
        self.live.get_key_value(stream).map(|(stream, session)| (stream, session.as_ref()))
    }

    /// Opens a session.
    pub(super) fn open(&mut self, stream: StreamId, session: Session) {
        self.silence.insert(session.last_position, stream);
        self.gaps.insert(session.gap_key, stream);
        self.live.insert(stream, Box::new(session));
    }

    /// The session of this stream, now active at `position` and `at`.
    pub(super) fn touch(
        &mut self,
        stream: &StreamId,
        position: Position,
        revision: Revision,
        at: Timestamp,
    ) -> Option<&mut Session> {
        let session = self.live.get_mut(stream)?;
        self.silence.remove(&session.last_position);
        self.silence.insert(position, *stream);
        session.last_position = position;
        session.revision = revision;
        session.active = session.active.max(at);
        Some(session)
    }

    /// The session of this stream, of which a call was proposed. It is active when that is decided, right behind.
    pub(super) fn propose(
        &mut self,
        stream: &StreamId,
        revision: Revision,
        at: Timestamp,
    ) -> Option<&mut Session> {
        let session = self.live.get_mut(stream)?;
        session.revision = revision;
        session.active = session.active.max(at);
        Some(session)
    }

    /// A live session, to change what is no activity of its own.
    pub(super) fn get_mut(&mut self, stream: &StreamId) -> Option<&mut Session> {
        self.live.get_mut(stream).map(Box::as_mut)
    }

    /// Notes the latest revision of a session's stream; whether the session is live.
    pub(super) fn follow(&mut self, stream: &StreamId, revision: Revision) -> bool {
        let live = self.live.get_mut(stream);
        live.map(|session| session.revision = revision).is_some()
    }

    /// Closes a session and hands it over.
    pub(super) fn close(&mut self, stream: &StreamId) -> Option<Session> {
        let session = self.live.remove(stream)?;
        self.silence.remove(&session.last_position);
        if self.gaps.get(&session.gap_key) == Some(stream) {
            self.gaps.remove(&session.gap_key);
        }
        Some(*session)
    }
}
