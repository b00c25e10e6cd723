//! Connections to the server behind an HTTP proxy: plain or TLS, kept open and used again.

use crate::connector::{Connector, tls};
use anyhow::{Context, Result, bail};
use http::Uri;
use http::uri::{Authority, Scheme};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::bytes::Bytes;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

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
    /// Reads the server's URL. `ca`: certificates that are believed besides this machine's.
    pub(super) fn new(url: &Uri, ca: Option<&Path>) -> Result<Self> {
        let scheme = url.scheme().cloned().unwrap_or(Scheme::HTTP);
        let authority = url.authority().cloned().context("--upstream: the URL names no host")?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            bail!("--upstream: the URL begins with neither http:// nor https://");
        }
        if authority.as_str().contains('@') {
            bail!("--upstream: the URL holds a user; clients send their own credentials");
        }
        if ca.is_some() && scheme != Scheme::HTTPS {
            bail!(
                "--upstream-ca: the URL does not begin with https://, so that there is no certificate to check"
            );
        }
        let tls =
            (scheme == Scheme::HTTPS).then(|| tls(ca, "http/1.1")).transpose().context("--upstream-ca")?;
        let connector = Connector::new(tls);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(IDLE_MAX).pool_idle_timeout(IDLE_TIMEOUT);
        builder.pool_timer(hyper_util::rt::TokioTimer::new());
        Ok(Self { scheme, authority, client: builder.build(connector) })
    }

    /// The server's URL without a path.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// Host and port, as the server is to be addressed.
    pub(super) fn host(&self) -> &str {
        self.authority.as_str()
    }

    /// Sends a request; its URI holds a path only. The error says why the server cannot be reached.
    pub(super) async fn send(
        &self,
        mut request: http::Request<Whole>,
    ) -> Result<http::Response<Incoming>, String> {
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        self.client.request(request).await.map_err(|fault| causes(&fault))
    }
}

/// An error with what brought it about; the library's own says no more than that it could not connect.
fn causes(fault: &dyn Error) -> String {
    let (mut text, mut next) = (String::new(), Some(fault.source().unwrap_or(fault)));
    while let Some(fault) = next {
        let cause = fault.to_string();
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
        next = fault.source();
    }
    text
}
