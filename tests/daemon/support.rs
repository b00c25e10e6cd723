//! A daemon process over a temporary directory, and calls to ask it with.

use askance::proto::v1::control_service_client::ControlServiceClient;
use askance::proto::v1::gateway_service_client::GatewayServiceClient;
use askance::proto::v1::review_service_client::ReviewServiceClient;
use askance::proto::v1::timeline_service_client::TimelineServiceClient;
use askance::proto::v1::{Decision, EvaluateRequest, GetStatusRequest, SessionHints, ToolCall};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// The program under test.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_askance"));
    // Settings of these tests are none of the daemon's.
    command.env_remove("ASKANCE_KILLS").env_remove("ASKANCE_FLOOD");
    command
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    socket: PathBuf,
}

/// Arguments of `serve` for a directory, on a Unix socket only and without ballast.
pub fn serve_arguments(dir: &Path, socket: &Path) -> Vec<String> {
    [
        "serve",
        "--data-dir",
        &dir.display().to_string(),
        "--listen",
        "off",
        "--unix",
        &socket.display().to_string(),
        "--log-filter",
        "warn",
    ]
    .map(str::to_owned)
    .to_vec()
}

impl Daemon {
    /// Starts a daemon and waits until it answers.
    pub async fn start(dir: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_with(program(), dir, environment).await
    }

    /// The same with further arguments of `serve`.
    #[cfg(feature = "faults")]
    pub async fn start_with_arguments(dir: &Path, arguments: &[&str]) -> Self {
        let socket = dir.with_extension("sock");
        let _stale = std::fs::remove_file(&socket);
        let mut command = program();
        command.args(serve_arguments(dir, &socket)).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self::started(command.spawn().expect("the daemon starts"), socket).await
    }

    /// The same through another program, which gets the daemon's command line behind its own.
    pub async fn start_with(mut command: Command, dir: &Path, environment: &[(&str, &str)]) -> Self {
        let socket = dir.with_extension("sock");
        let _stale = std::fs::remove_file(&socket);
        command.args(serve_arguments(dir, &socket));
        command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null());
        Self::started(command.spawn().expect("the daemon starts"), socket).await
    }

    /// Starts a program as a daemon; if it ends before it answers, what it said.
    pub async fn try_start(mut command: Command, socket: PathBuf) -> Result<Self, String> {
        let _stale = std::fs::remove_file(&socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut daemon = Self { child: command.spawn().expect("the daemon starts"), socket };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !daemon.answers().await {
            if daemon.child.try_wait().unwrap().is_some() {
                let mut said = String::new();
                daemon.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                return Err(said);
            }
            assert!(Instant::now() < deadline, "the daemon neither answers nor ends");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        Ok(daemon)
    }

    async fn started(child: Child, socket: PathBuf) -> Self {
        let mut daemon = Self { child, socket };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !daemon.answers().await {
            assert!(daemon.child.try_wait().unwrap().is_none(), "the daemon stopped at start");
            assert!(Instant::now() < deadline, "the daemon does not answer");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        daemon
    }

    async fn answers(&self) -> bool {
        self.socket.exists() && self.serves().await == Some(true)
    }

    /// What health says: whether it serves; none if nobody answers.
    pub async fn serves(&self) -> Option<bool> {
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel(&self.socket).await?);
        let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
        health.check(request).await.ok().map(|answer| answer.into_inner().status == 1)
    }

    /// Waits until health says this.
    pub async fn serving(&self, wanted: bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.serves().await != Some(wanted) {
            assert!(Instant::now() < deadline, "health never said that it is {wanted} that we serve");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A counter of the status page, over all partitions.
    pub async fn counter(&self, name: &str) -> u64 {
        let channel = channel(&self.socket).await.expect("the daemon is there");
        let mut client = ControlServiceClient::new(channel);
        let status = client.get_status(GetStatusRequest::default()).await.unwrap().into_inner();
        let counters = status.partitions.iter().flat_map(|partition| &partition.counters);
        counters.filter(|counter| counter.name == name).map(|counter| counter.value).sum()
    }

    /// A client for looking back.
    pub async fn timeline(&self) -> TimelineServiceClient<Channel> {
        TimelineServiceClient::new(channel(&self.socket).await.expect("the daemon is there"))
    }

    /// A client for reviews.
    pub async fn reviews(&self) -> ReviewServiceClient<Channel> {
        ReviewServiceClient::new(channel(&self.socket).await.expect("the daemon is there"))
    }

    /// A client on a connection of its own.
    pub async fn client(&self) -> GatewayServiceClient<Channel> {
        GatewayServiceClient::new(channel(&self.socket).await.expect("the daemon is there"))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without a warning.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and waits; its exit code.
    pub fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

async fn channel(socket: &Path) -> Option<Channel> {
    Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect().await.ok()
}

/// A call with its own number.
pub fn call(run: &str, number: u64, session: &str, tool: &str) -> ToolCall {
    ToolCall {
        call_id: format!("{run}-{number}"),
        tool: tool.to_owned(),
        server: "production-tools".to_owned(),
        arguments_json: format!(r#"{{"service":"svc-{}","count":{number}}}"#, number % 7).into_bytes().into(),
        principal_chain: vec!["user:alice".to_owned(), "agent:ops".to_owned()],
        session: Some(SessionHints { session_id: session.to_owned(), ..SessionHints::default() }),
        ..ToolCall::default()
    }
}

/// Asks about a call.
pub async fn evaluate(
    client: &mut GatewayServiceClient<Channel>,
    call: ToolCall,
) -> Result<Decision, Status> {
    let request = EvaluateRequest { call: Some(call), ..EvaluateRequest::default() };
    Ok(client.evaluate(request).await?.into_inner().decision.expect("a decision"))
}

/// Runs a command of the program over a directory; its exit code and what it printed.
pub fn run(arguments: &[&str], dir: &Path) -> (i32, String) {
    let output = program().args(arguments).arg("--data-dir").arg(dir).output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), text)
}

/// Waits until nobody holds the log in this directory: a killed daemon behind a tracer takes a moment to go.
pub async fn released(dir: &Path) {
    let lock = std::fs::File::open(dir.join("p000/lock")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        assert!(Instant::now() < deadline, "somebody still holds {}", dir.display());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
