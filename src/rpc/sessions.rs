//! Listing sessions, and one session as it stands.

use super::convert::session::{Fold, begins_with, of_summary};
use super::convert::{key_of_stream, micros, stream_of_key};
use super::kin::Kin;
use super::page::{Tokens, size};
use super::shared::{Shared, tenant_of};
use super::status::Failure;
use crate::decide::ingest::check_name;
use crate::detector::sentence::shown;
use crate::domain::event::Event;
use crate::domain::position::Revision;
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;
use crate::engine::{Engine, Error, EventView, SessionFilter, SessionSummary, TimelineEvent};
use crate::proto::v1;

/// Sessions of a page by default, and at most.
const PAGE: (usize, usize) = (50, 1_000);
/// Sessions looked at for one page.
const LOOKED_AT_MAX: usize = 10_000;
/// The same where the events of each must be looked at, too.
const LOOKED_INTO_MAX: usize = 2_000;
/// Sessions read at once.
const CHUNK: usize = 512;
/// Events read at once.
const EVENTS_CHUNK: usize = 2_048;
/// Children told of one session.
const CHILDREN_MAX: usize = 100;
/// Digits of a session key that are enough to look for it.
const DIGITS_MIN: usize = 6;

/// What the engine's list does not filter by, because it changes while a session lives.
struct Figures {
    verdict: Option<usize>,
    risk_min: u8,
    closed: Option<bool>,
}

impl Figures {
    fn admit(&self, session: &SessionSummary) -> bool {
        session.risk_max >= self.risk_min
            && self.verdict.is_none_or(|verdict| session.verdicts[verdict] > 0)
            && self.closed.is_none_or(|closed| session.closed.is_some() == closed)
    }
}

/// A page of sessions.
pub(super) async fn list(
    shared: &Shared,
    mut request: v1::ListSessionsRequest,
) -> Result<v1::ListSessionsResponse, Failure> {
    let tenant = tenant_of(&request.tenant).to_owned();
    check_name("tenant", &tenant, false).map_err(Failure::invalid)?;
    let token = std::mem::take(&mut request.page_token);
    let page = size(std::mem::take(&mut request.page_size), PAGE.0, PAGE.1);
    let tokens = Tokens::new(shared.engine.key(&tenant), "sessions", &request);
    let (filter, figures) = filters(&request)?;
    let order = request.order();
    let ancestor = match request.ancestor_session_key.as_str() {
        "" => None,
        key => Some(
            stream_of_key(&key.to_ascii_lowercase())
                .ok_or_else(|| Failure::field("ancestor_session_key", "is not 32 hex digits"))?,
        ),
    };
    let kin = ancestor.map(|ancestor| Kin::new(&tenant, ancestor));
    let looks_in = !request.tool.is_empty() || !request.server.is_empty();
    let looked_at_max = if looks_in { LOOKED_INTO_MAX } else { LOOKED_AT_MAX };
    let (tool, server) = (request.tool, request.server);
    let mut looking = Looking { shared, tenant, filter, figures, kin, tool, server };
    let (sessions, next_page_token) = match order {
        v1::SessionOrder::Unspecified | v1::SessionOrder::Start => {
            let after = if token.is_empty() { None } else { Some(tokens.open("page_token", &token)?) };
            let (sessions, after) = looking.newest(after, page, looked_at_max).await?;
            (sessions, after.map_or_else(String::new, |place| tokens.seal(&place)))
        }
        v1::SessionOrder::Risk | v1::SessionOrder::LastCall => {
            let skip = if token.is_empty() { 0 } else { tokens.open_number("page_token", &token)? };
            let (mut sessions, _) = looking.newest(None, looked_at_max, looked_at_max).await?;
            match order {
                v1::SessionOrder::Risk => sessions.sort_by_key(|session| std::cmp::Reverse(session.risk_max)),
                _ => sessions.sort_by_key(|session| std::cmp::Reverse(session.active)),
            }
            let end = (skip as usize).saturating_add(page);
            let next = if end < sessions.len() { tokens.seal_number(end as u64) } else { String::new() };
            (sessions.into_iter().skip(skip as usize).take(page).collect(), next)
        }
    };
    Ok(v1::ListSessionsResponse { sessions: sessions.iter().map(of_summary).collect(), next_page_token })
}

/// A list being made.
struct Looking<'a> {
    shared: &'a Shared,
    tenant: String,
    filter: SessionFilter,
    figures: Figures,
    /// Only those below this one.
    kin: Option<Kin>,
    tool: String,
    server: String,
}

impl Looking<'_> {
    /// Up to `most` sessions that pass, newest first, of the next `looked_at_max`; and where to go on.
    async fn newest(
        &mut self,
        mut after: Option<Vec<u8>>,
        most: usize,
        looked_at_max: usize,
    ) -> Result<(Vec<SessionSummary>, Option<Vec<u8>>), Failure> {
        let mut sessions = Vec::new();
        let mut looked_at = 0;
        loop {
            let (name, filter, from) = (self.tenant.clone(), self.filter.clone(), after.take());
            let chunk = CHUNK.min(most - sessions.len());
            let (found, next) =
                self.shared.read(move |engine| engine.list_sessions(&name, from, &filter, chunk)).await?;
            looked_at += found.len().max(1);
            let mut found = up_to_date(&self.shared.engine, &self.tenant, found).await?;
            found.retain(|session| self.figures.admit(session));
            let found = self.nested(found).await?;
            sessions.extend(self.with_tool(found).await?);
            after = next;
            if after.is_none() || sessions.len() >= most || looked_at >= looked_at_max {
                return Ok((sessions, after));
            }
        }
    }

    /// Those below the session asked for.
    async fn nested(&self, sessions: Vec<SessionSummary>) -> Result<Vec<SessionSummary>, Failure> {
        let Some(kin) = self.kin.clone() else { return Ok(sessions) };
        self.shared
            .read(move |engine| {
                let mut kept = Vec::new();
                for session in sessions {
                    if kin.is_below(engine, session.stream)? {
                        kept.push(session);
                    }
                }
                Ok(kept)
            })
            .await
    }

    /// Those with a call of the tool and server asked for.
    async fn with_tool(&self, sessions: Vec<SessionSummary>) -> Result<Vec<SessionSummary>, Failure> {
        if self.tool.is_empty() && self.server.is_empty() {
            return Ok(sessions);
        }
        let (tenant, tool, server) = (self.tenant.clone(), self.tool.clone(), self.server.clone());
        self.shared
            .read(move |engine| {
                let mut kept = Vec::new();
                for session in sessions {
                    if has_call(engine, &tenant, session.stream, &tool, &server)? {
                        kept.push(session);
                    }
                }
                Ok(kept)
            })
            .await
    }
}

/// Whether a session has a call of this tool (empty: any) of this server (empty: any).
fn has_call(
    engine: &Engine,
    tenant: &str,
    stream: StreamId,
    tool: &str,
    server: &str,
) -> Result<bool, Error> {
    let mut revision = Revision::new(1);
    loop {
        let events = engine.session_events(tenant, stream, revision, CHUNK, EventView::Basic)?;
        let Some(last) = events.last() else { return Ok(false) };
        revision = last.recorded.record.revision.next();
        let is_it = |event: &TimelineEvent| match &event.recorded.record.event {
            Event::CallProposed(call) => {
                (tool.is_empty() || call.tool == tool) && (server.is_empty() || call.server == server)
            }
            _ => false,
        };
        if events.iter().any(is_it) {
            return Ok(true);
        }
    }
}

fn filters(request: &v1::ListSessionsRequest) -> Result<(SessionFilter, Figures), Failure> {
    if v1::SessionOrder::try_from(request.order).is_err() {
        return Err(Failure::field("order", "is not a known order"));
    }
    let mut faults = Vec::new();
    let since = micros("from_time", request.from_time.as_ref(), &mut faults);
    let until = micros("to_time", request.to_time.as_ref(), &mut faults);
    if !faults.is_empty() {
        return Err(Failure::invalid(faults));
    }
    let verdict = match v1::Verdict::try_from(request.verdict) {
        Ok(v1::Verdict::Unspecified) => None,
        Ok(v1::Verdict::Allow) => Some(0),
        Ok(v1::Verdict::Review) => Some(1),
        Ok(v1::Verdict::Deny) => Some(2),
        Err(_) => return Err(Failure::field("verdict", "is not a known verdict")),
    };
    let closed = match v1::SessionState::try_from(request.state) {
        Ok(v1::SessionState::Unspecified) => None,
        Ok(v1::SessionState::Open) => Some(false),
        Ok(v1::SessionState::Closed) => Some(true),
        Ok(_) => return Err(Failure::unavailable_option("state", "finds held and locked sessions")),
        Err(_) => return Err(Failure::field("state", "is not a known state")),
    };
    let risk_min = u8::try_from(request.risk_min).ok().filter(|risk| *risk <= 100);
    let risk_min = risk_min.ok_or_else(|| Failure::field("risk_min", "is over 100"))?;
    let principal = (!request.principal.is_empty()).then(|| request.principal.clone());
    let filter = SessionFilter {
        since: since.map(Timestamp::from_micros),
        until: until.map(Timestamp::from_micros),
        principal,
        ..SessionFilter::default()
    };
    Ok((filter, Figures { verdict, risk_min, closed }))
}

/// The sessions with the present figures of those that live.
async fn up_to_date(
    engine: &Engine,
    tenant: &str,
    mut sessions: Vec<SessionSummary>,
) -> Result<Vec<SessionSummary>, Failure> {
    let open = |session: &&SessionSummary| session.closed.is_none();
    let streams: Vec<StreamId> = sessions.iter().filter(open).map(|session| session.stream).collect();
    if streams.is_empty() {
        return Ok(sessions);
    }
    let mut live = match engine.live_sessions(tenant, streams).await {
        Ok(live) => live.into_iter(),
        // Their figures are then those of their opening.
        Err(error) if error.is_state_withheld() => return Ok(sessions),
        Err(error) => return Err(error.into()),
    };
    for session in sessions.iter_mut().filter(|session| session.closed.is_none()) {
        if let Some(Some(present)) = live.next() {
            *session = present;
        }
    }
    Ok(sessions)
}

/// One session with those that it started.
pub(super) async fn get(
    shared: &Shared,
    request: v1::GetSessionRequest,
) -> Result<v1::GetSessionResponse, Failure> {
    let tenant = tenant_of(&request.tenant).to_owned();
    check_name("tenant", &tenant, false).map_err(Failure::invalid)?;
    let asked = request.session_key;
    let stream = match stream_of_key(&asked.to_ascii_lowercase()) {
        Some(stream) => stream,
        None => find(shared, &tenant, asked).await?,
    };
    let name = tenant.clone();
    let session = shared.read(move |engine| fold(engine, &name, stream)).await?;
    let unknown = || Error::NotFound(format!("session {}", key_of_stream(&stream)));
    let session = session.ok_or_else(unknown)?;
    let mut children = newest(shared, &tenant, move |session| session.parent == stream).await?;
    children.truncate(CHILDREN_MAX);
    let children = up_to_date(&shared.engine, &tenant, children).await?;
    Ok(v1::GetSessionResponse { session: Some(session), children: children.iter().map(of_summary).collect() })
}

fn fold(engine: &Engine, tenant: &str, stream: StreamId) -> Result<Option<v1::Session>, Error> {
    let mut fold = Fold::default();
    let mut revision = Revision::new(1);
    loop {
        let events = engine.session_events(tenant, stream, revision, EVENTS_CHUNK, EventView::Basic)?;
        let Some(last) = events.last() else { return Ok(fold.of_tenant(tenant)) };
        revision = last.recorded.record.revision.next();
        events.iter().for_each(|event| fold.add(event));
    }
}

/// The only session of this id, or whose key begins so. One id may name several sessions, of different
/// users or sources.
async fn find(shared: &Shared, tenant: &str, asked: String) -> Result<StreamId, Failure> {
    if asked.is_empty() {
        return Err(Failure::field(
            "session_key",
            "is empty; give a session's key, 6 or more digits of it, or its id",
        ));
    }
    let digits = asked.to_ascii_lowercase();
    let is_hex = digits.len() >= DIGITS_MIN && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = asked.clone();
    let wanted = move |session: &SessionSummary| {
        session.session_id == id || is_hex && begins_with(&session.stream, &digits)
    };
    let found = newest(shared, tenant, wanted).await?;
    let mut streams: Vec<StreamId> = found.iter().map(|session| session.stream).collect();
    streams.sort_unstable();
    streams.dedup();
    match streams.as_slice() {
        [] => Err(Error::NotFound(format!("session {}", shown(&asked))).into()),
        [stream] => Ok(*stream),
        more => {
            let description = format!("{} sessions are named so; give the key", more.len());
            Err(Failure::field("session_key", description))
        }
    }
}

/// Those of the newest sessions that pass.
async fn newest(
    shared: &Shared,
    tenant: &str,
    passes: impl Fn(&SessionSummary) -> bool + Send + 'static,
) -> Result<Vec<SessionSummary>, Failure> {
    let tenant = tenant.to_owned();
    let look = move |engine: &Engine| {
        let mut found = Vec::new();
        let mut after = None;
        for _ in 0..LOOKED_AT_MAX.div_ceil(CHUNK) {
            let (sessions, next) = engine.list_sessions(&tenant, after, &SessionFilter::default(), CHUNK)?;
            found.extend(sessions.into_iter().filter(&passes));
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(found)
    };
    shared.read(look).await
}
