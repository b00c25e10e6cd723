//! Connections to the server behind an HTTP proxy: plain or TLS, kept open and used again.

use anyhow::{Context, Result, bail};
use http::Uri;
use http::uri::{Authority, Scheme};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waking, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Time to connect in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections kept open while nothing is asked.
const IDLE_MAX: usize = 32;
/// How long they are kept: less than servers commonly do.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// A request's body that is there whole.
pub(super) type Whole = http_body_util::Full<Bytes>;

/// The server behind.
pub(super) struct Upstream {
    scheme: Scheme,
    authority: Authority,
    client: Client<Connector, Whole>,
}

impl Upstream {
    /// Reads the server's URL.
    pub(super) fn new(url: &Uri) -> Result<Self> {
        let scheme = url.scheme().cloned().unwrap_or(Scheme::HTTP);
        let authority = url.authority().cloned().context("--upstream: the URL names no host")?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            bail!("--upstream: the URL begins with neither http:// nor https://");
        }
        if authority.as_str().contains('@') {
            bail!("--upstream: the URL holds a user; clients send their own credentials");
        }
        let connector = Connector { tls: (scheme == Scheme::HTTPS).then(tls) };
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(IDLE_MAX).pool_idle_timeout(IDLE_TIMEOUT);
        builder.pool_timer(hyper_util::rt::TokioTimer::new());
        Ok(Self { scheme, authority, client: builder.build(connector) })
    }

    /// Host and port, as the server is to be addressed.
    pub(super) fn host(&self) -> &str {
        self.authority.as_str()
    }

    /// Sends a request; its URI holds a path only.
    pub(super) async fn send(
        &self,
        mut request: http::Request<Whole>,
    ) -> Result<http::Response<Incoming>, Error> {
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        self.client.request(request).await
    }
}

fn tls() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

#[derive(Clone)]
struct Connector {
    tls: Option<TlsConnector>,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Waking<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect(&uri, tls)).await;
            connected.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?.map(TokioIo::new)
        })
    }
}

async fn connect(uri: &Uri, tls: Option<TlsConnector>) -> std::io::Result<Stream> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Stream::Plain(stream)) };
    let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
    Ok(Stream::Tls(Box::new(tls.connect(name, stream).await?)))
}

/// A connection, plain or not.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(waking, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_read(waking, bytes),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(waking, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(waking, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(waking),
            Self::Tls(stream) => Pin::new(stream).poll_flush(waking),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(waking),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(waking),
        }
    }
}
