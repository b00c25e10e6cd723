//! The door of the adapters that speak HTTP/1.1: `POST /v1/hooks/CLIENT`, and the paths of the gateways.
//!
//! A client takes any answer but 200 for «let it run», so that a hook is answered 200 and a line of JSON whatever came
//! of it; other statuses are for requests that are no hook's at all. Who asks is not settled here: each request goes to
//! the API over a connection with its own address and credential.

use super::access::{Arrived, Door, METADATA, Route};
use super::envelope::Ruling;
use super::gateway::{self, Gateway};
use super::hook::{self, Client, Message};
use super::inward::{Inward, Settings};
use crate::config::HttpSection;
use crate::mcp::proxy::is_local;
use crate::rpc::Peer;
use crate::rpc::inside::Inside;
use anyhow::{Context, Result};
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prost::bytes::Bytes;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// Time for a request's head, and for its body, to come.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after the system refused to hand over a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The configured hold is all that bounds that of a hook: how long its client waits, its client says.
const HOLD_MAX: Duration = Duration::MAX;
/// Where the hooks are.
const HOOKS: &str = "/v1/hooks/";
/// Names the request for its sender's logs; AuthZEN wants it back.
const REQUEST_ID: &str = "x-request-id";
/// Bytes of such a name that are sent back.
const REQUEST_ID_BYTES_MAX: usize = 256;

/// The door, bound.
pub struct Listener {
    listener: TcpListener,
    own: SocketAddr,
    url: Option<String>,
    settings: Settings,
}

impl Listener {
    /// The door that is configured, if one is. Needs a tokio runtime around it.
    pub fn open(http: &HttpSection, data_dir: &Path) -> Result<Option<Self>> {
        let Some(address) = http.listen.0 else { return Ok(None) };
        let settings = Settings::new(http.hold, data_dir);
        let bound = Self::bind(address, http.url.0.clone(), settings);
        let bound = bound.with_context(|| format!("cannot listen on {address} (http)"))?;
        tracing::info!(address = ?bound.own, "adapters over HTTP");
        Ok(Some(bound))
    }

    fn bind(address: SocketAddr, url: Option<String>, settings: Settings) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let own = listener.local_addr()?;
        Ok(Self { listener, own, url, settings })
    }

    /// Answers until the task is ended.
    pub async fn run(self, inside: Inside) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let Self { listener, own, url, settings } = self;
        let door = Door::new(url, own);
        let room = Arc::new(Room { own, door, inward: Inward::new(settings, inside) });
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, from)) => {
                    let room = Arc::clone(&room);
                    tokio::spawn(async move {
                        serve(stream, from, room).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = ?error.to_string(), "the adapters' port cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

struct Room {
    own: SocketAddr,
    door: Door,
    inward: Inward,
}

async fn serve(stream: TcpStream, from: SocketAddr, room: Arc<Room>) {
    // A connection that cannot be tuned still serves.
    let _slower = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let room = Arc::clone(&room);
        async move { Ok::<_, Infallible>(room.answer(request, from).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(ARRIVAL_TIMEOUT).max_buf_size(64 << 10);
    // A client that goes away in the middle is nobody's fault.
    let _gone = http.serve_connection(TokioIo::new(stream), service).await;
}

impl Room {
    async fn answer(&self, request: Request<Incoming>, from: SocketAddr) -> Response<Full<Bytes>> {
        if self.own.ip().is_loopback() && !is_local(request.headers()) {
            return text(StatusCode::FORBIDDEN, "askance answers clients on this machine only\n");
        }
        let path = request.uri().path();
        if let Some(route) = Route::of(request.method(), path) {
            return self.answer_access(&route, request, from).await;
        }
        let client = path.strip_prefix(HOOKS).and_then(Client::of_name);
        let gateway = Gateway::of_path(path);
        if client.is_none() && gateway.is_none() {
            return text(StatusCode::NOT_FOUND, paths());
        }
        if request.method() != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only POST is answered\n");
        }
        match (client, gateway) {
            (Some(client), _) => self.answer_hook(client, request, from).await,
            (None, Some(gateway)) => self.answer_gateway(gateway, request, from).await,
            (None, None) => text(StatusCode::NOT_FOUND, paths()),
        }
    }

    async fn answer_hook(
        &self,
        client: Client,
        request: Request<Incoming>,
        from: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let message = match arrived(body).await {
            Ok(body) => hook::read(client, &body),
            Err(why) => Message::missing(&why),
        };
        let ruling = match &message.read {
            Ok(envelope) => self.inward.rule(envelope, &parts.headers, Peer::Tcp(from), HOLD_MAX).await,
            Err(_) => Ruling::Pass,
        };
        let answer = hook::answer(client, &message, &ruling);
        respond(StatusCode::OK, "application/json", format!("{}\n", answer.line))
    }

    async fn answer_access(
        &self,
        route: &Route,
        request: Request<Incoming>,
        from: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = if route.has_body() { arrived(body).await } else { Ok(Vec::new()) };
        let body = match body {
            Ok(body) => body,
            Err(why) => return text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        };
        let arrived = Arrived { uri: &parts.uri, headers: &parts.headers, from, body: &body };
        let answer = self.door.answer(route, &arrived, &self.inward).await;
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = respond(status, answer.kind, answer.body);
        let location = HeaderValue::try_from(answer.location).ok().filter(|at| !at.is_empty());
        let retry = (answer.retry_after > 0).then(|| HeaderValue::from(answer.retry_after));
        for (name, value) in [(LOCATION, location), (RETRY_AFTER, retry)] {
            if let Some(value) = value {
                response.headers_mut().insert(name, value);
            }
        }
        echo_id(&parts.headers, &mut response);
        response
    }

    async fn answer_gateway(
        &self,
        gateway: Gateway,
        request: Request<Incoming>,
        from: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let message = match arrived(body).await {
            Ok(body) => gateway::read(gateway, &body, parts.uri.query().unwrap_or_default()),
            Err(why) => gateway::Message::missing(&why),
        };
        let ruling = match &message.read {
            Ok(envelope) => {
                self.inward.rule(envelope, &parts.headers, Peer::Tcp(from), gateway.hold_max()).await
            }
            Err(_) => Ruling::Pass,
        };
        let answer = gateway::answer(gateway, &message, &ruling);
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Not even the end of a line where nothing is to be said: it may be taken for something.
        let mut response = respond(status, "application/json", answer.body);
        echo_id(&parts.headers, &mut response);
        response
    }
}

/// Sends the request's name back.
fn echo_id(headers: &HeaderMap, response: &mut Response<Full<Bytes>>) {
    let id = headers.get(REQUEST_ID).filter(|id| id.len() <= REQUEST_ID_BYTES_MAX);
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id.clone());
    }
}

/// The paths there are.
fn paths() -> String {
    let clients: Vec<&str> = Client::ALL.iter().map(|client| client.name()).collect();
    let gateways: Vec<&str> = Gateway::ALL.iter().map(|gateway| gateway.path()).collect();
    let (clients, gateways) = (clients.join(", "), gateways.join(", "));
    format!(
        "there is POST {HOOKS}CLIENT: {clients}; POST {gateways}; and GET {METADATA}, which names the rest\n"
    )
}

/// The body, or why there is none.
async fn arrived(body: Incoming) -> Result<Vec<u8>, String> {
    match tokio::time::timeout(ARRIVAL_TIMEOUT, whole(body)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(fault)) => Err(format!("the request broke off: {fault}")),
        Err(_) => Err("the request did not come in time".to_owned()),
    }
}

/// The body, or the beginning of one that is too long.
async fn whole(mut body: Incoming) -> Result<Vec<u8>, hyper::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(part) = frame?.into_data() {
            bytes.extend_from_slice(&part);
        }
        if bytes.len() > hook::MESSAGE_BYTES_MAX {
            bytes.truncate(hook::MESSAGE_BYTES_MAX + 1);
            break;
        }
    }
    Ok(bytes)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
