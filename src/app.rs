//! The daemon put together: configuration, data directory, engine, server, and the order in which they end.
//!
//! The only file that knows every module. Deliberately absent: anything that decides or stores.

mod listening;
mod reload;

use crate::adapter::grpc::Services;
use crate::adapter::listener::Listener;
use crate::admin::Admin;
use crate::clock::Clock;
use crate::config::{Config, HttpSection};
use crate::decide::Settings;
use crate::domain::position::Position;
use crate::engine::{self, Engine, Opened};
use crate::eventlog::{self, AnchorState};
use crate::export::otlp::live::{self, Live};
use crate::export::otlp::own::OwnSpans;
use crate::notify::{self, Endpoint};
use crate::panic_button;
use crate::policy;
use crate::projection::Wanted;
use crate::rpc::{self, Bound};
use crate::telemetry;
use anyhow::{Context, Result, anyhow, bail};
use listening::Listening;
pub use listening::listening;
use reload::PolicyFile;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, oneshot};

/// Bytes of the key that keeps masked secrets apart.
const MASK_KEY_BYTES: usize = 32;
/// Threads of a partition that nothing but a fault of ours can end with a panic.
const ENGINE_THREADS: [&str; 2] = ["askance-commit", "askance-keeper"];

/// What an operator asks for once, at a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Go on without the acknowledged records behind what is left, up to this position.
    pub accept_lost_tail: Option<Position>,
    /// Drop the log's indexes and build them anew from its records.
    pub rebuild_index: bool,
}

/// A daemon whose engine is open.
pub struct App {
    dir: PathBuf,
    admin: Option<SocketAddr>,
    otlp: Option<(live::Settings, Option<OwnSpans>)>,
    http: HttpSection,
    engine: Engine,
    server: rpc::Options,
    policy: PolicyFile,
    endpoints: Vec<Endpoint>,
    broken: Arc<Notify>,
}

impl App {
    /// Creates what is missing in the data directory, and opens the engine: reads what must be read, and
    /// logs what it found. Blocks.
    pub fn open(config: &Config, start: Start) -> Result<Self> {
        let dir = config.data_dir();
        let policy_text = policy_text(config)?;
        let endpoints = endpoints(config)?;
        listening::check_addresses(config)?;
        check_partitions(dir, config.engine.partitions)?;
        create_private_dir(dir)?;
        let options =
            engine::Options { policy_text, mask_key: mask_key(dir)?, ..engine_options(config, start) };
        let broken = Arc::new(Notify::new());
        let notify = Arc::clone(&broken);
        telemetry::on_panic(move |thread| {
            if ENGINE_THREADS.contains(&thread) {
                notify.notify_one();
            }
        });
        let (engine, opened) = Engine::open(&options).map_err(|error| advise(error, dir))?;
        for (number, opened) in opened.iter().enumerate() {
            report(number, opened);
        }
        let policy = PolicyFile { path: config.engine.policy.0.clone(), mode: config.engine.mode };
        let admin = config.admin.listen.0;
        let server = server_options(config);
        let otlp = live::Settings::of(&config.otlp, dir).map(|settings| (settings, None));
        let (dir, http) = (dir.to_owned(), config.http.clone());
        Ok(Self { dir, admin, otlp, http, engine, server, policy, endpoints, broken })
    }

    /// With spans of its own work, to be sent where everything else is.
    pub fn with_own_spans(self, own: Option<OwnSpans>) -> Self {
        Self { otlp: self.otlp.map(|(settings, _)| (settings, own)), ..self }
    }

    /// The engine.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Binds the sockets. Needs a tokio runtime around it.
    pub fn bind(self) -> Result<Running> {
        let gateways = Services::new(self.http.hold, &self.dir);
        let bound = Bound::bind(self.engine.clone(), self.server, gateways.extras())?;
        let addresses = bound.addresses();
        let tcp = addresses.tcp.map(tracing::field::display);
        let unix = addresses.unix.as_ref().map(|path| tracing::field::display(path.display()));
        tracing::info!(tcp, unix, "listening");
        let admin = self.admin.map(|address| {
            let bound =
                Admin::bind(address).with_context(|| format!("cannot listen on {address} (admin)"))?;
            let address = bound.address().map(tracing::field::display);
            tracing::info!(address, "metrics and health");
            anyhow::Ok(bound)
        });
        let admin = admin.transpose()?;
        let doors = (Listener::open(&self.http, &self.dir)?, gateways);
        let panic = signal(SignalKind::user_defined1()).context("cannot listen for SIGUSR1")?;
        let told = Listening::tell(&self.dir, addresses);
        let Self { engine, dir: data_dir, policy, endpoints, broken, otlp, .. } = self;
        Ok(Running { engine, bound, data_dir, policy, endpoints, panic, broken, told, admin, otlp, doors })
    }
}

/// A daemon that clients can connect to, and that answers once it is run.
pub struct Running {
    engine: Engine,
    bound: Bound,
    policy: PolicyFile,
    data_dir: PathBuf,
    endpoints: Vec<Endpoint>,
    panic: Signal,
    broken: Arc<Notify>,
    told: Listening,
    admin: Option<Admin>,
    otlp: Option<(live::Settings, Option<OwnSpans>)>,
    /// Adapters over HTTP and over gRPC.
    doors: (Option<Listener>, Services),
}

impl Running {
    /// Where it listens.
    pub const fn addresses(&self) -> &rpc::server::Addresses {
        self.bound.addresses()
    }

    /// Serves until `shutdown` comes; then drains, writes the last snapshot, and lets go of the data
    /// directory. An engine thread that dies ends it with an error.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        let Self { engine, bound, data_dir, policy, endpoints, panic, broken, .. } = self;
        let Self { told: noted, admin, otlp, doors: (adapters, gateways), .. } = self;
        panic_button::before_serving(&engine, &data_dir).await;
        reload::tell_faults(&engine, &policy).await;
        let mut beside = notify::start(&engine, &endpoints, &notify::Settings::new(data_dir.clone()));
        beside.push(tokio::spawn(panic_button::on_signal(engine.clone(), panic)));
        beside.push(tokio::spawn(panic_button::on_file(engine.clone(), data_dir)));
        beside.push(tokio::spawn(reload::on_hangup(engine.clone(), policy)));
        let admin = admin.map(|admin| tokio::spawn(admin.run(engine.clone(), bound.door())));
        let live = otlp.map(|(settings, own)| Live::start(&engine, Some(bound.door()), own, &settings));
        let live = live.transpose()?;
        if let Some(adapters) = adapters {
            beside.push(tokio::spawn(adapters.run(bound.inside())));
        }
        gateways.open(bound.inside());
        let (tell, told) = oneshot::channel();
        let watched = engine.clone();
        let served = bound
            .run(async move {
                let died = tokio::select! {
                    () = shutdown => false,
                    () = watched.closed() => true,
                    () = broken.notified() => true,
                };
                tracing::info!(died, "stopping: no more requests are taken");
                // The receiver lives in this function.
                let _heard = tell.send(died);
            })
            .await;
        gateways.close();
        drop(noted);
        beside.iter().for_each(tokio::task::JoinHandle::abort);
        if let Some(admin) = admin {
            admin.abort();
        }
        if let Some(live) = live {
            live.stop().await;
        }
        // Serving may end before it began to listen for what ends it.
        let died = tokio::select! {
            biased;
            () = engine.closed() => true,
            died = told => died.unwrap_or(false),
        };
        if died {
            bail!(
                "an engine thread died; the log above says why. what was acknowledged is on disk: start again"
            );
        }
        let stopped = engine.stop().await;
        served?;
        stopped.context("the last snapshot was not written; the next start folds the log instead")?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// SIGTERM and SIGINT, heard from the moment this is made.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen. Needs a tokio runtime around it.
    pub fn listen() -> Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    /// Waits for the first signal. From then on a second one ends the process at once.
    pub async fn first(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("a second signal: ending at once, without a last snapshot");
            exit_now()
        });
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[expect(clippy::exit, reason = "the operator insists; what was acknowledged is on disk")]
fn exit_now() -> ! {
    std::process::exit(1)
}

/// Settings of the engine, but for the policy and the key, which stand in files.
fn engine_options(config: &Config, start: Start) -> engine::Options {
    let engine = &config.engine;
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    engine::Options {
        dir: config.data_dir().to_owned(),
        partitions: u32::try_from(engine.partitions).unwrap_or(u32::MAX),
        queue_max: engine.queue_max as usize,
        snapshot_every: engine.snapshot_every,
        policy_text: String::new(),
        mode: engine.mode,
        settings: Settings {
            sessions_max: engine.sessions_max as usize,
            idle_us: micros(engine.session_idle),
            age_max_us: micros(engine.session_age_max),
            gap_us: micros(engine.session_gap),
            skew_max_us: micros(engine.clock_skew_max),
            session_order: engine.session_order.0.clone(),
            budget: Wanted {
                rate_ppm: narrow(config.budget.rate_ppm),
                reviews_per_day: narrow(config.budget.reviews_per_day),
                audit_ppm: narrow(config.budget.audit_ppm),
            },
        },
        log: eventlog::Options {
            accept_lost_tail: start.accept_lost_tail,
            rebuild_index: start.rebuild_index,
            ..log_options(config)
        },
        mask_key: [0; MASK_KEY_BYTES],
        clock: Clock::system(),
    }
}

/// Settings of the logs.
pub fn log_options(config: &Config) -> eventlog::Options {
    let log = &config.log;
    eventlog::Options {
        write_buffer_bytes: log.write_buffer.0,
        block_cache_bytes: log.block_cache.0,
        open_files_max: u32::try_from(log.open_files_max).unwrap_or(u32::MAX),
        ballast_bytes: log.ballast.0,
        free_bytes_low: log.free_low.0,
        free_bytes_hard: log.free_hard.0,
        ..eventlog::Options::default()
    }
}

fn server_options(config: &Config) -> rpc::Options {
    let server = &config.server;
    rpc::Options {
        tcp: server.listen.0,
        unix: config.socket_path(),
        decision_timeout: server.decision_timeout,
        fallback: server.fallback,
        grace: server.shutdown_grace,
        limits: rpc::Limits {
            message_bytes_max: server.message_size_max.0 as usize,
            connections_max: server.connections_max as usize,
            connections_per_peer_max: server.connections_per_peer_max as usize,
            requests_per_connection_max: server.requests_per_connection_max as u32,
            stream_in_flight_max: server.stream_in_flight_max as usize,
            watches_max: server.watches_max as usize,
            reads_max: server.reads_max as usize,
            ..rpc::Limits::default()
        },
        ..rpc::Options::default()
    }
}

fn create_private_dir(dir: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot create the data directory {}", dir.display()))?;
    let rights = std::fs::metadata(dir)?.mode() & 0o777;
    if rights & 0o077 != 0 {
        let rights = format!("{rights:04o}");
        tracing::warn!(dir = ?dir, %rights, "other users can look into the data directory; `chmod 700` it");
    }
    Ok(())
}

/// The partitions that a data directory has.
pub fn partition_dirs(dir: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(fault) => bail!("cannot read the data directory {}: {fault}", dir.display()),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_prefix('p')).filter(|digits| digits.len() == 3);
        if let Some(number) = number.and_then(|digits| digits.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether there is a log in the directory and no daemon has it open.
pub fn is_idle(dir: &Path) -> bool {
    let Ok(found) = partition_dirs(dir) else { return false };
    let Some((_, first)) = found.first() else { return false };
    File::open(first.join("lock")).is_ok_and(|lock| {
        // Asked for and given back with the file; a daemon holds it as long as it runs.
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok()
    })
}

/// A tenant's partition follows from their number: another number would look for it elsewhere.
fn check_partitions(dir: &Path, wanted: u64) -> Result<()> {
    let found = partition_dirs(dir)?.len() as u64;
    if found != 0 && found != wanted {
        bail!(
            "{} has {found} partitions and the configuration says {wanted}: set engine.partitions = {found}",
            dir.display()
        );
    }
    Ok(())
}

/// The policy file's text, checked; empty: the built-in policy.
fn policy_text(config: &Config) -> Result<String> {
    let Some(path) = &config.engine.policy.0 else { return Ok(String::new()) };
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the policy {name}"))?;
    if let Err(faults) = policy::parse(&text, config.engine.mode, Clock::system().now()) {
        let faults: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        bail!("the policy {name} is not accepted:{faults}");
    }
    Ok(text)
}

/// Whom to tell of reviews and locks, from the file of endpoints.
fn endpoints(config: &Config) -> Result<Vec<Endpoint>> {
    let Some(path) = &config.notify.endpoints.0 else { return Ok(Vec::new()) };
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the endpoints {name}"))?;
    notify::parse(&text, |secret| std::fs::read_to_string(secret)).map_err(|faults| {
        let faults: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        anyhow!("the endpoints {name} are not accepted:{faults}")
    })
}

/// The key that keeps masked secrets apart: made once, never shown.
fn mask_key(dir: &Path) -> Result<[u8; MASK_KEY_BYTES]> {
    let keys = dir.join("keys");
    let path = keys.join("mask.key");
    let doing = |what: &str| format!("cannot {what} {}", path.display());
    match File::open(&path) {
        Ok(mut file) => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).with_context(|| doing("read"))?;
            let length = bytes.len();
            bytes.try_into().map_err(|_| {
                anyhow!(
                    "{} is {length} bytes long, not {MASK_KEY_BYTES}: restore it from a backup, or remove it \
                     and masked values will not be known again",
                    path.display()
                )
            })
        }
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => {
            if !partition_dirs(dir)?.is_empty() {
                tracing::warn!(path = ?path, "the masking key is gone and made anew: masked values are not known again");
            }
            DirBuilder::new().recursive(true).mode(0o700).create(&keys).with_context(|| doing("create"))?;
            let mut key = [0; MASK_KEY_BYTES];
            getrandom::fill(&mut key).map_err(|fault| anyhow!("no random bytes: {fault}"))?;
            write_once(&keys, &path, &key).with_context(|| doing("write"))?;
            Ok(key)
        }
        Err(fault) => Err(fault).with_context(|| doing("open")),
    }
}

/// Writes a file whole or not at all.
fn write_once(dir: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    File::open(dir)?.sync_all()
}

/// Adds to an error what to do next.
fn advise(error: engine::Error, dir: &Path) -> anyhow::Error {
    let text = error.to_string();
    if text.contains("in use by another writer") {
        let talk = listening(dir).first().map_or_else(String::new, |address| {
            format!("talk to it with `--daemon {}`, or ", crate::detector::sentence::shown(address))
        });
        return anyhow!("{text}; a daemon or another command has it open: {talk}stop it first");
    }
    anyhow!(error)
}

/// Logs what opening a partition found.
fn report(partition: usize, opened: &Opened) {
    let (log, state) = (&opened.log, &opened.state);
    tracing::info!(
        partition,
        created = log.created,
        tail = log.tail.get(),
        reindexed = log.reindexed,
        snapshot = state.snapshot.get(),
        folded = state.folded,
        "opened the log"
    );
    for skipped in &state.skipped {
        tracing::warn!(partition, why = ?skipped, "a snapshot could not be used; older ones and the log stood in");
    }
    if log.torn_tail {
        tracing::warn!(partition, "a torn write at the end, never acknowledged, was cut off");
    }
    if let Some(lost) = &log.lost_tail {
        let (acknowledged, kept) = (lost.acknowledged.get(), lost.kept.get());
        tracing::error!(
            partition,
            acknowledged,
            kept,
            "acknowledged records are lost, as the operator accepted"
        );
    }
    match log.anchor {
        AnchorState::Agrees | AnchorState::Fresh => {}
        AnchorState::SlotDamaged => {
            tracing::warn!(partition, "one slot of the anchor was damaged and is made anew")
        }
        AnchorState::Missing => {
            tracing::warn!(
                partition,
                "the anchor was missing and is made anew: a cut tail would not have been seen"
            );
        }
    }
    if log.ballast_released || !log.ballast {
        tracing::warn!(partition, "the ballast file is not there: the disk is nearly full");
    }
}
