//! What the engine tells of the log: for any thread, without stopping the worker.

use super::Error;
use super::directory::{self, SessionSummary};
use super::handle::Engine;
use super::history;
use super::policies::not_accepted;
use super::query::{self, EventView, SessionFilter, TimelineEvent};
use crate::domain::event::Event;
use crate::domain::position::{Position, Revision};
use crate::domain::stream::StreamId;
use crate::policy::suggest::Suggestion;
use crate::policy::{Policy, adopted};

impl Engine {
    /// Keyed digest of arguments as they are stored: see [`Masker::keyed_digest`]. The key stays in the data directory.
    ///
    /// [`Masker::keyed_digest`]: crate::domain::mask::Masker::keyed_digest
    pub fn arguments_digest(&self, arguments: &[u8]) -> [u8; 32] {
        self.ingest("").masker.keyed_digest(arguments)
    }

    /// Up to `max` events of a session from a revision on. Blocks on disk reads.
    pub fn session_events(
        &self,
        tenant: &str,
        stream: StreamId,
        from: Revision,
        max: usize,
        view: EventView,
    ) -> Result<Vec<TimelineEvent>, Error> {
        query::session_events(self.log(tenant), stream, from, max, view)
    }

    /// The last revision of a session; zero if there is none. Blocks on disk reads.
    pub fn session_last(&self, tenant: &str, stream: StreamId) -> Result<Revision, Error> {
        Ok(self.log(tenant).stream_last(stream)?.map_or(Revision::ZERO, |(revision, _)| revision))
    }

    /// Up to `max` events of a tenant's partition from a position on, of all its tenants. Blocks on disk reads.
    pub fn log_events(
        &self,
        tenant: &str,
        from: Position,
        max: usize,
        view: EventView,
    ) -> Result<Vec<TimelineEvent>, Error> {
        query::log_events(self.log(tenant), from, max, view)
    }

    /// Up to `max` events of a partition from a position on; none if there is no such partition.
    /// Blocks on disk reads.
    pub fn partition_events(
        &self,
        partition: usize,
        from: Position,
        max: usize,
        view: EventView,
    ) -> Result<Vec<TimelineEvent>, Error> {
        let Some(log) = self.logs().nth(partition) else { return Ok(Vec::new()) };
        query::log_events(log, from, max, view)
    }

    /// One page of a tenant's sessions, newest first, with the key of the next page. The figures of live
    /// sessions are those of their opening: [`Engine::live_sessions`] has the present ones. Blocks on disk reads.
    pub fn list_sessions(
        &self,
        tenant: &str,
        after: Option<Vec<u8>>,
        filter: &SessionFilter,
        page: usize,
    ) -> Result<(Vec<SessionSummary>, Option<Vec<u8>>), Error> {
        query::list_sessions(self.log(tenant), &self.key(tenant), tenant, after, filter, page)
    }

    /// The present figures of those of `streams` that are live, in the same order.
    pub async fn live_sessions(
        &self,
        tenant: &str,
        streams: Vec<StreamId>,
    ) -> Result<Vec<Option<SessionSummary>>, Error> {
        let name = tenant.to_owned();
        self.ask(tenant, move |state| {
            let known = state.tenant(&name);
            let live = |stream: &StreamId| {
                let session = known?.sessions.get(stream)?;
                Some(directory::summary(&name, stream, session, None))
            };
            streams.iter().map(live).collect()
        })
        .await
    }

    /// A call's proposal, with its payload, and its decision, if the tenant has such a call. Blocks on disk reads.
    pub fn call_events(
        &self,
        tenant: &str,
        call_id: &str,
    ) -> Result<Option<(TimelineEvent, TimelineEvent)>, Error> {
        query::call_events(self.log(tenant), &self.key(tenant), tenant, call_id)
    }

    /// The policy that came into force at a position of a tenant's log. Blocks on disk reads.
    pub fn policy_at(&self, tenant: &str, position: Position) -> Result<Policy, Error> {
        let record = query::event_at(self.log(tenant), position)?.record;
        match &record.event {
            Event::PolicyAdopted(event) => {
                adopted(event, record.receive_time).map_err(|faults| not_accepted(position, &faults))
            }
            _ => Err(Error::NotFound(format!("policy revision {position}"))),
        }
    }

    /// Tries a policy on history: see [`history::backtest`]. Blocks on disk reads.
    pub fn backtest(
        &self,
        range: &history::Range,
        policy: &Policy,
        changed: impl FnMut(history::Reversed) -> bool,
        progress: impl FnMut(Position, u64) -> bool,
    ) -> Result<history::Backtest, Error> {
        history::backtest(self.log(&range.tenant), range, policy, changed, progress)
    }

    /// What the policy covers: see [`history::coverage`]. Blocks on disk reads.
    pub fn coverage(&self, range: &history::Range, policy: &Policy) -> Result<history::Coverage, Error> {
        history::coverage(self.log(&range.tenant), range, policy)
    }

    /// Rules that history gives ground for: see [`history::suggestions`]. Blocks on disk reads.
    pub fn suggestions(&self, range: &history::Range, policy: &Policy) -> Result<Vec<Suggestion>, Error> {
        history::suggestions(self.log(&range.tenant), range, policy)
    }

    /// Positions of the policies that were adopted for a tenant or for all, oldest first. Blocks on disk reads.
    pub fn policy_revisions(&self, tenant: &str) -> Result<Vec<Position>, Error> {
        history::policy_revisions(self.log(tenant), tenant)
    }
}
