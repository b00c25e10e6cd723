//! What is open over HTTP, by session: an answer may come on another stream than the one its call was sent on.

use super::book::{Book, Ticket};
use super::peek::Id;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot;

/// Sessions followed at a time; beyond it the longest unused is given up.
const SESSIONS_MAX: usize = 1_024;

/// What is open in a session, or in one request where there are no sessions.
#[derive(Default)]
pub(super) struct Live {
    calls: Mutex<Book<Instant>>,
    /// The client's name for itself.
    client: Mutex<String>,
    /// Calls that people look at. To let go of one stops the waiting.
    held: Mutex<BTreeMap<Id, oneshot::Sender<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// What is open.
    pub(super) fn calls(&self) -> MutexGuard<'_, Book<Instant>> {
        lock(&self.calls)
    }

    /// The client's name for itself.
    pub(super) fn client(&self) -> String {
        lock(&self.client).clone()
    }

    /// Begins to wait for people; the receiver hears when the call is taken back.
    pub(super) fn hold(&self, id: &Id) -> oneshot::Receiver<()> {
        let (stop, stopped) = oneshot::channel();
        lock(&self.held).insert(id.clone(), stop);
        if !self.calls().is_held(id) {
            lock(&self.held).remove(id);
        }
        stopped
    }

    /// Takes a request back: whether the server never heard of it, and what of it ran.
    pub(super) fn cancel(&self, id: &Id) -> (bool, Option<Ticket<Instant>>) {
        let cancelled = self.calls().cancel(id);
        lock(&self.held).remove(id);
        cancelled
    }
}

/// Sessions by the id that the server gave them.
#[derive(Default)]
pub(super) struct Sessions(Mutex<BTreeMap<String, (Instant, Arc<Live>)>>);

impl Sessions {
    /// The session of this id. What another, longest unused one had open comes beside it if there was no room.
    pub(super) fn get(&self, id: &str) -> (Arc<Live>, Vec<Ticket<Instant>>) {
        let mut all = lock(&self.0);
        if let Some((used, live)) = all.get_mut(id) {
            *used = Instant::now();
            return (Arc::clone(live), Vec::new());
        }
        let mut given_up = Vec::new();
        if all.len() >= SESSIONS_MAX {
            let oldest = all.iter().min_by_key(|(_, (used, _))| *used).map(|(id, _)| id.clone());
            if let Some((_, live)) = oldest.and_then(|oldest| all.remove(&oldest)) {
                given_up = live.calls().close();
            }
        }
        let live = Arc::new(Live::default());
        all.insert(id.to_owned(), (Instant::now(), Arc::clone(&live)));
        (live, given_up)
    }

    /// Begins a session with a client's introduction.
    pub(super) fn begin(&self, id: &str, client: String) -> Vec<Ticket<Instant>> {
        let (live, given_up) = self.get(id);
        *lock(&live.client) = client;
        given_up
    }

    /// Ends a session; what it had open comes out.
    pub(super) fn end(&self, id: &str) -> Option<Vec<Ticket<Instant>>> {
        let (_, live) = lock(&self.0).remove(id)?;
        lock(&live.held).clear();
        Some(live.calls().close())
    }

    /// Ids of all sessions.
    pub(super) fn ids(&self) -> Vec<String> {
        lock(&self.0).keys().cloned().collect()
    }
}
