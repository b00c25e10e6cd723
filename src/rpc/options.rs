//! Where the server listens and how far clients may go.

use crate::domain::decision::Verdict;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How to run the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// TCP address to listen on. Default 127.0.0.1:4750. None: no TCP. Without
    /// tokens it answers loopback only.
    pub tcp: Option<SocketAddr>,
    /// Unix socket to listen on, readable and writable by its owner only. Default none.
    pub unix: Option<PathBuf>,
    /// What clients may use.
    pub limits: Limits,
    /// Time to decide in when the client sets no deadline. Default 1 s, at least 1 ms.
    pub decision_timeout: Duration,
    /// What a gateway is told when the decision is late and the policy binds; in observe mode it is always
    /// told `ALLOW`. Default `REVIEW`. `ALLOW` fails open.
    pub fallback: Verdict,
    /// A watch says at least this often that it lives. Default 15 s.
    pub heartbeat: Duration,
    /// A watcher that takes nothing for this long while there is something for it is cut. Default 60 s.
    pub watcher_stall: Duration,
    /// Longest wait of an `Evaluate` for a review. Default 10 minutes.
    pub wait_max: Duration,
    /// Time for open requests to end once the server is told to stop. Default 10 s.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tcp: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 4750))),
            unix: None,
            limits: Limits::default(),
            decision_timeout: Duration::from_secs(1),
            fallback: Verdict::Review,
            heartbeat: Duration::from_secs(15),
            watcher_stall: Duration::from_secs(60),
            wait_max: Duration::from_secs(600),
            grace: Duration::from_secs(10),
        }
    }
}

/// What clients may use. Every one is enforced before memory is spent on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message from a client. Default 512 KiB.
    pub message_bytes_max: usize,
    /// Requests open at a time on one connection, streams included; further ones wait at the client or
    /// are refused. Default 512: one busy gateway keeps 256 in flight on one connection, and that must
    /// not be throttled.
    pub requests_per_connection_max: u32,
    /// Bytes of requests that are not streams and have begun to arrive, in all. One more is refused.
    /// Default 256 MiB.
    pub request_bytes_max: usize,
    /// Streams of requests open at a time. Each may hold a message, a send buffer and its requests in
    /// flight: about 2 MiB at the most. Default 256.
    pub streams_max: usize,
    /// Requests of one stream that may be open in the engine; then the stream is not read any further.
    /// Default 1,024.
    pub stream_in_flight_max: usize,
    /// Connections open at a time. Default 1,024.
    pub connections_max: usize,
    /// Connections open at a time from one IP address. Default 256. Those of the Unix socket count as one
    /// peer.
    pub connections_per_peer_max: usize,
    /// Time from the connection to the end of its HTTP/2 preface. Default 5 s.
    pub handshake_timeout: Duration,
    /// Time for the body of a request that is not a stream to arrive. Default 5 s.
    pub body_timeout: Duration,
    /// Pause between two pings, whatever else goes on. Default 5 s.
    pub keepalive_interval: Duration,
    /// Time to answer a ping; then the connection is closed. Default 5 s.
    pub keepalive_timeout: Duration,
    /// Age at which a connection is asked to go, so that clients spread anew. Default none.
    pub connection_age_max: Option<Duration>,
    /// Streams that were reset by the client before they were taken up; one more closes the connection.
    /// Default 20.
    pub pending_accept_reset_streams_max: usize,
    /// Streams of a connection that we reset for its faults; one more closes it. Default 128.
    pub local_error_reset_streams_max: usize,
    /// Bytes of a request's headers. Default 8,192.
    pub header_list_bytes_max: u32,
    /// Bytes of one HTTP/2 frame. Default 16,384.
    pub frame_bytes_max: u32,
    /// Bytes that a client may send on one connection before they are looked at. Default 1 MiB.
    pub window_bytes: u32,
    /// Bytes that wait in the server for a client to read, for each of its streams. Default 64 KiB.
    pub send_buffer_bytes_max: usize,
    /// Watches open at a time. Default 64.
    pub watches_max: usize,
    /// Watches of reviews and locks open at a time. Default 2,048.
    pub feeds_max: usize,
    /// Requests that wait for a review at a time. Default 16,384.
    pub waits_max: usize,
    /// Reads of the log at a time. Default 4.
    pub reads_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 512 * 1024,
            requests_per_connection_max: 512,
            request_bytes_max: 256 << 20,
            streams_max: 256,
            stream_in_flight_max: 1_024,
            connections_max: 1_024,
            connections_per_peer_max: 256,
            handshake_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(5),
            keepalive_timeout: Duration::from_secs(5),
            connection_age_max: None,
            pending_accept_reset_streams_max: 20,
            local_error_reset_streams_max: 128,
            header_list_bytes_max: 8_192,
            frame_bytes_max: 16_384,
            window_bytes: 1 << 20,
            send_buffer_bytes_max: 64 * 1024,
            watches_max: 64,
            feeds_max: 2_048,
            waits_max: 16_384,
            reads_max: 4,
        }
    }
}
