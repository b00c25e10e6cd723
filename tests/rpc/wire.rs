//! The wire itself: requests that no gRPC library would send.

use crate::support::{Server, call, decide, eventually, reason};
use askance::proto::FILE_DESCRIPTOR_SET;
use askance::proto::v1;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message;
use prost::bytes::Bytes;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};

const EVALUATE: &str = "/askance.v1.GatewayService/Evaluate";

/// Every RPC of the API as `Service/Method`.
pub(crate) fn all_rpcs() -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let services =
        set.file.iter().filter(|file| file.package() == "askance.v1").flat_map(|file| &file.service);
    let of = |service: &prost_types::ServiceDescriptorProto| {
        let name = service.name().to_owned();
        service.method.iter().map(move |method| format!("{name}/{}", method.name())).collect::<Vec<_>>()
    };
    services.flat_map(of).collect()
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

/// What came back.
struct Answer {
    http: u16,
    status: Status,
}

fn status_of(headers: &HeaderMap) -> Option<Status> {
    headers.contains_key("grpc-status").then(|| Status::from_header_map(headers).unwrap())
}

fn request(path: &str) -> Request<()> {
    Request::post(format!("http://askance{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// Sends a request with these bytes, ended or left open, and waits for its status.
async fn exchange(address: SocketAddr, request: Request<()>, body: impl Into<Bytes>, end: bool) -> Answer {
    let body = body.into();
    let mut client = connect(address).await.ready().await.unwrap();
    let (response, mut sender) = client.send_request(request, false).unwrap();
    if end || !body.is_empty() {
        let _refused = sender.send_data(body, end);
    }
    let response = response.await.unwrap();
    let http = response.status().as_u16();
    let early = status_of(response.headers());
    let mut body = response.into_body();
    if let Some(status) = early {
        return Answer { http, status };
    }
    while let Some(data) = body.data().await {
        let Ok(data) = data else { break };
        let _freed = body.flow_control().release_capacity(data.len());
    }
    let trailers = body.trailers().await.ok().flatten();
    let status = trailers.and_then(|trailers| status_of(&trailers));
    Answer { http, status: status.unwrap_or_else(|| Status::unknown("no status")) }
}

/// A message with its five bytes in front.
fn framed(flag: u8, length: u32, message: &[u8]) -> Vec<u8> {
    [&[flag], &length.to_be_bytes()[..], message].concat()
}

fn good() -> Vec<u8> {
    let message = crate::support::evaluate(call("c-wire")).encode_to_vec();
    framed(0, message.len() as u32, &message)
}

/// Sends an empty message within half a second; the status that comes of it.
pub(crate) async fn call_empty(address: SocketAddr, path: &str) -> Status {
    let mut request = request(path);
    request.headers_mut().insert("grpc-timeout", "500m".parse().unwrap());
    exchange(address, request, framed(0, 0, &[]), true).await.status
}

#[tokio::test]
async fn the_content_type_must_be_grpc() {
    let server = Server::start().await;
    for kind in ["application/json", "application/grpc-web", "application/grpc+json", ""] {
        let mut request = request(EVALUATE);
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        let answer = exchange(server.address, request, good(), true).await;
        assert_eq!((answer.http, answer.status.code()), (415, Code::InvalidArgument), "{kind}");
        assert_eq!(reason(&answer.status), "INVALID_REQUEST");
    }
    let mut get = request(EVALUATE);
    *get.method_mut() = http::Method::GET;
    assert_eq!(exchange(server.address, get, good(), true).await.http, 405);
    for kind in ["application/grpc", "application/grpc+proto"] {
        let mut request = request(EVALUATE);
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        let answer = exchange(server.address, request, good(), true).await;
        assert_eq!((answer.http, answer.status.code()), (200, Code::Ok), "the control: {kind}");
    }
    server.stop().await;
}

#[tokio::test]
async fn grpc_timeout_must_be_one() {
    let server = Server::start().await;
    let with = |timeout: &str| {
        let mut request = request(EVALUATE);
        request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
        request
    };
    for bad in ["", "1", "S", "1x", "-1S", "1.5S", "123456789S", "1 S"] {
        let answer = exchange(server.address, with(bad), good(), true).await;
        assert_eq!(answer.status.code(), Code::InvalidArgument, "{bad}");
        assert_eq!(reason(&answer.status), "INVALID_REQUEST");
    }
    let tail = *server.engine.tail("default").borrow();
    for past in ["0n", "0S", "00000000m"] {
        let answer = exchange(server.address, with(past), good(), true).await;
        assert_eq!(answer.status.code(), Code::DeadlineExceeded);
        assert_eq!(reason(&answer.status), "DEADLINE_EXCEEDED");
    }
    assert_eq!(*server.engine.tail("default").borrow(), tail, "nothing was queued");
    for fine in ["5S", "99999999H"] {
        assert_eq!(exchange(server.address, with(fine), good(), true).await.status.code(), Code::Ok);
    }
    server.stop().await;
}

#[tokio::test]
async fn broken_messages_have_the_documented_status() {
    let server = Server::start().await;
    let good = good();
    let table: [(&str, Vec<u8>, Code); 7] = [
        ("no body", Vec::new(), Code::InvalidArgument),
        ("bad protobuf", framed(0, 4, &[0xff; 4]), Code::InvalidArgument),
        ("cut message", good[..good.len() - 3].to_vec(), Code::InvalidArgument),
        ("bad flag", framed(7, 0, &[]), Code::InvalidArgument),
        ("compressed without saying how", framed(1, 4, &[0; 4]), Code::InvalidArgument),
        ("5 MiB prefix", framed(0, 5 << 20, &[0; 100]), Code::ResourceExhausted),
        ("4 GiB prefix", framed(0, u32::MAX, &[0; 100]), Code::ResourceExhausted),
    ];
    for (what, body, code) in table {
        let answer = exchange(server.address, request(EVALUATE), body, true).await;
        assert_eq!(answer.status.code(), code, "{what}: {:?}", answer.status);
        let expected = if code == Code::ResourceExhausted { "MESSAGE_TOO_LARGE" } else { "INVALID_REQUEST" };
        assert_eq!(reason(&answer.status), expected, "{what}");
    }
    let mut unknown = request(EVALUATE);
    unknown.headers_mut().insert("grpc-encoding", "brotli".parse().unwrap());
    assert_eq!(
        exchange(server.address, unknown, good.clone(), true).await.status.code(),
        Code::Unimplemented
    );
    let stream = request("/askance.v1.GatewayService/EvaluateStream");
    let answer = exchange(server.address, stream, framed(0, 5 << 20, &[]), true).await;
    assert_eq!(
        (answer.status.code(), reason(&answer.status).as_str()),
        (Code::ResourceExhausted, "MESSAGE_TOO_LARGE")
    );
    assert_eq!(exchange(server.address, request(EVALUATE), good, true).await.status.code(), Code::Ok);
    server.stop().await;
}

#[tokio::test]
async fn ten_megabytes_of_arguments_are_refused_before_they_are_read() {
    let server = Server::start().await;
    let big = format!("{{\"a\":\"{}\"}}", "x".repeat(10 << 20));
    let big = v1::ToolCall { arguments_json: big.into(), ..call("c-big") };
    let status = server.gateway().await.evaluate(crate::support::evaluate(big)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    decide(&mut server.gateway().await, call("c-1")).await;
    server.stop().await;
}

#[tokio::test]
async fn large_headers_and_stalled_bodies_are_refused() {
    let server =
        Server::with(|_| {}, |options| options.limits.body_timeout = Duration::from_millis(200)).await;
    let mut large = request(EVALUATE);
    large.headers_mut().insert("x-large", "x".repeat(24 * 1024).parse().unwrap());
    assert_eq!(exchange(server.address, large, good(), true).await.http, 431);

    let good = good();
    let begin = Instant::now();
    let answer = exchange(server.address, request(EVALUATE), good[..20].to_vec(), false).await;
    let took = begin.elapsed();
    assert_eq!(
        (answer.status.code(), reason(&answer.status).as_str()),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(2), "{took:?}");
    // A stream may take its time.
    let stream = request("/askance.v1.GatewayService/EvaluateStream");
    let quiet =
        tokio::time::timeout(Duration::from_millis(500), exchange(server.address, stream, Vec::new(), false));
    assert!(quiet.await.is_err(), "a stream without requests stays open");
    server.stop().await;
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// Headers of an EvaluateStream request, left open.
fn open_stream(stream: u32) -> Vec<u8> {
    let path = b"/askance.v1.GatewayService/EvaluateStream";
    let kind = b"application/grpc";
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend_from_slice(path);
    block.extend_from_slice(&[0x01, 1, b'a', 0x0f, 0x10, kind.len() as u8]);
    block.extend_from_slice(kind);
    frame(1, 4, stream, &block)
}

async fn raw(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    stream
}

/// Sends as many as the server takes, and reads until it has had enough. How many were written.
async fn flood(address: SocketAddr, count: u32, make: impl Fn(u32) -> Vec<u8>) -> u32 {
    let (mut reader, mut writer) = raw(address).await.into_split();
    let closed = tokio::spawn(async move {
        let mut bytes = vec![0; 64 * 1024];
        while reader.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    });
    let mut sent = 0;
    for number in 0..count {
        if writer.write_all(&make(2 * number + 1)).await.is_err() {
            break;
        }
        sent += 1;
    }
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("the server closes it").unwrap();
    sent
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_streams_are_bounded() {
    let server = Server::start().await;
    decide(&mut server.gateway().await, call("c-1")).await;
    let before = resident_bytes();
    flood(server.address, 20_000, open_stream).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes");
    let reset = |stream| [open_stream(stream), frame(3, 0, stream, &[0, 0, 0, 8])].concat();
    flood(server.address, 20_000, reset).await;
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes");
    decide(&mut server.gateway().await, call("c-2")).await;
    // The control: without the limits the same takes far more.
    let lax = Server::with(
        |_| {},
        |options| {
            options.limits.requests_per_connection_max = u32::MAX >> 1;
            options.limits.local_error_reset_streams_max = usize::MAX >> 1;
            options.limits.streams_max = 1 << 20;
        },
    )
    .await;
    let before = resident_bytes();
    let mut open = raw(lax.address).await;
    for number in 0..20_000 {
        open.write_all(&open_stream(2 * number + 1)).await.unwrap();
    }
    let mut most = 0;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        most = most.max(resident_bytes().saturating_sub(before));
    }
    assert!(most > 48 << 20, "{most} bytes");
    drop(open);
    lax.stop().await;
    // As many as are allowed stay open.
    let mut quiet = raw(server.address).await;
    for number in 0..500 {
        quiet.write_all(&open_stream(2 * number + 1)).await.unwrap();
    }
    let mut bytes = vec![0; 64 * 1024];
    let mut goaway = false;
    while let Ok(Ok(read)) = tokio::time::timeout(Duration::from_millis(300), quiet.read(&mut bytes)).await {
        goaway |= read == 0;
        if goaway {
            break;
        }
    }
    assert!(!goaway);
    drop(quiet);
    eventually("the connection is gone", || server.door.open() <= 2).await;
    server.stop().await;
}

#[tokio::test]
async fn what_arrives_at_once_is_limited_in_all() {
    let server = Server::with(|_| {}, |options| options.limits.request_bytes_max = 100_000).await;
    let mut client = connect(server.address).await.ready().await.unwrap();
    let large = framed(0, 60_000, &[0; 40_000]);
    let (_first, mut sender) = client.send_request(request(EVALUATE), false).unwrap();
    sender.send_data(large.clone().into(), false).unwrap();
    decide(&mut server.gateway().await, call("c-1")).await;
    let answer = exchange(server.address, request(EVALUATE), framed(0, 100_000, &[0; 90_000]), false).await;
    assert_eq!(
        (answer.status.code(), reason(&answer.status).as_str()),
        (Code::ResourceExhausted, "QUOTA_EXCEEDED")
    );
    drop((sender, _first, client));
    // The control: with the first one gone there is room, and it is the time limit that ends it.
    let mut freed = false;
    for _ in 0..20 {
        let body = framed(0, 100_000, &[0; 90_000]);
        let mut asked = request(EVALUATE);
        asked.headers_mut().insert("grpc-timeout", "100m".parse().unwrap());
        freed = exchange(server.address, asked, body, false).await.status.code() == Code::DeadlineExceeded;
        if freed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(freed);
    server.stop().await;
}

#[tokio::test]
async fn streams_of_requests_are_limited_in_all() {
    let server = Server::with(|_| {}, |options| options.limits.streams_max = 2).await;
    let mut gateway = server.gateway().await;
    let quiet = || {
        let (sender, requests) = tokio::sync::mpsc::channel::<v1::EvaluateStreamRequest>(1);
        (sender, tokio_stream::wrappers::ReceiverStream::new(requests))
    };
    let (first, requests) = quiet();
    let _first_answers = gateway.evaluate_stream(requests).await.unwrap();
    let (_second, requests) = quiet();
    let _second_answers = gateway.evaluate_stream(requests).await.unwrap();
    let lines = tokio_stream::empty::<v1::ImportCallsRequest>();
    let status = gateway.import_calls(lines).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "QUOTA_EXCEEDED"));
    drop(first);
    let mut freed = false;
    for _ in 0..200 {
        freed = gateway.import_calls(tokio_stream::empty::<v1::ImportCallsRequest>()).await.is_ok();
        if freed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(freed, "the control: a stream that ends makes room");
    server.stop().await;
}

#[tokio::test]
async fn clients_that_answer_no_ping_are_dropped() {
    let server = Server::with(
        |_| {},
        |options| {
            options.limits.keepalive_interval = Duration::from_millis(100);
            options.limits.keepalive_timeout = Duration::from_millis(100);
        },
    )
    .await;
    let mut good = server.gateway().await;
    decide(&mut good, call("c-1")).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(raw(server.address).await);
    }
    eventually("they are taken", || server.door.open() == 51).await;
    eventually("they are dropped", || server.door.open() == 1).await;
    decide(&mut good, call("c-2")).await;
    assert_eq!(server.door.open(), 1, "the control: who answers pings stays");
    server.stop().await;
}
