//! Which events a reader asked for, and reading them from the log in either direction.
//!
//! Two orders are read the same way: the whole log by position, and one session by revision. Deliberately
//! absent: following the log, which `watch` does.

use super::convert::event::{Converter, tenant_of_event, type_of};
use super::convert::stream_of_key;
use super::kin::Kin;
use super::shared::tenant_of;
use super::status::Failure;
use crate::domain::event::{Event, Payload};
use crate::domain::position::{Position, Revision};
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;
use crate::engine::{Engine, Error, EventView, TimelineEvent};
use crate::proto::v1::{self, ErrorCode, EventFilter, EventType};
use prost::Message;

/// Events read at once.
pub(super) const CHUNK: u64 = 512;
/// Events looked at for one page.
const LOOKED_AT_MAX: u64 = 100_000;
/// Bytes of a page.
const PAGE_BYTES_MAX: usize = 3 << 20;

/// Which events to show.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// Of this tenant; none: of all of the partition.
    tenant: Option<String>,
    /// The partition they are in.
    pub(super) partition: usize,
    /// Of this session; none: of all.
    pub(super) stream: Option<StreamId>,
    /// Of a session and those nested in it; none: of all.
    kin: Option<Kin>,
    call_id: String,
    types: Vec<EventType>,
    /// With payloads or without.
    payloads: bool,
    /// With keyed digests of arguments.
    digests: bool,
}

impl Scope {
    /// Checks a filter.
    pub(super) fn new(engine: &Engine, filter: Option<EventFilter>) -> Result<Self, Failure> {
        let filter = filter.unwrap_or_default();
        if filter.include_children && filter.session_key.is_empty() {
            return Err(Failure::field("filter.session_key", "is missing; include_children needs it"));
        }
        let stream = match filter.session_key.as_str() {
            "" => None,
            key => Some(
                stream_of_key(key)
                    .ok_or_else(|| Failure::field("filter.session_key", "is not 32 hex digits"))?,
            ),
        };
        let unknown = |number: &i32| match EventType::try_from(*number) {
            Ok(EventType::Unspecified) | Err(_) => {
                Err(Failure::field("filter.types", format!("has {number}, which is no event type")))
            }
            Ok(known) => Ok(known),
        };
        let types = filter.types.iter().map(unknown).collect::<Result<_, _>>()?;
        let tenant =
            (stream.is_some() || !filter.tenant.is_empty()).then(|| tenant_of(&filter.tenant).to_owned());
        let partition = match &tenant {
            Some(tenant) => engine.partition_of(tenant),
            None => filter.partition as usize,
        };
        if partition >= engine.partitions() {
            let most = engine.partitions() - 1;
            return Err(Failure::field("filter.partition", format!("is over {most}, the last")));
        }
        // A session with those below it is read in the order of the log.
        let kin = stream.filter(|_| filter.include_children).zip(tenant.as_deref());
        let kin = kin.map(|(stream, tenant)| Kin::new(tenant, stream));
        let stream = stream.filter(|_| kin.is_none());
        let (payloads, digests) = (filter.include_payloads, filter.include_argument_digests);
        Ok(Self { tenant, partition, stream, kin, call_id: filter.call_id, types, payloads, digests })
    }

    const fn view(&self) -> EventView {
        if self.payloads || self.digests { EventView::Full } else { EventView::Basic }
    }

    /// Whether to show an event. The converter must have noted it.
    pub(super) fn admits(&self, event: &TimelineEvent, converter: &Converter) -> bool {
        let record = &event.recorded.record;
        self.tenant.as_deref().is_none_or(|tenant| tenant_of_event(event) == Some(tenant))
            && self.stream.is_none_or(|stream| record.stream == stream)
            && self.kin.as_ref().is_none_or(|kin| kin.includes(record.stream))
            && (self.types.is_empty() || self.types.contains(&type_of(&record.event)))
            && (self.call_id.is_empty() || converter.call_id(event) == self.call_id)
    }

    /// The tenant whose counters count for this reader.
    pub(super) fn tenant_counted(&self) -> &str {
        tenant_of(self.tenant.as_deref().unwrap_or(""))
    }

    /// Up to `max` events from a place on, in the order of the scope. Blocks on disk reads.
    pub(super) fn read(&self, engine: &Engine, from: u64, max: u64) -> Result<Vec<TimelineEvent>, Error> {
        let Some(stream) = self.stream else { return self.read_partition(engine, from, max) };
        let (tenant, from) = (self.tenant_counted(), Revision::new(from));
        let events = engine.session_events(tenant, stream, from, max as usize, self.view())?;
        Ok(self.as_asked(engine, events))
    }

    /// Up to `max` events of the whole partition from a position on. Blocks on disk reads.
    pub(super) fn read_partition(
        &self,
        engine: &Engine,
        from: u64,
        max: u64,
    ) -> Result<Vec<TimelineEvent>, Error> {
        let from = Position::new(from);
        let events = engine.partition_events(self.partition, from, max as usize, self.view())?;
        if let Some(kin) = &self.kin {
            kin.learn(engine, events.iter().map(|event| event.recorded.record.stream))?;
        }
        Ok(self.as_asked(engine, events))
    }

    /// The events with what was asked for of their payloads, and nothing else of them.
    fn as_asked(&self, engine: &Engine, mut events: Vec<TimelineEvent>) -> Vec<TimelineEvent> {
        for event in events.iter_mut().filter(|_| self.digests) {
            let record = &mut event.recorded.record;
            if matches!(record.event, Event::CallProposed(_)) && !event.erased {
                event.arguments_digest = Some(engine.arguments_digest(&record.payload.arguments));
            }
            if !self.payloads {
                record.payload = Payload::default();
            }
        }
        events
    }

    /// The first place worth looking at. Blocks on disk reads.
    pub(super) fn first(&self, engine: &Engine) -> Result<u64, Error> {
        let begins = self.kin.as_ref().map(|kin| kin.begins(engine)).transpose()?;
        Ok(begins.flatten().map_or(1, Position::get))
    }

    /// The place of an event in the order of the scope: its position, or its revision in a session.
    fn place(&self, event: &TimelineEvent) -> u64 {
        match self.stream {
            Some(_) => event.recorded.record.revision.get(),
            None => event.recorded.position.get(),
        }
    }

    /// The last place there is; zero: none. Blocks on disk reads.
    fn last(&self, engine: &Engine) -> Result<u64, Error> {
        let Some(stream) = self.stream else {
            let tail = engine.partition_tail(self.partition);
            return Ok(tail.map_or(0, |tail| tail.borrow().get()));
        };
        engine.session_last(self.tenant_counted(), stream).map(Revision::get)
    }
}

/// A page of events that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// Which.
    pub(super) scope: Scope,
    /// First and last position to show.
    pub(super) positions: std::ops::RangeInclusive<u64>,
    /// Received at or after.
    pub(super) since: Option<Timestamp>,
    /// Received before.
    pub(super) until: Option<Timestamp>,
    /// Newest first.
    pub(super) descending: bool,
    /// Most events.
    pub(super) size: usize,
    /// Place that the page before said to go on at.
    pub(super) resume: Option<u64>,
}

/// Events of a page, and the place to go on at; none: there are no more.
pub(super) type Read = (Vec<v1::Event>, Option<u64>);

impl Page {
    /// Reads the page. Blocks on disk reads.
    pub(super) fn read(&self, engine: &Engine) -> Result<Read, Failure> {
        let tail = engine.partition_tail(self.scope.partition).map_or(0, |tail| tail.borrow().get());
        if *self.positions.start() > tail + 1 {
            let message = format!("the log has positions 1 to {tail}");
            return Err(Failure::new(ErrorCode::PositionOutOfRange, message));
        }
        Ok(if self.descending { self.read_back(engine)? } else { self.read_on(engine)? })
    }

    fn read_on(&self, engine: &Engine) -> Result<Read, Error> {
        let first = if self.scope.stream.is_some() { 1 } else { (*self.positions.start()).max(1) };
        let mut next = self.resume.unwrap_or(first.max(self.scope.first(engine)?));
        let mut page = Filling::new(self.size);
        let mut looked_at = 0;
        while looked_at < LOOKED_AT_MAX {
            let (events, end) = self.chunk(engine, next, next.saturating_add(CHUNK - 1))?;
            for (place, event) in events {
                if !page.add(event) {
                    return Ok((page.events, Some(place)));
                }
            }
            match end {
                Some(last) => next = last + 1,
                None => return Ok((page.events, None)),
            }
            looked_at += CHUNK;
        }
        Ok((page.events, Some(next)))
    }

    fn read_back(&self, engine: &Engine) -> Result<Read, Error> {
        let last = match self.resume {
            Some(place) => place,
            None if self.scope.stream.is_some() => self.scope.last(engine)?,
            None => self.scope.last(engine)?.min(*self.positions.end()),
        };
        let mut page = Filling::new(self.size);
        let mut upper = last;
        let mut looked_at = 0;
        while upper > 0 && looked_at < LOOKED_AT_MAX {
            let lower = upper.saturating_sub(CHUNK - 1).max(1);
            let (events, _) = self.chunk(engine, lower, upper)?;
            for (place, event) in events.into_iter().rev() {
                if !page.add(event) {
                    return Ok((page.events, Some(place)));
                }
            }
            upper = lower - 1;
            looked_at += CHUNK;
        }
        Ok((page.events, (upper > 0).then_some(upper)))
    }

    /// Events of these places that are to be shown, and the last place that was there; none: nothing
    /// there, or nothing behind it can be shown.
    #[expect(clippy::type_complexity, reason = "used twice, right above")]
    fn chunk(
        &self,
        engine: &Engine,
        lower: u64,
        upper: u64,
    ) -> Result<(Vec<(u64, v1::Event)>, Option<u64>), Error> {
        let mut converter = Converter::default();
        let mut shown = Vec::new();
        // A decision is put into words with the proposal right before it.
        let mut next = lower.saturating_sub(1).max(1);
        let mut last = None;
        while next <= upper {
            let events = self.scope.read(engine, next, upper - next + 1)?;
            if events.is_empty() {
                break;
            }
            for event in events {
                let place = self.scope.place(&event);
                next = place + 1;
                converter.note(&event);
                if place < lower {
                    continue;
                }
                if event.recorded.position.get() > *self.positions.end() && !self.descending {
                    return Ok((shown, None));
                }
                last = Some(place);
                if self.admits(&event, &converter) {
                    shown.push((place, converter.event(event, self.scope.partition as u32)));
                }
            }
        }
        Ok((shown, last))
    }

    fn admits(&self, event: &TimelineEvent, converter: &Converter) -> bool {
        let received = event.recorded.record.receive_time;
        self.positions.contains(&event.recorded.position.get())
            && self.since.is_none_or(|since| received >= since)
            && self.until.is_none_or(|until| received < until)
            && self.scope.admits(event, converter)
    }
}

/// A page that fills.
struct Filling {
    events: Vec<v1::Event>,
    size: usize,
    bytes: usize,
}

impl Filling {
    const fn new(size: usize) -> Self {
        Self { events: Vec::new(), size, bytes: 0 }
    }

    /// Whether there was room.
    fn add(&mut self, event: v1::Event) -> bool {
        let bytes = event.encoded_len() + 8;
        let full = self.events.len() >= self.size || self.bytes + bytes > PAGE_BYTES_MAX;
        if full && !self.events.is_empty() {
            return false;
        }
        self.bytes += bytes;
        self.events.push(event);
        true
    }
}
