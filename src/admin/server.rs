//! The port itself: a few connections at a time, each for one request.

use super::{figures, prometheus};
use crate::engine::Engine;
use crate::rpc::server::Door;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prost::bytes::Bytes;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at a time; further ones wait.
const CONNECTIONS_MAX: usize = 8;
/// Time for a request to arrive, and for its answer to be read.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after the system refused to hand over a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The admin port, bound.
pub struct Admin {
    listener: TcpListener,
}

impl Admin {
    /// Binds an address. Needs a tokio runtime around it.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: TcpListener::from_std(listener)? })
    }

    /// The address that was bound.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Answers until the task is ended.
    pub async fn run(self, engine: Engine, door: Door) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (engine, door) = (engine.clone(), door.clone());
                    tokio::spawn(async move {
                        let _late = tokio::time::timeout(TIMEOUT * 2, serve(stream, engine, door)).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = ?error.to_string(), "the admin port cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, engine: Engine, door: Door) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (engine, door) = (engine.clone(), door.clone());
        async move { Ok::<_, Infallible>(answer(&request, &engine, &door).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(TIMEOUT).keep_alive(false).max_buf_size(16 << 10);
    // A client that goes away in the middle is nobody's fault.
    let _gone = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: &Request<Incoming>, engine: &Engine, door: &Door) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if engine.is_writable() => text(StatusCode::OK, "ready\n"),
        "/readyz" => {
            text(StatusCode::SERVICE_UNAVAILABLE, "not ready: writes are refused; see `askance doctor`\n")
        }
        "/metrics" => match figures::read(engine, door).await {
            Ok(figures) => text(StatusCode::OK, prometheus::text(&figures)),
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}
