//! What waits for a watcher to read it: bounded in bytes, emptied at once when the watcher is cut.

use prost::Message;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_stream::Stream;
use tonic::Status;

/// Bytes that may wait for a watcher; one more message is let in.
const BYTES_MAX: usize = 256 * 1024;

/// The writing end of a watch.
pub(super) struct Outbox<T>(Arc<Shared<T>>);

/// The stream that the watcher reads.
pub(super) struct Reader<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Told when the reader took something or went away. More than one may wait for it.
    moved: Notify,
}

struct State<T> {
    waiting: VecDeque<(T, u64)>,
    bytes: usize,
    /// Since when something waits that nobody takes.
    untaken_since: Option<Instant>,
    /// What the message taken last was marked with.
    taken: Option<u64>,
    reader: Option<Waker>,
    gone: bool,
    closed: bool,
    end: Option<Status>,
}

/// A new watch.
pub(super) fn outbox<T: Message>() -> (Outbox<T>, Reader<T>) {
    let state = State {
        waiting: VecDeque::new(),
        bytes: 0,
        untaken_since: None,
        taken: None,
        reader: None,
        gone: false,
        closed: false,
        end: None,
    };
    let shared = Arc::new(Shared { state: Mutex::new(state), moved: Notify::new() });
    (Outbox(Arc::clone(&shared)), Reader(shared))
}

/// Why nothing more can be put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stuck {
    /// The reader went away.
    Gone,
    /// The reader took nothing for too long; what it took last was marked so.
    Stalled(Option<u64>),
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Message> Outbox<T> {
    /// Puts a message in, once there is room for it. `mark` says what was told up to it.
    pub(super) async fn put(&self, message: T, mark: u64, stall: Duration) -> Result<(), Stuck> {
        loop {
            let moved = self.0.moved.notified();
            let until = {
                let mut state = self.0.state();
                if state.gone {
                    return Err(Stuck::Gone);
                }
                let now = Instant::now();
                if state.bytes < BYTES_MAX {
                    state.bytes += message.encoded_len();
                    state.waiting.push_back((message, mark));
                    state.untaken_since.get_or_insert(now);
                    let reader = state.reader.take();
                    drop(state);
                    if let Some(reader) = reader {
                        reader.wake();
                    }
                    return Ok(());
                }
                let until = state.untaken_since.unwrap_or(now) + stall;
                if until <= now {
                    return Err(Stuck::Stalled(state.taken));
                }
                until
            };
            tokio::select! {
                () = moved => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Whether the reader is still there and took something lately, if there was anything to take.
    pub(super) fn check(&self, stall: Duration) -> Result<(), Stuck> {
        let state = self.0.state();
        match state.untaken_since {
            _ if state.gone => Err(Stuck::Gone),
            Some(since) if since + stall <= Instant::now() => Err(Stuck::Stalled(state.taken)),
            _ => Ok(()),
        }
    }

    /// Ends once the reader went away.
    pub(super) async fn gone(&self) {
        loop {
            let moved = self.0.moved.notified();
            if self.0.state().gone {
                return;
            }
            moved.await;
        }
    }

    /// Ends the watch with a status behind what waits, or in its place.
    pub(super) fn end(self, status: Status, drop_waiting: bool) {
        let mut state = self.0.state();
        if drop_waiting {
            state.waiting = VecDeque::new();
        }
        state.end = Some(status);
    }
}

impl<T> Drop for Outbox<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closed = true;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl<T: Message> Stream for Reader<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.state();
        if let Some((message, mark)) = state.waiting.pop_front() {
            state.bytes = state.bytes.saturating_sub(message.encoded_len());
            state.taken = Some(mark);
            state.untaken_since = (!state.waiting.is_empty()).then(Instant::now);
            drop(state);
            self.0.moved.notify_waiters();
            return Poll::Ready(Some(Ok(message)));
        }
        if let Some(status) = state.end.take() {
            return Poll::Ready(Some(Err(status)));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.gone = true;
        state.waiting = VecDeque::new();
        drop(state);
        self.0.moved.notify_waiters();
    }
}
