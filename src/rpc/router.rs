//! From a request to its service: checks what tonic does not, finds the service by its path, and gives
//! answers that tonic made itself their documented status.
//!
//! On the way of every call, so: no allocation but the request's extensions, no timer unless the client
//! set a deadline, no lock.

use super::Limits;
use super::accept::Peer;
use super::deadline::{self, Arriving, RequestBody, UntilDeadline};
use super::identity::{self, Identities, Identity};
use super::status::Failure;
use super::unimplemented;
use super::validity::{Now, WhileValid};
use crate::domain::time::Timestamp;
use crate::proto::v1::ErrorCode;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic::{Code, Status};

/// A request's body as services see it.
type RpcBody = RequestBody<Incoming>;
/// An answer on its way.
type Answering = BoxFuture<Response<Body>, Infallible>;
/// A service behind one function.
type Handler = Arc<dyn Fn(Request<RpcBody>) -> Answering + Send + Sync>;

/// RPCs whose client may take its time to send: no time limit on their bodies.
const CLIENT_STREAMS: &[&str] =
    &["EvaluateStream", "RecordOutcomeStream", "ImportCalls", "ServerReflectionInfo"];
/// What the names of RPCs begin with whose answers may take long.
const STREAMS: &[&str] = &["Watch", "AwaitDecision", "Replay", "Backtest"];
/// The RPC that answers its own deadline, with a verdict.
const EVALUATE: &str = "/askance.v1.GatewayService/Evaluate";

/// What the server knows of a request besides its message; in its extensions.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    /// Who sent it.
    pub(super) peer: Arc<Peer>,
    /// When its headers came.
    pub(super) received: Instant,
    /// Until when the client waits, if it said so.
    pub(super) deadline: Option<Instant>,
    /// Who is asking.
    pub(super) identity: Arc<Identity>,
}

/// A further service on the same server, for example one to measure against.
#[derive(Clone)]
pub struct Extra {
    name: &'static str,
    handler: Handler,
}

impl Extra {
    /// A generated server, such as `FooServer::new(foo)`. Its bodies and answers have no time limit.
    pub fn new<S>(service: S) -> Self
    where
        S: NamedService + Clone + Send + Sync + 'static,
        S: Service<Request<ExtraBody>, Response = Response<Body>, Error = Infallible>,
        S::Future: Send + 'static,
    {
        let handler = move |request: Request<RpcBody>| -> Answering {
            Box::pin(service.clone().call(request.map(ExtraBody)))
        };
        Self { name: S::NAME, handler: Arc::new(handler) }
    }
}

/// Who asks an [`Extra`].
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Who sent the request.
    pub peer: Peer,
    /// Until when they wait, if they said so.
    pub deadline: Option<Instant>,
}

/// Who sent a request, by the extensions that the router gave it.
pub fn asker(extensions: &http::Extensions) -> Option<Asker> {
    let arrival = extensions.get::<Arrival>()?;
    Some(Asker { peer: *arrival.peer, deadline: arrival.deadline })
}

/// The body that an [`Extra`] gets.
pub struct ExtraBody(RpcBody);

impl http_body::Body for ExtraBody {
    type Data = prost::bytes::Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.get_mut().0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// All services of the server.
pub(super) struct Router {
    routes: Vec<Route>,
    body_timeout: Duration,
    arriving: Arc<Arriving>,
    identities: Arc<Identities>,
    now: Now,
    nobody: Arc<Identity>,
}

struct Route {
    /// The service's name with a slash on both sides.
    prefix: String,
    handler: Handler,
    /// Whether it is one of ours, so that deadlines are kept for it.
    timed: bool,
}

impl Router {
    /// No services yet.
    pub(super) fn new(
        limits: &Limits,
        identities: Arc<Identities>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Self {
        Self {
            routes: Vec::new(),
            body_timeout: limits.body_timeout,
            arriving: Arc::new(Arriving::new(limits.request_bytes_max)),
            nobody: identities.nobody(),
            identities,
            now: Arc::new(now),
        }
    }

    /// Who sends a request, if they may.
    fn admitted(&self, peer: &Peer, request: &Request<Incoming>) -> Result<Arc<Identity>, Failure> {
        let path = request.uri().path();
        if identity::need_of(path).is_none() {
            return Ok(Arc::clone(&self.nobody));
        }
        let identity = self.identities.of(peer, request.headers(), &*self.now)?;
        identity::admit(&identity, path)?;
        Ok(identity)
    }

    /// Adds a generated server. Those that are asked most should come first.
    pub(super) fn add<S>(mut self, service: S) -> Self
    where
        S: NamedService + Clone + Send + Sync + 'static,
        S: Service<
                Request<RpcBody>,
                Response = Response<Body>,
                Error = Infallible,
                Future = BoxFuture<Response<Body>, Infallible>,
            >,
    {
        let handler = move |request: Request<RpcBody>| service.clone().call(request);
        self.routes.push(Route { prefix: format!("/{}/", S::NAME), handler: Arc::new(handler), timed: true });
        self
    }

    /// Adds a service that was handed in.
    pub(super) fn add_extra(mut self, extra: Extra) -> Self {
        let prefix = format!("/{}/", extra.name);
        self.routes.push(Route { prefix, handler: extra.handler, timed: false });
        self
    }

    fn answer(&self, peer: &Arc<Peer>, mut request: Request<Incoming>) -> Answer {
        let received = Instant::now();
        let deadline = match check(&request) {
            Ok(timeout) => timeout.map(|timeout| received.checked_add(timeout).unwrap_or(received)),
            Err(refusal) => return Answer::now(*refusal),
        };
        if deadline == Some(received) {
            let late = Failure::deadline("the deadline had passed when the request came; nothing was done");
            return Answer::now(Status::from(late).into_http());
        }
        let path = request.uri().path();
        let Some(route) = self.routes.iter().find(|route| path.starts_with(&route.prefix)) else {
            return Answer::now(unimplemented::answer(path).into_http());
        };
        let identity = match self.admitted(peer, &request) {
            Ok(identity) => identity,
            Err(failure) => return Answer::now(Status::from(failure).into_http()),
        };
        let is_evaluate = path == EVALUATE;
        let method = path.get(route.prefix.len()..).unwrap_or("");
        let takes_its_time = !route.timed || CLIENT_STREAMS.contains(&method);
        let limits = (!takes_its_time).then(|| {
            let until = received + self.body_timeout;
            let until = deadline.map_or(until, |deadline| until.min(deadline));
            (until, Arc::clone(&self.arriving))
        });
        let kept = deadline.filter(|_| route.timed && !is_evaluate);
        let holder = (takes_its_time || STREAMS.iter().any(|start| method.starts_with(start)))
            .then(|| Holder(Arc::clone(&self.identities), Arc::clone(&identity), Arc::clone(&self.now)));
        request.extensions_mut().insert(Arrival { peer: Arc::clone(peer), received, deadline, identity });
        Answer {
            coming: Coming::Service((route.handler)(request.map(|body| RequestBody::new(body, limits)))),
            deadline: kept,
            holder,
            timer: None,
        }
    }
}

/// Who holds a stream.
struct Holder(Arc<Identities>, Arc<Identity>, Now);

/// What a request must be before anything looks at it; its timeout, or the refusal.
fn check(request: &Request<Incoming>) -> Result<Option<Duration>, Box<Response<Body>>> {
    let refuse = |http: StatusCode, failure: Failure| {
        let mut response: Response<Body> = Status::from(failure).into_http();
        *response.status_mut() = http;
        Err(Box::new(response))
    };
    if request.method() != Method::POST {
        let failure = Failure::new(ErrorCode::InvalidRequest, "the method is not POST");
        return refuse(StatusCode::METHOD_NOT_ALLOWED, failure);
    }
    let kind = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    if !is_grpc(kind) {
        let message = "the content-type is neither application/grpc nor application/grpc+proto";
        let failure = Failure::new(ErrorCode::InvalidRequest, message);
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, failure);
    }
    match request.headers().get(deadline::HEADER) {
        None => Ok(None),
        Some(text) => match deadline::parse(text.as_bytes()) {
            Some(timeout) => Ok(Some(timeout)),
            None => {
                let message = "grpc-timeout is not 1 to 8 digits and one of H, M, S, m, u, n";
                refuse(StatusCode::OK, Failure::new(ErrorCode::InvalidRequest, message))
            }
        },
    }
}

fn is_grpc(content_type: &[u8]) -> bool {
    let name = content_type.split(|byte| *byte == b';').next().unwrap_or(b"").trim_ascii();
    name.eq_ignore_ascii_case(b"application/grpc") || name.eq_ignore_ascii_case(b"application/grpc+proto")
}

/// The router as one connection's service.
pub(super) struct Entry {
    router: Arc<Router>,
    peer: Arc<Peer>,
}

impl Entry {
    /// For the connection of this peer.
    pub(super) fn new(router: Arc<Router>, peer: Peer) -> Self {
        Self { router, peer: Arc::new(peer) }
    }
}

impl hyper::service::Service<Request<Incoming>> for Entry {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        self.router.answer(&self.peer, request)
    }
}

/// An answer on its way, within the client's deadline.
pub(super) struct Answer {
    coming: Coming,
    deadline: Option<Instant>,
    /// Of an answer that may take its time.
    holder: Option<Holder>,
    timer: Option<Pin<Box<Sleep>>>,
}

enum Coming {
    Now(Option<Box<Response<Body>>>),
    Service(Answering),
}

impl Answer {
    fn now(response: Response<Body>) -> Self {
        Self { coming: Coming::Now(Some(Box::new(response))), deadline: None, holder: None, timer: None }
    }
}

impl Future for Answer {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let polled = match &mut this.coming {
            Coming::Now(response) => {
                let response = response.take().expect("an answer is not polled after it was given");
                return Poll::Ready(Ok(*response));
            }
            Coming::Service(answering) => answering.as_mut().poll(cx),
        };
        if let Poll::Ready(answered) = polled {
            let holder = this.holder.take();
            return Poll::Ready(answered.map(|response| held(finish(response, this.deadline), holder)));
        }
        let Some(deadline) = this.deadline else { return Poll::Pending };
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        match timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let late = Failure::deadline("the deadline passed before there was an answer");
                Poll::Ready(Ok(Status::from(late).into_http()))
            }
        }
    }
}

/// Ends a streaming answer with the credential of its holder.
fn held(response: Response<Body>, holder: Option<Holder>) -> Response<Body> {
    match holder {
        Some(Holder(identities, identity, now)) if !response.body().is_end_stream() => {
            response.map(|body| Body::new(WhileValid::new(body, identities, identity, now)))
        }
        _ => response,
    }
}

/// Keeps a streaming answer within the deadline, and corrects the status of answers that tonic made.
fn finish(response: Response<Body>, deadline: Option<Instant>) -> Response<Body> {
    let headers = response.headers();
    if !headers.contains_key(Status::GRPC_STATUS) {
        return match deadline {
            Some(deadline) if !response.body().is_end_stream() => {
                response.map(|body| Body::new(UntilDeadline::new(body, deadline)))
            }
            _ => response,
        };
    }
    // Whatever fails in our own code carries details.
    if headers.contains_key(Status::GRPC_STATUS_DETAILS) {
        return response;
    }
    match Status::from_header_map(headers) {
        Some(status) if matches!(status.code(), Code::OutOfRange | Code::Internal | Code::Cancelled) => {
            Status::from(Failure::of_transport(&status)).into_http()
        }
        _ => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for good in ["application/grpc", "application/grpc+proto", "Application/GRPC; charset=utf-8"] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        let bad = [
            "",
            "application/json",
            "application/grpc-web",
            "application/grpc+json",
            "text/application/grpc",
        ];
        for bad in bad {
            assert!(!is_grpc(bad.as_bytes()), "{bad}");
        }
    }
}
