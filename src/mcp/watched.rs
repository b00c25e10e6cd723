//! An answer's body that is read while it passes, and what is noted of it.

use super::events::{Events, Part};
use super::guard::Guard;
use super::peek::Id;
use super::scan::{Found, Scan};
use super::sessions::Live;
use super::tools::LIST_BYTES_MAX;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use prost::bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// What a body holds.
#[derive(Debug)]
pub(super) enum Form {
    /// One message.
    Json,
    /// Events with a message each.
    Events(Events),
    /// Nothing that can be read.
    Opaque,
}

/// What is read of a body.
pub(super) struct Reader {
    guard: Arc<Guard>,
    live: Arc<Live>,
    form: Form,
    scan: Scan,
    copy: Option<Vec<u8>>,
    bytes: u64,
    /// The call that the body should answer.
    own: Option<Id>,
    /// Whether the answer may come another time on another stream.
    lasts: bool,
    is_over: bool,
}

impl Reader {
    /// Reads nothing yet. `own`: the call that is to be answered; `lasts`: whether a stream that broke may be taken up.
    pub(super) fn new(guard: Arc<Guard>, live: Arc<Live>, own: Option<Id>, lasts: bool) -> Self {
        let copy = live.calls().awaits_list().then(Vec::new);
        let form = Form::Opaque;
        Self { guard, live, form, scan: Scan::default(), copy, bytes: 0, own, lasts, is_over: false }
    }

    /// Reads a body of this form from now on.
    pub(super) fn reads(&mut self, form: Form) {
        self.form = form;
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        match std::mem::replace(&mut self.form, Form::Opaque) {
            Form::Json => {
                self.data(bytes);
                self.form = Form::Json;
            }
            Form::Events(mut events) => {
                events.feed(bytes, |part| match part {
                    Part::Data(bytes) => self.data(bytes),
                    Part::End => self.message(),
                });
                self.form = Form::Events(events);
            }
            Form::Opaque => {}
        }
    }

    fn data(&mut self, bytes: &[u8]) {
        self.scan.feed(bytes);
        self.bytes += bytes.len() as u64;
        if let Some(copy) = &mut self.copy {
            if copy.len() + bytes.len() <= LIST_BYTES_MAX {
                copy.extend_from_slice(bytes);
            } else {
                self.copy = None;
            }
        }
    }

    fn message(&mut self) {
        let found = std::mem::take(&mut self.scan).finish();
        let bytes = std::mem::take(&mut self.bytes);
        let copy = self.copy.take().unwrap_or_default();
        note(&self.guard, &self.live, found, bytes, &copy);
        self.copy = self.live.calls().awaits_list().then(Vec::new);
    }

    /// The body came to its end.
    pub(super) fn end(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) && matches!(self.form, Form::Json) {
            self.message();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let resumes = self.lasts && matches!(&self.form, Form::Events(events) if events.has_ids());
        if let Some(id) = self.own.take().filter(|_| !resumes) {
            let (_, ran) = self.live.cancel(&id);
            ran.into_iter().for_each(|ticket| match self.is_over {
                true => self.guard.failed(ticket, "the server's answer ended without a result"),
                false => self.guard.abandoned(ticket.call_id),
            });
        }
    }
}

/// Notes what a server said.
fn note(guard: &Guard, live: &Live, found: Found, bytes: u64, message: &[u8]) {
    if !found.server.is_empty() {
        guard.learn_server(&found.server);
    }
    let Some(id) = found.id.as_ref().filter(|_| found.is_answer()) else { return };
    let answered = live.calls().answered(id);
    guard.note(answered, found, bytes, message);
}

/// A body that is read as it passes.
pub(super) struct Watched {
    inner: Incoming,
    reader: Reader,
}

impl Watched {
    pub(super) const fn new(inner: Incoming, reader: Reader) -> Self {
        Self { inner, reader }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        waking: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(waking));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    this.reader.feed(bytes);
                }
                // A body whose length is known may not be polled to its end.
                if this.inner.is_end_stream() {
                    this.reader.end();
                }
            }
            Some(Err(_)) => {}
            None => this.reader.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
