//! Streams end with the credential that opened them: a token that is revoked or expires, or loopback's
//! freedom once there are tokens.

use super::identity::{Identities, Identity};
use super::status::Failure;
use crate::domain::time::Timestamp;
use crate::proto::v1::ErrorCode;
use http_body::{Body, Frame, SizeHint};
use prost::bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;

/// What a stream asks for the time.
pub(super) type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// An answer that is given as long as whoever asked for it may have it.
pub(super) struct WhileValid {
    inner: tonic::body::Body,
    identities: Arc<Identities>,
    identity: Arc<Identity>,
    now: Now,
    /// Ends when the list of tokens changes.
    changed: Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
}

impl WhileValid {
    /// The answer to a request of this identity.
    pub(super) fn new(
        inner: tonic::body::Body,
        identities: Arc<Identities>,
        identity: Arc<Identity>,
        now: Now,
    ) -> Self {
        // The list may have changed since the request was let in: the first look is due at once.
        let changed = Box::pin(std::future::ready(()));
        Self { inner, identities, identity, now, changed, over: false }
    }

    /// The end of the stream, told as a status.
    fn end(&mut self) -> Frame<Bytes> {
        self.over = true;
        self.inner = tonic::body::Body::empty();
        let message = "the credential that opened this stream is not valid any more";
        let failure = Failure::new(ErrorCode::Unauthenticated, message);
        let (head, ()) = Status::from(failure).into_http::<()>().into_parts();
        let mut trailers = head.headers;
        trailers.remove(http::header::CONTENT_TYPE);
        Frame::trailers(trailers)
    }
}

impl Body for WhileValid {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        while this.changed.as_mut().poll(cx).is_ready() {
            this.changed = this.identities.changed();
            if !this.identities.still_knows(&this.identity) {
                return Poll::Ready(Some(Ok(this.end())));
            }
        }
        if this.identity.is_expired((this.now)()) {
            return Poll::Ready(Some(Ok(this.end())));
        }
        Pin::new(&mut this.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
