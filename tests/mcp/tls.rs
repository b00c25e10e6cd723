//! TLS on our way to the server behind the proxy, and to the daemon.
//!
//! `tls/` holds a certificate for `localhost`, its key, and the authority that vouches for it: made for these tests, and
//! known to nobody else.

use crate::http::{JSON, ask, pair, port_of, proxy_of, whole};
use crate::packages::file;
use crate::support::{Place, eventually};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A door that speaks TLS before a plain one, as a reverse proxy does. Keeps the first bytes of each connection.
struct Door {
    address: SocketAddr,
    first: Arc<Mutex<Vec<Vec<u8>>>>,
    _runtime: tokio::runtime::Runtime,
}

fn door(behind: u16, protocol: &str) -> Door {
    let certificates =
        CertificateDer::pem_file_iter(file("tls/server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("tls/server.key")).unwrap();
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key).unwrap();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let (address, first) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let kept = Arc::clone(&first);
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, kept) = (acceptor.clone(), Arc::clone(&kept));
            tokio::spawn(async move {
                // A client that does not believe us goes again.
                let Ok(mut tls) = acceptor.accept(stream).await else { return };
                let mut plain = TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
                let mut bytes = vec![0; 4_096];
                let read = tls.read(&mut bytes).await.unwrap_or(0);
                bytes.truncate(read);
                plain.write_all(&bytes).await.unwrap();
                kept.lock().unwrap().push(bytes);
                let _closed = copy_bidirectional(&mut tls, &mut plain).await;
            });
        }
    });
    Door { address, first, _runtime: runtime }
}

const CALL: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_logs","arguments":{}}}"#;

#[test]
fn a_server_over_https_is_believed_by_its_certificate_and_gets_the_clients_credential() {
    let place = Place::new();
    let behind = pair(&place, &[]);
    let door = door(behind.direct, "http/1.1");
    let url = format!("https://localhost:{}/mcp", door.address.port());
    let (_proxy, port) = proxy_of(&place, &url, &["--upstream-ca", &file("tls/ca.pem")]);
    let (status, head, body) =
        whole(ask(port, &format!("{JSON}Authorization: Bearer clients-own\r\n"), CALL));
    assert_eq!(status, 200, "{head}");
    assert!(String::from_utf8(body).unwrap().contains("get_logs ran with {}"));
    let sent = String::from_utf8(door.first.lock().unwrap()[0].clone()).unwrap().to_lowercase();
    assert!(sent.contains("authorization: bearer clients-own"), "{sent}");
    assert!(sent.contains(&format!("host: localhost:{}", door.address.port())), "{sent}");
    let log = std::fs::read_to_string(place.path().join("proxy.log")).unwrap();
    assert!(log.contains(&format!("in front of https://localhost:{}", door.address.port())), "{log}");
    assert!(log.contains(&format!("clients use http://127.0.0.1:{port}/mcp")), "{log}");
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_talked_to_and_the_client_reads_why() {
    let place = Place::new();
    let behind = pair(&place, &[]);
    let door = door(behind.direct, "http/1.1");
    let (_proxy, port) = proxy_of(&place, &format!("https://localhost:{}", door.address.port()), &[]);
    let (status, _, body) = whole(ask(port, JSON, CALL));
    let said = String::from_utf8(body).unwrap();
    assert!(
        status == 502 && said.contains("cannot be reached") && said.contains("UnknownIssuer"),
        "{status} {said}"
    );
    assert!(door.first.lock().unwrap().is_empty());
    let refused = |flags: &[&str], why: &str| {
        let (code, told) = place.run(&[&["mcp", "proxy", "--listen", "127.0.0.1:0"], flags].concat());
        assert!(code == 1 && told.contains(why), "{flags:?}: {code} {told}");
    };
    let policy = place.path().join("policy.yaml").display().to_string();
    refused(&["--upstream", "https://localhost", "--upstream-ca", &policy], "holds no certificate");
    refused(
        &["--upstream", "https://localhost", "--upstream-ca", "/nowhere"],
        "cannot read certificates in /nowhere",
    );
    refused(
        &["--upstream", "http://localhost", "--upstream-ca", &file("tls/ca.pem")],
        "does not begin with https://",
    );
}

#[test]
fn a_daemon_behind_tls_is_asked_with_a_token() {
    let place = Place::new();
    let daemon = place.serve_with(|command| {
        command.env("ASKANCE_SERVER__LISTEN", "127.0.0.1:0");
    });
    let mut port = 0;
    eventually("the daemon's address", || {
        let log = std::fs::read_to_string(place.path().join("serve.log")).unwrap();
        port = log
            .lines()
            .find_map(|line| {
                let told: Value = serde_json::from_str(line).ok()?;
                told["tcp"].as_str().map(port_of)
            })
            .unwrap_or(0);
        port > 0
    });
    let (code, secret) =
        place.run(&["--json", "token", "create", "--subject", "gateway:desk", "--role", "gateway"]);
    assert_eq!(code, 0, "{secret}");
    let secret: Value = serde_json::from_str(secret.lines().next().unwrap()).unwrap();
    let secret = secret["secret"].as_str().unwrap();
    let door = door(port, "h2");
    let address = format!("https://localhost:{}", door.address.port());
    let ca = file("tls/ca.pem");
    let asked = |flags: &[&str]| {
        let mut client = place.wrap(&[&["--daemon", &address, "--timeout", "5s"], flags].concat());
        client.greet();
        client.call(1, "get_logs", "{}");
        let answer = client.next();
        answer["result"]["content"][0]["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(asked(&["--daemon-ca", &ca, "--token", secret]), "get_logs ran with {}");
    let without = asked(&["--daemon-ca", &ca]);
    assert!(without.contains("was not run"), "{without}");
    let unbelieved = asked(&["--token", secret]);
    assert!(unbelieved.contains("cannot be asked") && unbelieved.contains("UnknownIssuer"), "{unbelieved}");
    drop(daemon);
}

#[test]
fn an_address_that_is_no_daemons_counts_as_away() {
    let place = Place::new();
    let behind = pair(&place, &[]);
    let mut client = place.wrap(&["--daemon", &format!("http://127.0.0.1:{}", behind.direct)]);
    client.greet();
    client.call(1, "get_logs", "{}");
    let answer = client.next().to_string();
    assert!(answer.contains("cannot be asked") && !answer.contains("arguments, change"), "{answer}");
}
