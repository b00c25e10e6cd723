//! One connection: HTTP/2 by hyper with every limit set, until its client leaves or the server stops.
//!
//! Deliberately absent: what the requests are about.

use super::Limits;
use super::accept::Peer;
use super::router::{Entry, Router};
use super::shared::Phase;
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// How connections are served.
pub(super) type Http = Builder<TokioExecutor>;

/// HTTP/2 with these limits.
pub(super) fn http(limits: &Limits) -> Http {
    let mut http = Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(limits.requests_per_connection_max)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        .max_pending_accept_reset_streams(limits.pending_accept_reset_streams_max)
        .max_local_error_reset_streams(limits.local_error_reset_streams_max)
        .max_header_list_size(limits.header_list_bytes_max)
        .max_frame_size(limits.frame_bytes_max)
        .initial_connection_window_size(limits.window_bytes)
        .initial_stream_window_size(limits.window_bytes)
        .max_send_buf_size(limits.send_buffer_bytes_max)
        .auto_date_header(false);
    http
}

/// Serves a connection to its end.
pub(super) async fn serve(
    conn: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    http: &Http,
    router: Arc<Router>,
    mut phase: watch::Receiver<Phase>,
    age_max: Option<Duration>,
) {
    let entry = Entry::new(router, peer);
    let mut connection = pin!(http.serve_connection(TokioIo::new(conn), entry));
    let mut age = pin!(async {
        match age_max {
            Some(age) => tokio::time::sleep(age).await,
            None => std::future::pending().await,
        }
    });
    let mut aged = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(error = ?error.to_string(), ?peer, "a connection failed");
                }
                return;
            }
            () = &mut age, if !aged => {
                aged = true;
                connection.as_mut().graceful_shutdown();
            }
            changed = phase.changed() => {
                let cut = changed.is_err() || *phase.borrow() == Phase::Cut;
                if cut {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
