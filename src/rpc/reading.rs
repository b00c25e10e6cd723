//! The events of the API for those who read them inside the daemon.

use super::convert::micros;
use super::events::{Page, Scope};
use crate::domain::time::Timestamp;
use crate::engine::Engine;
use crate::proto::v1::{Event, ListEventsRequest};

/// What `ListEvents` answers, without tokens: a page that is full, or everything there is. Blocks on disk reads.
pub fn events(engine: &Engine, request: ListEventsRequest) -> Result<Vec<Event>, String> {
    let mut faults = Vec::new();
    let since = micros("from_time", request.from_time.as_ref(), &mut faults);
    let until = micros("to_time", request.to_time.as_ref(), &mut faults);
    let mut page = Page {
        scope: Scope::new(engine, request.filter).map_err(|failure| failure.message)?,
        positions: request.from_position.max(1)..=request.to_position.unwrap_or(u64::MAX),
        since: since.map(Timestamp::from_micros),
        until: until.map(Timestamp::from_micros),
        descending: request.descending,
        size: request.page_size.max(1) as usize,
        resume: None,
    };
    loop {
        let (events, next) = page.read(engine).map_err(|failure| failure.message)?;
        if !events.is_empty() || next.is_none() {
            return Ok(events);
        }
        // A page that is empty because too much was looked at.
        page.resume = next;
    }
}
