//! One HTTP request through the proxy: looked at, asked about if it calls a tool, passed on, its answer read as it
//! passes.

use super::book::Ticket;
use super::delegation;
use super::events::{Events, event};
use super::guard::{Envelope, Guard, Ruling};
use super::peek::{Call, Id, MESSAGE_BYTES_MAX, Malformed, Peek, peek};
use super::refusal::{self, Refusal};
use super::rewrite::without_answers;
use super::sessions::{Live, Sessions};
use super::task_room::TaskRoom;
use super::upstream::{Upstream, Whole};
use super::watched::{Form, Reader, Watched};
use crate::proto::v1::Decision;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Incoming;
use prost::bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes of a session id that is followed.
const SESSION_BYTES_MAX: usize = 256;
/// Pieces of an answer that wait for the client.
const ON_THE_WAY: usize = 16;
/// The session of older clients.
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
/// What a request asks for, as newer clients tell it beside the message.
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// Headers that concern one connection only, and one that would keep us from reading answers.
const NOT_PASSED: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::ACCEPT_ENCODING,
];

/// Any body we answer with.
pub(super) type Answer = UnsyncBoxBody<Bytes, hyper::Error>;

mod aside;

use aside::{Waiting, owner};

/// What all requests share.
pub(super) struct Proxy {
    pub(super) guard: Arc<Guard>,
    pub(super) upstream: Upstream,
    pub(super) sessions: Sessions,
    pub(super) tasks: TaskRoom,
}

/// A call that is asked about over HTTP. Gone before it is settled, its client is.
struct Asked {
    proxy: Arc<Proxy>,
    live: Arc<Live>,
    id: Option<Id>,
    is_modern: bool,
    token: Option<String>,
    envelope: Envelope,
    is_settled: bool,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.is_settled {
            if let Some(id) = &self.id {
                self.live.cancel(id);
            }
            self.proxy.guard.abandoned(std::mem::take(&mut self.envelope.call.call_id));
        }
    }
}

impl Asked {
    fn refuse(mut self, refusal: &Refusal) -> Option<Vec<u8>> {
        self.is_settled = true;
        let id = self.id.take()?;
        if self.live.calls().refuse(&id) {
            return Some(refusal.answer(&id, self.is_modern));
        }
        // It was taken back meanwhile.
        self.proxy.guard.abandoned(std::mem::take(&mut self.envelope.call.call_id));
        None
    }

    /// Asks the client to open the review's page.
    fn open(mut self, decision: Box<Decision>) -> Response<Answer> {
        self.is_settled = true;
        match self.id.take().filter(|id| self.live.calls().refuse(id)) {
            Some(id) => json(StatusCode::OK, self.proxy.guard.open(&id, decision, self.is_modern)),
            None => empty(StatusCode::ACCEPTED),
        }
    }

    /// Lets it run; false if it was taken back.
    fn run(mut self, ticket: Option<Ticket<Instant>>) -> bool {
        self.is_settled = true;
        let call_id = std::mem::take(&mut self.envelope.call.call_id);
        let runs = match (&self.id, ticket) {
            (Some(id), Some(ticket)) => self.live.calls().run(id, ticket),
            (Some(id), None) => return self.live.calls().refuse(id),
            (None, Some(_)) => {
                // Nobody will hear how it ended.
                self.proxy.guard.abandoned(call_id);
                return true;
            }
            (None, None) => return true,
        };
        if !runs {
            self.proxy.guard.abandoned(call_id);
        }
        runs
    }
}

impl Proxy {
    /// Answers a request.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        if let Some(why) = encoding_fault(&parts) {
            return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
        }
        let Ok(body) = Limited::new(body, MESSAGE_BYTES_MAX).collect().await else {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "the message is over 16 MiB long, or broke off");
        };
        let body = body.to_bytes();
        let session = session_of(&parts.headers);
        let live = match &session {
            Some(id) => {
                let (live, given_up) = self.sessions.get(id);
                self.give_up(given_up);
                live
            }
            None => Arc::new(Live::default()),
        };
        // Whatever the method: a server may be less strict than it should.
        if body.is_empty() || !may_be_json(&parts.headers, &body) {
            return self.pass(parts, body, live, None).await;
        }
        let said = peek(&body);
        let told = parts.headers.get(METHOD).map(HeaderValue::as_bytes);
        if told
            .is_some_and(|told| (told == b"tools/call") != matches!(said, Peek::Call(_) | Peek::Malformed(_)))
        {
            let why = "the header Mcp-Method and the message tell different methods";
            return refused(&Malformed { id: None, code: HEADER_MISMATCH, why });
        }
        match said {
            Peek::Malformed(fault) => return refused(&fault),
            Peek::Call(call) => {
                let delegated = delegation::links(&parts.headers);
                let asked = Arc::clone(&self).asked(&call, &live, session.as_deref(), &delegated);
                let bare = asked.envelope.brings_answer().then(|| without_answers(&body)).flatten();
                return self.call(asked, parts, bare.map_or_else(|| body.clone(), Bytes::from)).await;
            }
            Peek::Cancel(id) => {
                let (was_held, ran) = live.cancel(&id);
                ran.into_iter().for_each(|ticket| self.guard.abandoned(ticket.call_id));
                if was_held {
                    return empty(StatusCode::ACCEPTED);
                }
            }
            Peek::List(id) => live.calls().list(id),
            Peek::Initialize(_, hello) => {
                let answer = Arc::clone(&self).pass(parts, body.clone(), live, None).await;
                if let Some(id) = session_of(answer.headers()) {
                    self.give_up(self.sessions.begin(&id, hello.client));
                }
                return answer;
            }
            Peek::Task(ask) => {
                if let Some(answer) = self.tasks.answer(&ask, &owner(&parts.headers)) {
                    return json(StatusCode::OK, answer);
                }
            }
            Peek::Other => {}
        }
        self.pass(parts, body.clone(), live, None).await
    }

    fn give_up(&self, tickets: Vec<Ticket<Instant>>) {
        tickets.into_iter().for_each(|ticket| self.guard.abandoned(ticket.call_id));
    }

    fn asked(
        self: Arc<Self>,
        call: &Call<'_>,
        live: &Arc<Live>,
        session: Option<&str>,
        delegated: &[String],
    ) -> Asked {
        let client = live.client();
        let name = if call.meta.client.is_empty() { &client } else { &call.meta.client };
        let connection = session.map_or_else(|| format!("{}-{name}", self.guard.run()), str::to_owned);
        Asked {
            live: Arc::clone(live),
            id: call.id.clone(),
            is_modern: call.meta.is_modern(),
            token: call.meta.progress_token.clone(),
            envelope: self.guard.envelope(call, &connection, &client, delegated),
            proxy: self,
            is_settled: true,
        }
    }

    async fn call(self: Arc<Self>, mut asked: Asked, parts: Parts, body: Bytes) -> Response<Answer> {
        if let Some(id) = asked.id.clone() {
            let held = asked.live.calls().hold(&id, body.len());
            if let Err(why) = held {
                return json(StatusCode::OK, Refusal::TooMuch(why).answer(&id, asked.is_modern));
            }
        }
        asked.is_settled = false;
        let (mut ruling, mut parts, mut body) = (self.guard.ask(&asked.envelope).await, parts, body);
        if let Ruling::Follow(decision) = ruling {
            match self.make_task(Waiting { asked, decision, parts, body }) {
                Ok(created) => return created,
                Err(back) => {
                    let decision;
                    Waiting { asked, decision, parts, body } = *back;
                    ruling = Ruling::Hold(decision);
                }
            }
        }
        match ruling {
            Ruling::Hold(decision) if takes_events(&parts.headers) && asked.id.is_some() => {
                let (sender, pieces) = mpsc::channel(ON_THE_WAY);
                tokio::spawn(self.hold_on_stream(asked, decision, parts, body, sender));
                let pieces = ReceiverStream::new(pieces).map(|bytes| Ok(Frame::data(bytes)));
                stream(StreamBody::new(pieces).boxed_unsync())
            }
            Ruling::Hold(decision) => {
                let ruling = held(&asked, decision, |_, _| {}).await;
                self.settle(asked, ruling, parts, body).await
            }
            ruling => self.settle(asked, ruling, parts, body).await,
        }
    }

    async fn settle(
        self: Arc<Self>,
        asked: Asked,
        ruling: Ruling,
        parts: Parts,
        body: Bytes,
    ) -> Response<Answer> {
        let refusal = match ruling {
            Ruling::Run(ticket) => {
                let (live, id) = (Arc::clone(&asked.live), asked.id.clone());
                if asked.run(ticket) {
                    return self.pass(parts, body, live, id).await;
                }
                return empty(StatusCode::ACCEPTED);
            }
            Ruling::Refuse(refusal) => refusal,
            Ruling::Hold(decision) | Ruling::Follow(decision) => Refusal::Waits(decision),
            Ruling::Open(decision) => return asked.open(decision),
        };
        match asked.refuse(&refusal) {
            Some(answer) => json(StatusCode::OK, answer),
            None => empty(StatusCode::ACCEPTED),
        }
    }

    /// Holds a call whose answer has begun as a stream of events, and ends the stream with its answer.
    async fn hold_on_stream(
        self: Arc<Self>,
        asked: Asked,
        decision: Box<Decision>,
        parts: Parts,
        body: Bytes,
        sender: mpsc::Sender<Bytes>,
    ) {
        let tick = |number, decision: &Decision| {
            if let Some(token) = &asked.token {
                // One that finds no room is not missed.
                let _full = sender.try_send(event(&refusal::progress(token, number, decision)).into());
            }
        };
        let ruling = tokio::select! {
            ruling = held(&asked, decision, tick) => ruling,
            // The client is gone; what was asked goes with it.
            () = sender.closed() => return,
        };
        let id = asked.id.clone();
        let answer = self.settle(asked, ruling, parts, body).await;
        let status = answer.status();
        let is_stream = is_events(answer.headers());
        let mut body = answer.into_body();
        if !status.is_success() {
            let fault =
                Malformed { id, code: INTERNAL_ERROR, why: "the server refused the request over HTTP" };
            let _gone = sender.send(event(&refusal::malformed(&fault)).into()).await;
            return;
        }
        let mut begun = is_stream;
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(bytes) = frame.into_data() else { continue };
            let piece =
                if is_stream { bytes } else { within_event(&bytes, std::mem::replace(&mut begun, true)) };
            if sender.send(piece).await.is_err() {
                return;
            }
        }
        if begun && !is_stream {
            let _gone = sender.send(Bytes::from_static(b"\n\n")).await;
        }
    }

    /// Passes a request on, and its answer back.
    async fn pass(
        self: Arc<Self>,
        mut parts: Parts,
        body: Bytes,
        live: Arc<Live>,
        own: Option<Id>,
    ) -> Response<Answer> {
        let session = session_of(&parts.headers);
        let ends = (parts.method == Method::DELETE).then(|| session.clone()).flatten();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        for name in &NOT_PASSED {
            parts.headers.remove(name);
        }
        parts.headers.remove(header::CONTENT_LENGTH);
        if let (Ok(host), Ok(uri)) = (HeaderValue::from_str(self.upstream.host()), path.parse()) {
            parts.headers.insert(header::HOST, host);
            parts.uri = uri;
        }
        parts.version = http::Version::HTTP_11;
        // From here on it notes that the call is given up, should the client go.
        let mut reader = Reader::new(Arc::clone(&self.guard), live, own, session.is_some());
        let answer = match self.upstream.send(Request::from_parts(parts, Whole::new(body))).await {
            Ok(answer) => answer,
            Err(why) => {
                tracing::warn!(why = ?why, "the server cannot be reached");
                reader.end();
                let why = format!("the server behind askance cannot be reached: {why}");
                return plain(StatusCode::BAD_GATEWAY, why);
            }
        };
        if let Some(id) = ends.filter(|_| answer.status().is_success()) {
            self.end_session(&id).await;
        }
        let (mut parts, body) = answer.into_parts();
        for name in &NOT_PASSED {
            parts.headers.remove(name);
        }
        reader.reads(form_of(&parts.headers));
        Response::from_parts(parts, Watched::new(body, reader).boxed_unsync())
    }

    /// Ends a session and what it had open.
    pub(super) async fn end_session(&self, id: &str) {
        if let Some(open) = self.sessions.end(id) {
            self.give_up(open);
            self.guard.end(id).await;
        }
    }
}

/// JSON-RPC: something failed inside.
const INTERNAL_ERROR: i32 = -32_603;
/// MCP: headers and message differ.
const HEADER_MISMATCH: i32 = -32_020;

/// Waits for people, until the call is taken back.
async fn held(asked: &Asked, decision: Box<Decision>, tick: impl FnMut(u32, &Decision)) -> Ruling {
    let stopped = asked.id.as_ref().map(|id| asked.live.hold(id));
    let first = decision.clone();
    tokio::select! {
        ruling = asked.proxy.guard.hold(&asked.envelope.call, decision, tick) => ruling,
        () = until(stopped) => Ruling::Hold(first),
    }
}

async fn until(stopped: Option<oneshot::Receiver<()>>) {
    match stopped {
        Some(stopped) => {
            let _told = stopped.await;
        }
        None => std::future::pending().await,
    }
}

fn session_of(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(SESSION)?.to_str().ok()?;
    (!id.is_empty() && id.len() <= SESSION_BYTES_MAX).then(|| id.to_owned())
}

/// Why a request's body cannot be read as the server would read it.
fn encoding_fault(parts: &Parts) -> Option<&'static str> {
    let coded = parts.headers.get(header::CONTENT_ENCODING);
    if coded.is_some_and(|coding| coding != "identity") {
        return Some("messages with a content encoding are not passed on: send them plain");
    }
    let kind =
        parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let charset =
        kind.to_ascii_lowercase().split("charset=").nth(1).map(|rest| rest.trim_matches('"').to_owned());
    match charset.as_deref().map(|charset| charset.split([';', '"', ' ']).next().unwrap_or_default()) {
        None | Some("utf-8" | "utf8" | "us-ascii") => None,
        Some(_) => Some("messages pass in UTF-8 only"),
    }
}

/// Whether a server might take the body for a message: it is said to be JSON, or looks like it.
fn may_be_json(headers: &HeaderMap, body: &[u8]) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("json");
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    kind.to_ascii_lowercase().contains("json") || body.starts_with(b"{") || body.starts_with(b"[")
}

fn takes_events(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|accept| {
        accept.to_str().is_ok_and(|accept| accept.contains("text/event-stream") || accept.contains("*/*"))
    })
}

fn is_events(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream")
}

fn form_of(headers: &HeaderMap) -> Form {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match headers.get(header::CONTENT_ENCODING) {
        Some(coding) if coding != "identity" => Form::Opaque,
        _ if is_events(headers) => Form::Events(Events::default()),
        _ if kind.to_ascii_lowercase().contains("json") => Form::Json,
        _ => Form::Opaque,
    }
}

/// A piece of a JSON message as a piece of an event's data; the first one begins the event.
fn within_event(bytes: &[u8], begun: bool) -> Bytes {
    let mut piece = if begun { Vec::new() } else { b"event: message\ndata: ".to_vec() };
    for (number, line) in bytes.split(|byte| matches!(byte, b'\n' | b'\r')).enumerate() {
        if number > 0 {
            piece.extend_from_slice(b"\ndata: ");
        }
        piece.extend_from_slice(line);
    }
    piece.into()
}

fn whole(bytes: impl Into<Bytes>) -> Answer {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn with_type(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn json(status: StatusCode, text: Vec<u8>) -> Response<Answer> {
    with_type(status, "application/json", whole(text))
}

/// A short text for people.
pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Answer> {
    with_type(status, "text/plain; charset=utf-8", whole(text))
}

fn empty(status: StatusCode) -> Response<Answer> {
    let mut answer = Response::new(whole(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

fn stream(body: Answer) -> Response<Answer> {
    let mut answer = with_type(StatusCode::OK, "text/event-stream", body);
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    answer
}

fn refused(fault: &Malformed) -> Response<Answer> {
    json(StatusCode::BAD_REQUEST, refusal::malformed(fault))
}
