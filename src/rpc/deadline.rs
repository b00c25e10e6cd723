//! Deadlines: what `grpc-timeout` says, and bodies that do not come or do not end in time.

use super::status::Failure;
use crate::proto::v1::ErrorCode;
use http_body::{Body, Frame, SizeHint};
use prost::bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

/// How long before a client's deadline it is answered, so that the answer is in time.
const MARGIN: Duration = Duration::from_millis(5);

/// Pause before a request that found too many others arriving is sent again.
const PAUSE: Duration = Duration::from_millis(100);

/// The header's name.
pub(super) const HEADER: &str = "grpc-timeout";

/// Reads a `grpc-timeout`: 1 to 8 digits and a unit. None: it is not one.
pub(super) fn parse(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// When to answer a request that came in at `received` and whose client waits until `deadline`.
pub(super) fn answer_by(received: Instant, deadline: Instant) -> Instant {
    let time = deadline.saturating_duration_since(received);
    deadline - MARGIN.min(time / 2)
}

/// Bytes of requests that have begun to arrive, over all connections.
#[derive(Debug)]
pub(super) struct Arriving {
    bytes: AtomicUsize,
    max: usize,
}

impl Arriving {
    /// None yet, at most so many.
    pub(super) const fn new(max: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), max }
    }
}

/// A request's body that fails with DEADLINE_EXCEEDED if it does not arrive in time, and with
/// RESOURCE_EXHAUSTED if too much is arriving in all. A body that comes at once costs neither timer nor
/// counting.
pub(super) struct RequestBody<B> {
    inner: B,
    limits: Option<(Instant, Arc<Arriving>)>,
    timer: Option<Pin<Box<Sleep>>>,
    counted: usize,
}

impl<B> RequestBody<B> {
    /// A body with a time to arrive by, counted while it does; none: it may take its time.
    pub(super) const fn new(inner: B, limits: Option<(Instant, Arc<Arriving>)>) -> Self {
        Self { inner, limits, timer: None, counted: 0 }
    }

    /// Counts bytes that came before the last. Whether there is room for them.
    fn count(&mut self, bytes: usize) -> bool {
        let Some((_, arriving)) = &self.limits else { return true };
        self.counted += bytes;
        arriving.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= arriving.max
    }
}

impl<B> Drop for RequestBody<B> {
    fn drop(&mut self) {
        if let (Some((_, arriving)), true) = (&self.limits, self.counted > 0) {
            arriving.bytes.fetch_sub(self.counted, Ordering::Relaxed);
        }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            let bytes = match &frame {
                Some(Ok(frame)) if !this.inner.is_end_stream() => frame.data_ref().map_or(0, Bytes::len),
                _ => 0,
            };
            if bytes > 0 && !this.count(bytes) {
                let message = "too many bytes of requests are arriving at once";
                let full = Failure::new(ErrorCode::QuotaExceeded, message).retry_after(PAUSE);
                return Poll::Ready(Some(Err(Box::new(Status::from(full)))));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some((until, _)) = this.limits else { return Poll::Pending };
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(timer.as_mut().poll(cx));
        let late = Failure::deadline("the request's body did not arrive in time");
        Poll::Ready(Some(Err(Box::new(Status::from(late)))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of a stream's answer that ends with DEADLINE_EXCEEDED at the client's deadline.
pub(super) struct UntilDeadline {
    inner: tonic::body::Body,
    timer: Pin<Box<Sleep>>,
    over: bool,
}

impl UntilDeadline {
    /// A body that ends by then.
    pub(super) fn new(inner: tonic::body::Body, deadline: Instant) -> Self {
        Self { inner, timer: Box::pin(sleep_until(deadline)), over: false }
    }
}

impl Body for UntilDeadline {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(this.timer.as_mut().poll(cx));
        this.over = true;
        this.inner = tonic::body::Body::empty();
        let late = Status::from(Failure::deadline("the stream's deadline passed"));
        let (head, ()) = late.into_http::<()>().into_parts();
        let mut trailers = head.headers;
        trailers.remove(http::header::CONTENT_TYPE);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_or_refused() {
        let good: [(&str, Duration); 7] = [
            ("1S", Duration::from_secs(1)),
            ("0n", Duration::ZERO),
            ("99999999H", Duration::from_secs(99_999_999 * 3_600)),
            ("5m", Duration::from_millis(5)),
            ("2M", Duration::from_secs(120)),
            ("7u", Duration::from_micros(7)),
            ("00000012n", Duration::from_nanos(12)),
        ];
        for (text, expected) in good {
            assert_eq!(parse(text.as_bytes()), Some(expected), "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", " 1S", "1S ", "1SS", "\u{663}S"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn answers_come_before_the_deadline() {
        let now = Instant::now();
        let check = |ms: u64, margin_us: u64| {
            let deadline = now + Duration::from_millis(ms);
            assert_eq!(deadline - answer_by(now, deadline), Duration::from_micros(margin_us));
        };
        check(1_000, 5_000);
        check(10, 5_000);
        check(4, 2_000);
        check(0, 0);
    }
}
