//! Streams that answer each request in the order they came: outcomes and imports.
//!
//! One task reads, hands on, and waits where the engine's queue is full; the answers follow in order, as
//! many as a stream may have in flight. Deliberately absent: time limits, for history has time.

use super::shared::Shared;
use super::status::Failure;
use crate::proto::v1::ErrorCode;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tonic::{Status, Streaming};

/// What becomes of the requests of a stream.
pub(super) trait TakeUp: Send + 'static {
    /// What comes in.
    type Request: Send + 'static;
    /// What goes out.
    type Answer: Send + 'static;

    /// Takes one request up.
    fn take_up(&mut self, request: Self::Request) -> impl Future<Output = Step<Self::Answer>> + Send;
}

/// How a request is answered.
pub(super) enum Step<T> {
    /// At once.
    Now(T),
    /// When the engine has replied.
    Later(oneshot::Receiver<T>),
    /// Not at all: the stream ends.
    End(Status),
}

/// The stream of answers.
pub(super) struct Ordered<T> {
    steps: mpsc::Receiver<Step<T>>,
    waiting: Option<oneshot::Receiver<T>>,
}

impl<T: Send + 'static> Ordered<T> {
    /// Answers these requests.
    pub(super) fn new<U>(
        shared: Arc<Shared>,
        requests: Streaming<U::Request>,
        mut with: U,
    ) -> Result<Self, Failure>
    where
        U: TakeUp<Answer = T>,
    {
        let place = shared.stream_place()?;
        let (sender, steps) = mpsc::channel(shared.options.limits.stream_in_flight_max);
        tokio::spawn(async move {
            let end = read_all(&shared, requests, &mut with, &sender).await;
            if let Some(status) = end {
                let _gone = sender.send(Step::End(status)).await;
            }
            drop(place);
        });
        Ok(Self { steps, waiting: None })
    }
}

/// Reads to the end; the status to end with, none for OK or if nobody is there any more.
async fn read_all<U: TakeUp>(
    shared: &Shared,
    mut requests: Streaming<U::Request>,
    with: &mut U,
    sender: &mpsc::Sender<Step<U::Answer>>,
) -> Option<Status> {
    let mut stopping = std::pin::pin!(shared.stopping());
    loop {
        let request = tokio::select! {
            request = requests.message() => request,
            () = &mut stopping => {
                let message = "the daemon is stopping; what was read was answered";
                return Some(Failure::new(ErrorCode::NotReady, message).into());
            }
        };
        match request {
            Ok(Some(request)) => {
                // A place for the answer first: a reader that does not read is not read from.
                let place = sender.reserve().await.ok()?;
                place.send(with.take_up(request).await);
            }
            Ok(None) => return None,
            Err(status) => return Some(Failure::of_transport(&status).into()),
        }
    }
}

impl<T: Send + 'static> Stream for Ordered<T> {
    type Item = Result<T, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(waiting) = &mut this.waiting {
                let answer = ready!(Pin::new(waiting).poll(cx));
                this.waiting = None;
                let gone = || Status::from(Failure::from(crate::engine::Error::Stopping));
                return Poll::Ready(Some(answer.map_err(|_| gone())));
            }
            match ready!(this.steps.poll_recv(cx)) {
                None => return Poll::Ready(None),
                Some(Step::Now(answer)) => return Poll::Ready(Some(Ok(answer))),
                Some(Step::Later(waiting)) => this.waiting = Some(waiting),
                Some(Step::End(status)) => return Poll::Ready(Some(Err(status))),
            }
        }
    }
}
