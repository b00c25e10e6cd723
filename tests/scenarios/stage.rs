//! The stage of the stories: a daemon with a clock that is set, people with tokens, an agent that asks.

use askance::clock::Clock;
use askance::decide::Settings;
use askance::domain::Timestamp;
use askance::domain::decision::Mode;
use askance::engine::{self, Engine};
use askance::eventlog;
use askance::proto::v1;
use askance::proto::v1::access_service_client::AccessServiceClient;
use askance::proto::v1::control_service_client::ControlServiceClient;
use askance::proto::v1::gateway_service_client::GatewayServiceClient;
use askance::proto::v1::review_service_client::ReviewServiceClient;
use askance::rpc::{Bound, Options};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Tuesday 2026-11-17 14:00 UTC.
pub fn tuesday() -> Timestamp {
    Timestamp::parse("2026-11-17T14:00:00Z").unwrap()
}

/// A policy of the article's kind: who may review what, and what happens when nobody is there.
pub const POLICY: &str = "version: 1\n";

/// Somebody with a credential, or without.
#[derive(Clone, Default)]
pub struct Who(Option<MetadataValue<Ascii>>);

impl Who {
    pub fn with(secret: &str) -> Self {
        Self(Some(format!("Bearer {secret}").parse().unwrap()))
    }
}

impl Interceptor for Who {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

pub type Line = InterceptedService<Channel, Who>;

/// A daemon in a directory that outlives it.
pub struct Stage {
    pub engine: Engine,
    pub clock: Clock,
    pub tcp: String,
    pub unix: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

fn engine_options(dir: &Path, clock: &Clock, policy: &str) -> engine::Options {
    engine::Options {
        dir: dir.join("data"),
        partitions: 1,
        queue_max: 8_192,
        snapshot_every: 1_000_000,
        policy_text: policy.to_owned(),
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
        clock: clock.clone(),
    }
}

impl Stage {
    /// Raises the curtain over this directory.
    pub async fn open(dir: &Path, clock: &Clock) -> Self {
        Self::with_policy(dir, clock, POLICY).await
    }

    pub async fn with_policy(dir: &Path, clock: &Clock, policy: &str) -> Self {
        let options = engine_options(dir, clock, policy);
        let (engine, _) = Engine::open(&options).unwrap();
        let unix = dir.join("sock");
        let options = Options {
            tcp: Some("127.0.0.1:0".parse().unwrap()),
            unix: Some(unix.clone()),
            grace: Duration::from_millis(200),
            limits: askance::rpc::Limits {
                connections_max: 4_096,
                connections_per_peer_max: 4_096,
                requests_per_connection_max: 4_096,
                ..askance::rpc::Limits::default()
            },
            ..Options::default()
        };
        let bound = Bound::bind(engine.clone(), options, Vec::new()).unwrap();
        let tcp = bound.tcp().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(async move {
            let shutdown = async {
                let _dropped = stopped.await;
            };
            bound.run(shutdown).await.unwrap();
        });
        let clock = clock.clone();
        Self { engine, clock, tcp, unix, stop: Some(stop), running: Some(running) }
    }

    /// Lowers it: everything is on disk.
    pub async fn close(mut self) {
        drop(self.stop.take());
        self.running.take().unwrap().await.unwrap();
        self.engine.stop().await.unwrap();
    }

    /// A line over TCP.
    pub async fn line(&self, who: &Who) -> Line {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.tcp)).unwrap();
        InterceptedService::new(endpoint.connect().await.unwrap(), who.clone())
    }

    /// A line over the Unix socket, as the daemon's own user.
    pub async fn socket(&self) -> Line {
        let endpoint = Endpoint::from_shared(format!("unix://{}", self.unix.display())).unwrap();
        InterceptedService::new(endpoint.connect().await.unwrap(), Who::default())
    }

    pub async fn gateway(&self) -> GatewayServiceClient<Line> {
        GatewayServiceClient::new(self.socket().await)
    }

    pub async fn control(&self) -> ControlServiceClient<Line> {
        ControlServiceClient::new(self.socket().await)
    }

    /// Reviews as somebody with a credential sees them.
    pub async fn reviews(&self, who: &Who) -> ReviewServiceClient<Line> {
        ReviewServiceClient::new(self.line(who).await)
    }

    /// Makes a token.
    pub async fn token(&self, subject: &str, role: v1::Role, groups: &[&str]) -> Who {
        let mut access = AccessServiceClient::new(self.socket().await);
        let request = v1::CreateTokenRequest {
            subject: subject.to_owned(),
            role: role.into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..v1::CreateTokenRequest::default()
        };
        Who::with(&access.create_token(request).await.unwrap().into_inner().secret)
    }

    pub async fn reviewer(&self, subject: &str, groups: &[&str]) -> ReviewServiceClient<Line> {
        let who = self.token(subject, v1::Role::Reviewer, groups).await;
        self.reviews(&who).await
    }

    /// Time passes up to here.
    pub fn it_is(&self, at: Timestamp) {
        self.clock.set(at);
    }

    /// Time passes.
    pub fn pass(&self, minutes: i64) {
        self.clock.set(self.clock.now().plus_micros(minutes * 60_000_000));
    }
}

/// A call of the agent `agent:deployer`, for alice.
pub fn call(id: &str, tool: &str, arguments: &str) -> v1::ToolCall {
    call_of("s-1", id, tool, arguments)
}

pub fn call_of(session: &str, id: &str, tool: &str, arguments: &str) -> v1::ToolCall {
    v1::ToolCall {
        call_id: id.to_owned(),
        tool: tool.to_owned(),
        server: "production-tools".to_owned(),
        arguments_json: arguments.as_bytes().to_vec().into(),
        principal_chain: vec!["user:alice".to_owned(), "agent:deployer".to_owned()],
        session: Some(v1::SessionHints { session_id: session.to_owned(), ..Default::default() }),
        ..v1::ToolCall::default()
    }
}

/// The migration of the article.
pub fn migration(id: &str) -> v1::ToolCall {
    call(id, "run_database_migration", r#"{"migration_id":"0047_drop_legacy_users","db":"prod-postgres"}"#)
}

pub async fn ask(gateway: &mut GatewayServiceClient<Line>, call: v1::ToolCall) -> v1::Decision {
    let request = v1::EvaluateRequest { call: Some(call), ..v1::EvaluateRequest::default() };
    gateway.evaluate(request).await.unwrap().into_inner().decision.unwrap()
}

/// What a decision says: verdict and code.
pub fn says(decision: &v1::Decision) -> (v1::Verdict, v1::ReasonCode) {
    (decision.verdict(), decision.reason_code())
}

pub async fn get(reviews: &mut ReviewServiceClient<Line>, id: &str) -> v1::GetReviewResponse {
    let request = v1::GetReviewRequest { review_id: id.to_owned(), ..v1::GetReviewRequest::default() };
    reviews.get_review(request).await.unwrap().into_inner()
}

pub async fn state(reviews: &mut ReviewServiceClient<Line>, id: &str) -> v1::ReviewState {
    get(reviews, id).await.review.unwrap().state()
}

pub async fn vote(
    reviews: &mut ReviewServiceClient<Line>,
    decision: &v1::Decision,
    choice: v1::VoteChoice,
) -> Result<v1::Review, Status> {
    let request = v1::CastVoteRequest {
        review_id: decision.review_id.clone(),
        choice: choice.into(),
        call_digest: decision.call_digest.clone(),
        comment: "as said on the phone".to_owned(),
        ..v1::CastVoteRequest::default()
    };
    Ok(reviews.cast_vote(request).await?.into_inner().review.unwrap())
}

/// Why a vote or another request was refused.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    use tonic_types::StatusExt;
    let status = answer.unwrap_err();
    let details = status.get_error_details();
    (status.code(), details.error_info().map(|info| info.reason.clone()).unwrap_or_default())
}

/// Waits until something that a ticker or a task does has happened, or fails after ten seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..1_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
