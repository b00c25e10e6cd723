//! Who gets in: prefaces in time, caps, and sockets that are somebody else's.

use crate::support::{Server, call, decide, engine_options, eventually};
use askance::engine::Engine;
use askance::rpc::{Bound, Error, Options};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Whether the other end closes the connection within this time.
async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut byte = [0];
    matches!(tokio::time::timeout(within, stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
}

async fn connections(server: &Server, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(TcpStream::connect(server.address).await.unwrap());
    }
    streams
}

#[tokio::test]
async fn connections_that_send_nothing_are_dropped() {
    let limits = |options: &mut Options| {
        options.limits.handshake_timeout = Duration::from_millis(300);
        options.limits.connections_per_peer_max = 1_000;
    };
    let server = Server::with(|_| {}, limits).await;
    let mut silent = connections(&server, 300).await;
    eventually("all are taken", || server.door.open() == 300).await;
    let begin = Instant::now();
    for stream in &mut silent {
        assert!(is_closed(stream, Duration::from_secs(5)).await);
    }
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert_eq!(server.door.refused().no_preface, 300);
    // The control: who says hello within the time may be silent afterwards.
    let mut gateway = server.gateway().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    decide(&mut gateway, call("c-1")).await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_http2_is_dropped_at_its_first_wrong_byte() {
    let server = Server::start().await;
    for text in ["GET / HTTP/1.1\r\n", "\x16\x03\x01", "PRI * HTTP/2.1"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        assert!(is_closed(&mut stream, Duration::from_secs(2)).await, "{text:?}");
    }
    // A preface that comes in pieces is one.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        stream.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut settings = [0; 9];
    stream.read_exact(&mut settings).await.unwrap();
    assert_eq!(settings[3], 4, "the server's SETTINGS");
    server.stop().await;
}

#[tokio::test]
async fn connections_are_capped_in_all_and_by_peer() {
    let caps = |all: usize, peer: usize| {
        move |options: &mut Options| {
            options.limits.connections_max = all;
            options.limits.connections_per_peer_max = peer;
        }
    };
    for (all, peer) in [(5, 100), (100, 5)] {
        let server = Server::with(|_| {}, caps(all, peer)).await;
        let held = connections(&server, 5).await;
        eventually("five are in", || server.door.open() == 5).await;
        let mut more = connections(&server, 1).await;
        assert!(is_closed(&mut more[0], Duration::from_secs(2)).await);
        let refused = server.door.refused();
        assert_eq!((refused.full, refused.peer_full), if all == 5 { (1, 0) } else { (0, 1) });
        drop(held);
        eventually("they are gone", || server.door.open() == 0).await;
        decide(&mut server.gateway().await, call("c-1")).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_socket_in_use_is_refused_and_a_stale_one_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _) = Engine::open(&engine_options(dir.path().join("data"))).unwrap();
    let path = dir.path().join("sock");
    let options = || Options { tcp: None, unix: Some(path.clone()), ..Options::default() };
    let bind = || Bound::bind(engine.clone(), options(), []);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a stale socket");
    let bound = bind().unwrap();
    assert!(matches!(bind(), Err(Error::Unix { .. })), "somebody listens");
    drop(bound);
    assert!(!path.exists());
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(bind(), Err(Error::Unix { .. })), "not a socket");
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    let nothing = Options { tcp: None, unix: None, ..Options::default() };
    assert!(matches!(Bound::bind(engine.clone(), nothing, []), Err(Error::NothingToListenOn)));
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 2, "no temporary directory is left");
    engine.stop().await.unwrap();
}
