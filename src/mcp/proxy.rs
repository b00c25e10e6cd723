//! An HTTP server behind the guard: the accept loop, who may connect, and the end.

use super::exchange::{Answer, Proxy, plain};
use super::guard::Guard;
use super::sessions::Sessions;
use super::task_room::TaskRoom;
use super::upstream::Upstream;
use anyhow::{Context, Result};
use http::header::{self, HeaderMap};
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

/// Connections open at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 1_024;
/// Time for a request's head to come.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after the system refused to hand over a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time for open requests to end when the proxy stops.
const GRACE: Duration = Duration::from_secs(2);

/// A proxy whose socket is bound.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    proxy: Arc<Proxy>,
}

impl Bound {
    /// Binds the socket in front of the server at `upstream`.
    ///
    /// `ca`: a file of certificates (PEM) that the server may be known by, besides those that this machine believes.
    pub async fn bind(
        address: SocketAddr,
        upstream: &Uri,
        ca: Option<&Path>,
        guard: Arc<Guard>,
    ) -> Result<Self> {
        let upstream = Upstream::new(upstream, ca)?;
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let (sessions, tasks) = (Sessions::default(), TaskRoom::default());
        let proxy = Proxy { guard, upstream, sessions, tasks };
        Ok(Self { listener, address, proxy: Arc::new(proxy) })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's URL without a path.
    pub fn upstream(&self) -> String {
        self.proxy.upstream.origin()
    }

    /// Serves until SIGTERM or SIGINT comes.
    pub async fn run(self) -> Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let Self { listener, address, proxy } = self;
        let warming = Arc::clone(&proxy);
        tokio::spawn(async move { warming.guard.warm().await });
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (stop, stopping) = watch::channel(());
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (proxy, stopping) = (Arc::clone(&proxy), stopping.clone());
            tokio::spawn(async move {
                serve(stream, address, proxy, stopping).await;
                drop(place);
            });
        }
        drop(listener);
        drop(stop);
        proxy.tasks.close();
        let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
        let _cut = tokio::time::timeout(GRACE, places.acquire_many(all)).await;
        for id in proxy.sessions.ids() {
            proxy.end_session(&id).await;
        }
        proxy.guard.stop().await;
        Ok(())
    }
}

async fn serve(stream: TcpStream, own: SocketAddr, proxy: Arc<Proxy>, mut stopping: watch::Receiver<()>) {
    // A connection that cannot be tuned still serves.
    let _slower = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let proxy = Arc::clone(&proxy);
        async move { Ok::<_, Infallible>(admit(request, own, proxy).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        // How a connection ends is the client's business.
        _ended = connection.as_mut() => {}
        // An error says that the proxy stops.
        _stops = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            let _cut = tokio::time::timeout(GRACE, connection).await;
        }
    }
}

async fn admit(request: Request<Incoming>, own: SocketAddr, proxy: Arc<Proxy>) -> Response<Answer> {
    if own.ip().is_loopback() && !is_local(request.headers()) {
        let why = "askance listens on loopback and answers clients on this machine only";
        return plain(StatusCode::FORBIDDEN, why);
    }
    proxy.answer(request).await
}

/// Whether host and origin name this machine: a page of another site that had its name pointed here does not.
pub(crate) fn is_local(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST).is_none_or(names_this_machine);
    let origin = text(header::ORIGIN).is_none_or(|origin| {
        origin.split_once("://").is_some_and(|(_, authority)| names_this_machine(authority))
    });
    host && origin
}

fn names_this_machine(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<http::uri::Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_kept_out() {
        for local in ["localhost", "LOCALHOST:4", "127.0.0.1:80", "[::1]:9", "127.8.8.8"] {
            assert!(names_this_machine(local), "{local}");
        }
        for foreign in ["evil.example", "localhost.evil.example", "192.168.0.1", "", "127.0.0.1.evil.example"]
        {
            assert!(!names_this_machine(foreign), "{foreign}");
        }
        let headers = |host: &'static str, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            origin.into_iter().for_each(|origin| {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            });
            headers
        };
        assert!(is_local(&headers("localhost:4752", None)));
        assert!(is_local(&headers("localhost:4752", Some("http://127.0.0.1:6274"))));
        assert!(!is_local(&headers("localhost:4752", Some("https://evil.example"))));
        assert!(!is_local(&headers("localhost:4752", Some("null"))));
        assert!(!is_local(&headers("rebound.example", None)));
    }
}
