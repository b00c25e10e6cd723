//! Connections of our own to other servers: plain or TLS, and who is believed to be whom they say.
//!
//! Believed is what this machine believes (`SSL_CERT_FILE` and `SSL_CERT_DIR` stand for it, as elsewhere), and Mozilla's
//! list where the machine has none. A file of certificates can be believed besides.

use anyhow::{Context, Result, bail};
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waking, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Time to connect in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// TLS 1.2 and 1.3 to servers that this machine believes, and to those that a certificate in the file `ca` (PEM)
/// vouches for. `protocol`: what is spoken inside, as ALPN names it; empty: not told.
pub fn tls(ca: Option<&Path>, protocol: &str) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (known, _unusable) = roots.add_parsable_certificates(found.certs);
    if known == 0 {
        let named =
            ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().find(|name| std::env::var_os(name).is_some());
        if let Some(name) = named {
            let why = found.errors.first().map(ToString::to_string).unwrap_or_default();
            bail!("{name} names no certificates: {why}");
        }
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(path) = ca {
        believe(&mut roots, path)?;
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    if !protocol.is_empty() {
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    }
    Ok(Arc::new(config))
}

fn believe(roots: &mut RootCertStore, path: &Path) -> Result<()> {
    let shown = path.display();
    let all = CertificateDer::pem_file_iter(path)
        .with_context(|| format!("cannot read certificates in {shown}"))?;
    let mut count = 0;
    for certificate in all {
        let certificate =
            certificate.with_context(|| format!("{shown} holds what is no certificate (PEM)"))?;
        roots
            .add(certificate)
            .with_context(|| format!("{shown} holds a certificate that vouches for nobody"))?;
        count += 1;
    }
    if count == 0 {
        bail!("{shown} holds no certificate (PEM: -----BEGIN CERTIFICATE-----)");
    }
    Ok(())
}

/// Makes connections for a client of HTTP.
#[derive(Clone)]
pub struct Connector {
    tls: Option<TlsConnector>,
}

impl Connector {
    /// Plain connections, or TLS ones.
    pub fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        Self { tls: tls.map(TlsConnector::from) }
    }
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
pub enum Stream {
    /// Plain.
    Plain(TcpStream),
    /// TLS.
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
