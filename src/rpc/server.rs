//! Assembly: sockets, services, health, and the order in which everything stops.

use super::Options;
use super::accept::{Conn, Gate, Listener, Refused};
use super::access::Access;
use super::connection::{self, Http};
use super::control::Control;
use super::gateway::Gateway;
use super::inside::Inside;
use super::models::Models;
use super::policy::Policies;
use super::reviews::Reviews;
use super::router::{Extra, Router};
use super::shared::{Phase, Shared};
use super::tally::{ANSWERS, Tally, Times};
use super::timeline::Timeline;
use super::tools::Tools;
use crate::engine::Engine;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::v1::access_service_server::AccessServiceServer;
use crate::proto::v1::control_service_server::ControlServiceServer;
use crate::proto::v1::gateway_service_server::GatewayServiceServer;
use crate::proto::v1::model_service_server::ModelServiceServer;
use crate::proto::v1::policy_service_server::PolicyServiceServer;
use crate::proto::v1::review_service_server::ReviewServiceServer;
use crate::proto::v1::timeline_service_server::TimelineServiceServer;
use crate::proto::v1::tool_service_server::ToolServiceServer;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

/// Replays at a time: each holds a state of its own and a core.
const REPLAYS_MAX: usize = 1;
/// Pause between two looks at whether the engine can write.
const HEALTH_PAUSE: Duration = Duration::from_millis(200);
/// Time for cut connections to notice.
const CUT_PAUSE: Duration = Duration::from_secs(1);
/// Pause after the system refused to hand over a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TCP address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The Unix socket cannot be listened on.
    #[error("cannot listen on the socket {}: {source}", path.display())]
    Unix {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Neither a TCP address nor a Unix socket is set.
    #[error("nothing to listen on: neither a TCP address nor a Unix socket is set")]
    NothingToListenOn,
    /// The tokens cannot be read.
    #[error("the tokens cannot be read: {0}")]
    Tokens(String),
    /// The committed descriptors do not fit the reflection service.
    #[error("the API's descriptors are unusable: {0}")]
    Descriptors(String),
}

/// A server whose sockets are bound: clients can connect, and are answered once it runs.
pub struct Bound {
    listeners: Vec<Listener>,
    addresses: Addresses,
    router: Arc<Router>,
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    health: HealthReporter,
}

/// Where a server listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// TCP address, with the port that was really bound.
    pub tcp: Option<SocketAddr>,
    /// Unix socket.
    pub unix: Option<PathBuf>,
}

impl Bound {
    /// Binds the sockets and puts the services together. Needs a tokio runtime around it.
    pub fn bind(
        engine: Engine,
        options: Options,
        extra: impl IntoIterator<Item = Extra>,
    ) -> Result<Self, Error> {
        let listeners = listen(&options)?;
        let addresses =
            Addresses { tcp: listeners.iter().find_map(Listener::tcp_address), unix: options.unix.clone() };
        let (phase, following) = watch::channel(Phase::Serving);
        let limits = &options.limits;
        let shared = Arc::new(Shared {
            phase: following,
            reads: Semaphore::new(limits.reads_max),
            watches: Arc::new(Semaphore::new(limits.watches_max)),
            replays: Arc::new(Semaphore::new(REPLAYS_MAX)),
            streams: Arc::new(Semaphore::new(limits.streams_max)),
            feeds: Arc::new(Semaphore::new(limits.feeds_max)),
            waits: Arc::new(Semaphore::new(limits.waits_max)),
            identities: Arc::default(),
            started: engine.now(),
            gate: Arc::new(Gate::new(limits)),
            tally: Arc::default(),
            engine,
            options,
        });
        let health = HealthReporter::new();
        let router = assemble(&shared, &health, extra)?;
        Ok(Self { listeners, addresses, router: Arc::new(router), shared, phase, health })
    }

    /// Where it listens.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The TCP address that was bound.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        self.addresses.tcp
    }

    /// The Unix socket that was bound.
    pub fn unix(&self) -> Option<&Path> {
        self.addresses.unix.as_deref()
    }

    /// A view of the door's counters that outlives the server.
    pub fn door(&self) -> Door {
        Door { gate: Arc::clone(&self.shared.gate), tally: Arc::clone(&self.shared.tally) }
    }

    /// A way to the services from inside this process.
    pub fn inside(&self) -> Inside {
        Inside::new(Arc::clone(&self.router), Arc::clone(&self.shared), self.phase.subscribe())
    }

    /// Serves until `shutdown` comes: then health says NOT_SERVING, the sockets close, streams are told,
    /// open requests have the grace to end, and the rest is cut. The engine goes on; stop it afterwards.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self { listeners, router, shared, phase, health, .. } = self;
        let http = Arc::new(connection::http(&shared.options.limits));
        shared.learn_tokens().await.map_err(|failure| Error::Tokens(failure.message))?;
        set_health(&health, shared.engine.is_writable()).await;
        let watching = tokio::spawn(watch_health(Arc::clone(&shared), health.clone()));
        let accepting: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let door = Accepting {
                    router: Arc::clone(&router),
                    shared: Arc::clone(&shared),
                    http: Arc::clone(&http),
                    phase: phase.subscribe(),
                };
                tokio::spawn(door.accept(listener))
            })
            .collect();
        shutdown.await;
        watching.abort();
        set_health(&health, false).await;
        phase.send_replace(Phase::Draining);
        for task in accepting {
            let _ended = task.await;
        }
        // Services hold receivers too; what is waited for is the door's count of connections.
        let drained = tokio::time::timeout(shared.options.grace, no_connections(&shared.gate)).await;
        if drained.is_err() {
            tracing::warn!(
                open = shared.gate.open(),
                "connections were cut: their requests did not end in time"
            );
        }
        phase.send_replace(Phase::Cut);
        let _gone = tokio::time::timeout(CUT_PAUSE, no_connections(&shared.gate)).await;
        Ok(())
    }
}

/// The door's counters.
#[derive(Clone)]
pub struct Door {
    gate: Arc<Gate>,
    tally: Arc<Tally>,
}

impl Door {
    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.gate.open()
    }

    /// Connections that were turned away so far.
    pub fn refused(&self) -> Refused {
        self.gate.refused()
    }

    /// Times to answer a call in, in the order of [`ANSWERS`](super::tally::ANSWERS).
    pub fn times(&self) -> [Times; ANSWERS.len()] {
        self.tally.times()
    }

    /// Tenant, tool and calls answered since the start; capped, see [`TOOLS_MAX`](super::tally::TOOLS_MAX).
    pub fn tools(&self) -> Vec<(String, String, u64)> {
        self.tally.tools()
    }
}

fn listen(options: &Options) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    if let Some(address) = options.tcp {
        listeners.push(Listener::tcp(address).map_err(|source| Error::Tcp { address, source })?);
    }
    if let Some(path) = &options.unix {
        let listener = Listener::unix(path);
        listeners.push(listener.map_err(|source| Error::Unix { path: path.clone(), source })?);
    }
    if listeners.is_empty() { Err(Error::NothingToListenOn) } else { Ok(listeners) }
}

fn assemble(
    shared: &Arc<Shared>,
    health: &HealthReporter,
    extra: impl IntoIterator<Item = Extra>,
) -> Result<Router, Error> {
    let limits = &shared.options.limits;
    let max = limits.message_bytes_max;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let unusable = |error: tonic_reflection::server::Error| Error::Descriptors(error.to_string());
    let health = HealthService::from_health_reporter(health.clone());
    let clock = shared.engine.clone();
    let router = Router::new(limits, Arc::clone(&shared.identities), move || clock.now())
        .add(GatewayServiceServer::new(Gateway::new(Arc::clone(shared))).max_decoding_message_size(max))
        .add(ReviewServiceServer::new(Reviews::new(Arc::clone(shared))).max_decoding_message_size(max))
        .add(AccessServiceServer::new(Access::new(Arc::clone(shared))).max_decoding_message_size(max))
        .add(TimelineServiceServer::new(Timeline::new(Arc::clone(shared))).max_decoding_message_size(max))
        .add(ModelServiceServer::new(Models::new(Arc::clone(shared))).max_decoding_message_size(max))
        .add(ToolServiceServer::new(Tools::new(Arc::clone(shared))).max_decoding_message_size(max))
        .add(PolicyServiceServer::new(Policies::new(Arc::clone(shared))).max_decoding_message_size(max))
        .add(ControlServiceServer::new(Control::new(Arc::clone(shared))).max_decoding_message_size(max))
        .add(tonic_health::pb::health_server::HealthServer::new(health).max_decoding_message_size(max))
        .add(reflection().build_v1().map_err(unusable)?.max_decoding_message_size(max))
        .add(reflection().build_v1alpha().map_err(unusable)?.max_decoding_message_size(max));
    Ok(extra.into_iter().fold(router, Router::add_extra))
}

/// What accepts the connections of one socket.
struct Accepting {
    router: Arc<Router>,
    shared: Arc<Shared>,
    http: Arc<Http>,
    phase: watch::Receiver<Phase>,
}

impl Accepting {
    async fn accept(mut self, listener: Listener) {
        loop {
            let accepted = tokio::select! {
                _ = self.phase.changed() => return,
                accepted = listener.accept() => accepted,
            };
            let (io, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(error = ?error.to_string(), "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(permit) = self.shared.gate.enter(&peer) else {
                tracing::debug!(?peer, "a connection was refused: there are too many");
                continue;
            };
            let (router, http) = (Arc::clone(&self.router), Arc::clone(&self.http));
            let (mut phase, limits) = (self.phase.clone(), &self.shared.options.limits);
            let (timeout, age_max) = (limits.handshake_timeout, limits.connection_age_max);
            tokio::spawn(async move {
                let conn = tokio::select! {
                    conn = Conn::greet(io, permit, timeout) => conn,
                    _ = phase.wait_for(|phase| *phase != Phase::Serving) => None,
                };
                if let Some(conn) = conn {
                    connection::serve(conn, peer, &http, router, phase, age_max).await;
                }
            });
        }
    }
}

/// Waits until the last connection is gone.
async fn no_connections(gate: &Gate) {
    while gate.open() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn set_health(health: &HealthReporter, serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        health.set_service_status(*service, status).await;
    }
}

/// Names that health is told by; empty: the server as a whole.
const SERVICES: &[&str] = &[
    "",
    "askance.v1.GatewayService",
    "askance.v1.ReviewService",
    "askance.v1.AccessService",
    "askance.v1.TimelineService",
    "askance.v1.ToolService",
    "askance.v1.ModelService",
    "askance.v1.ControlService",
];

/// Tells health whether the engine can write.
async fn watch_health(shared: Arc<Shared>, health: HealthReporter) {
    let mut told = None;
    loop {
        let writable = shared.engine.is_writable();
        if told != Some(writable) {
            set_health(&health, writable).await;
            told = Some(writable);
        }
        tokio::time::sleep(HEALTH_PAUSE).await;
    }
}
