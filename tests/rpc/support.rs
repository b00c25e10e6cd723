//! A real server over a real engine in a temporary directory, and what tests say to it.

use askance::clock::Clock;
use askance::decide::Settings;
use askance::domain::decision::Mode;
use askance::engine::{self, Engine};
use askance::eventlog;
use askance::proto::v1;
use askance::proto::v1::gateway_service_client::GatewayServiceClient;
use askance::rpc::{Bound, Extra, Options};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

/// Settings of a small engine.
pub(crate) fn engine_options(dir: PathBuf) -> engine::Options {
    engine::Options {
        dir,
        partitions: 1,
        queue_max: 8_192,
        snapshot_every: 1_000_000,
        policy_text: String::new(),
        mode: Mode::Enforce,
        settings: Settings::default(),
        log: eventlog::Options {
            ballast_bytes: 0,
            write_buffer_bytes: 16 << 20,
            free_bytes_low: 2,
            free_bytes_hard: 1,
            ..eventlog::Options::default()
        },
        mask_key: [7; 32],
        clock: Clock::system(),
    }
}

/// A server that runs until it is dropped or stopped.
pub(crate) struct Server {
    pub(crate) engine: Engine,
    pub(crate) address: SocketAddr,
    pub(crate) unix: PathBuf,
    pub(crate) door: askance::rpc::server::Door,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Server {
    /// With default settings.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    /// With changed settings of engine and server.
    pub(crate) async fn with(
        engine: impl FnOnce(&mut engine::Options),
        server: impl FnOnce(&mut Options),
    ) -> Self {
        Self::with_extra(engine, server, Vec::new()).await
    }

    /// With further services too.
    pub(crate) async fn with_extra(
        engine: impl FnOnce(&mut engine::Options),
        server: impl FnOnce(&mut Options),
        extra: Vec<Extra>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut engine_options = engine_options(dir.path().join("data"));
        engine(&mut engine_options);
        let (engine, _) = Engine::open(&engine_options).unwrap();
        let unix = dir.path().join("sock");
        let mut options = Options {
            tcp: Some("127.0.0.1:0".parse().unwrap()),
            unix: Some(unix.clone()),
            grace: Duration::from_secs(2),
            ..Options::default()
        };
        server(&mut options);
        let bound = Bound::bind(engine.clone(), options, extra).unwrap();
        let address = bound.tcp().unwrap();
        let door = bound.door();
        let (stop, stopped) = oneshot::channel::<()>();
        let (begin, begun) = oneshot::channel::<()>();
        let running = tokio::spawn(async move {
            let shutdown = async {
                let _told = begin.send(());
                let _dropped = stopped.await;
            };
            bound.run(shutdown).await.unwrap();
        });
        begun.await.expect("the server serves");
        Self { engine, address, unix, door, stop: Some(stop), running: Some(running), _dir: dir }
    }

    /// Tells the server to stop, without waiting.
    pub(crate) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for the server to end.
    pub(crate) async fn ended(&mut self) {
        self.running.take().unwrap().await.unwrap();
    }

    /// Stops the server and the engine.
    pub(crate) async fn stop(mut self) {
        self.begin_stop();
        self.ended().await;
        self.engine.stop().await.unwrap();
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap()
    }

    pub(crate) async fn channel(&self) -> Channel {
        self.endpoint().connect().await.unwrap()
    }

    /// Over the Unix socket, as the daemon's own user.
    pub(crate) async fn socket(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("unix://{}", self.unix.display())).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn gateway(&self) -> GatewayServiceClient<Channel> {
        GatewayServiceClient::new(self.channel().await)
    }
}

/// A call that a gateway might send.
pub(crate) fn call(id: &str) -> v1::ToolCall {
    v1::ToolCall {
        call_id: id.to_owned(),
        tool: "get_weather".to_owned(),
        server: "weather".to_owned(),
        arguments_json: r#"{"city":"Bern","days":3}"#.as_bytes().to_vec().into(),
        principal_chain: vec!["user:alice".to_owned(), "agent:planner".to_owned()],
        session: Some(v1::SessionHints { session_id: "s-1".to_owned(), ..Default::default() }),
        client: "test".to_owned(),
        ..Default::default()
    }
}

/// A request for its decision.
pub(crate) fn evaluate(call: v1::ToolCall) -> v1::EvaluateRequest {
    v1::EvaluateRequest { call: Some(call), ..Default::default() }
}

/// The decision about a call.
pub(crate) async fn decide(gateway: &mut GatewayServiceClient<Channel>, call: v1::ToolCall) -> v1::Decision {
    gateway.evaluate(evaluate(call)).await.unwrap().into_inner().decision.unwrap()
}

/// The reason that a status gives in its details.
pub(crate) fn reason(status: &tonic::Status) -> String {
    use tonic_types::StatusExt;
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no details: {status:?}"));
    assert_eq!(info.domain, "askance");
    info.reason.clone()
}

/// The fields that a status finds fault with.
pub(crate) fn fields(status: &tonic::Status) -> Vec<String> {
    use tonic_types::StatusExt;
    let details = status.get_error_details();
    let request = details.bad_request().unwrap_or_else(|| panic!("no field violations: {status:?}"));
    request.field_violations.iter().map(|violation| violation.field.clone()).collect()
}

/// Waits until something holds, or fails after ten seconds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// Keeps the engine's thread busy until it is told to go on, so that nothing is decided.
pub(crate) struct Held(Option<std::sync::mpsc::Sender<()>>);

impl Held {
    /// From now on.
    pub(crate) async fn new(engine: &Engine) -> Self {
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = oneshot::channel();
        let engine = engine.clone();
        tokio::spawn(async move {
            let _answer = engine
                .ask("default", move |_| {
                    let _gone = begun.send(());
                    let _told = wait.recv();
                })
                .await;
        });
        begins.await.unwrap();
        Self(Some(go_on))
    }

    /// Lets the engine go on.
    pub(crate) fn release(mut self) {
        drop(self.0.take());
    }
}
