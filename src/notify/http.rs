//! One POST over HTTP/1.1, with a limit on everything: the answer's status is all that counts.

use crate::connector::tls;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// Bytes of an answer's head that are read.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Where to post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

impl Target {
    /// Reads a URL; the error says what is wrong.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (tls, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err("the url begins with neither https:// nor http://".to_owned()),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let usable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.contains('@') || !usable(url) {
            return Err("the url holds a user, spaces or letters beyond ASCII".to_owned());
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| format!("`{port}` is no port"))?)
            }
            _ => (authority, if tls { 443 } else { 80 }),
        };
        if host.is_empty() {
            return Err("the url names no host".to_owned());
        }
        Ok(Self { tls, host: host.to_owned(), port, path: path.to_owned() })
    }
}

/// Why a post did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// It took too long.
    #[error("no answer within the time")]
    Late,
    /// The connection failed.
    #[error("{0}")]
    Connection(String),
    /// The answer is not HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// The receiver refused it.
    #[error("answered {0}")]
    Refused(u16),
}

/// Posts a body; headers are pairs of name and value. Ends within `limit`.
pub(super) async fn post(
    target: &Target,
    headers: &[(&str, String)],
    body: &[u8],
    limit: Duration,
) -> Result<(), Failure> {
    timeout(limit, exchange(target, headers, body)).await.unwrap_or(Err(Failure::Late))
}

async fn exchange(target: &Target, headers: &[(&str, String)], body: &[u8]) -> Result<(), Failure> {
    let broken = |fault: std::io::Error| Failure::Connection(fault.to_string());
    let host = target.host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, target.port)).await.map_err(broken)?;
    if !target.tls {
        return talk(stream, target, headers, body).await;
    }
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::Connection(format!("`{host}` is no name for TLS")))?;
    let stream = TlsConnector::from(trusted().await?).connect(name, stream).await.map_err(broken)?;
    talk(stream, target, headers, body).await
}

/// Whom receivers are believed by, read once.
async fn trusted() -> Result<Arc<ClientConfig>, Failure> {
    static TRUSTED: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();
    let read = || async {
        let read = tokio::task::spawn_blocking(|| tls(None, "")).await;
        read.map_err(|fault| fault.to_string())?.map_err(|fault| format!("{fault:#}"))
    };
    TRUSTED.get_or_try_init(read).await.cloned().map_err(Failure::Connection)
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    target: &Target,
    headers: &[(&str, String)],
    body: &[u8],
) -> Result<(), Failure> {
    let broken = |fault: std::io::Error| Failure::Connection(fault.to_string());
    let mut head = format!("POST {} HTTP/1.1\r\nhost: {}\r\n", target.path, target.host);
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!(
        "content-length: {}\r\nuser-agent: askance/{}\r\nconnection: close\r\n\r\n",
        body.len(),
        env!("CARGO_PKG_VERSION")
    ));
    stream.write_all(head.as_bytes()).await.map_err(broken)?;
    stream.write_all(body).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < HEAD_BYTES_MAX {
        let mut piece = [0; 1_024];
        let read = stream.read(&mut piece).await.map_err(broken)?;
        if read == 0 {
            break;
        }
        answer.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    let status = status_of(&answer).ok_or(Failure::NotHttp)?;
    if (200..300).contains(&status) { Ok(()) } else { Err(Failure::Refused(status)) }
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let target = Target::parse("https://hooks.example/a/b?c=d").unwrap();
        assert_eq!((target.tls, target.port, target.path.as_str()), (true, 443, "/a/b?c=d"));
        let target = Target::parse("http://127.0.0.1:8080").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("127.0.0.1", 8080, "/"));
        for bad in ["", "x", "ftp://x", "http://", "http://u@x/", "http://x:99999/", "http://x/\r\nevil: 1"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn answers() {
        assert_eq!(status_of(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(204));
        for bad in [&b""[..], b"SSH-2.0", b"HTTP/1.1", b"HTTP/1.1 abc", b"HTTP/2 200"] {
            assert_eq!(status_of(bad), None);
        }
    }
}
