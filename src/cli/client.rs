//! A connection to the daemon; or, where none answers, to one inside this process over the same directory.

use super::Global;
use super::output::Output;
use crate::app::{App, Start, is_idle, listening};
use crate::config::{Config, Listen, Socket};
use crate::connector::{Connector, tls};
use crate::mcp::gate::{Boxed, Link};
use anyhow::{Context, Result, anyhow, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{self, Endpoint};

/// Time to connect in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Where the daemon listens unless it is told otherwise.
const DEFAULT_SCHEME: &str = "http://";

/// What to do where no daemon answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// Say so.
    Fail,
    /// Open the data directory here, if there is one.
    OpenExisting,
    /// Open the data directory here, and make it if need be.
    OpenOrCreate,
}

/// What clients talk over.
pub(super) type Channel = InterceptedService<transport::Channel, Credential>;

/// Sends the token's secret with every request, if there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Credential(Option<MetadataValue<Ascii>>);

impl Credential {
    fn new(secret: Option<&str>) -> Result<Self> {
        let Some(secret) = secret.map(str::trim).filter(|secret| !secret.is_empty()) else {
            return Ok(Self(None));
        };
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {secret}").parse().context("the token holds letters that no token has")?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Credential {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A connection.
pub(super) struct Connection {
    channel: transport::Channel,
    credential: Credential,
    embedded: Option<Embedded>,
}

/// A daemon inside this process.
struct Embedded {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
    dir: PathBuf,
}

impl Connection {
    /// The channel, for a client.
    pub(super) fn channel(&self) -> Channel {
        InterceptedService::new(self.channel.clone(), self.credential.clone())
    }

    /// Stops the daemon if it is inside this process, and waits until everything is on disk.
    pub(super) async fn close(self) -> Result<()> {
        drop(self.channel);
        match self.embedded {
            Some(embedded) => embedded.close().await,
            None => Ok(()),
        }
    }

    /// The connection for a proxy.
    pub(super) fn link(self) -> Link {
        let close = self.embedded.map(|embedded| Box::pin(embedded.close()) as Boxed<Result<()>>);
        Link { channel: self.channel, bearer: self.credential.0, close }
    }
}

impl Embedded {
    async fn close(self) -> Result<()> {
        let _gone_already = self.stop.send(());
        let stopped = self.task.await.context("the daemon in this process died")?;
        let _left_behind = std::fs::remove_dir_all(&self.dir);
        stopped
    }
}

/// Connects to the daemon, or does what is said otherwise.
pub(super) async fn connect(global: &Global, otherwise: Otherwise, output: &Output) -> Result<Connection> {
    let config = global.load()?;
    if global.embedded {
        return embed(config).await;
    }
    if let Some(connection) = connect_if_there(global, output).await? {
        return Ok(connection);
    }
    let addresses = addresses(global, &config);
    let nobody = format!("no daemon answers at {}", addresses.join(" or "));
    let dir = config.data_dir().to_owned();
    if otherwise == Otherwise::Fail {
        bail!("{nobody}; start one with `askance serve`, name one with --daemon, or give --embedded");
    }
    if otherwise == Otherwise::OpenExisting && !dir.exists() {
        bail!(
            "{nobody}, and there is no data directory {}; start one with `askance serve`, or name the directory \
             with --data-dir",
            dir.display()
        );
    }
    output.note(&format!("{nobody}; opening {} in this process", dir.display()));
    embed(config).await
}

/// Connects to the daemon, if one answers. One that was named must.
pub(super) async fn connect_if_there(global: &Global, output: &Output) -> Result<Option<Connection>> {
    let credential = Credential::new(global.token.as_deref())?;
    if let Some(address) = &global.daemon {
        let channel = dial(address, global.daemon_ca.as_deref())
            .await
            .with_context(|| format!("no daemon answers at {address}; start one with `askance serve`"))?;
        return Ok(Some(Connection { channel, credential, embedded: None }));
    }
    for address in &addresses(global, &global.load()?) {
        if let Ok(channel) = dial(address, None).await {
            if !address.starts_with("unix:") {
                output.note(&format!("talking to the daemon at {address}"));
            }
            return Ok(Some(Connection { channel, credential, embedded: None }));
        }
    }
    Ok(None)
}

/// Where a daemon over this data directory would listen. Whoever listens on the TCP address may serve another
/// directory: it does not count where the directory is named by a flag, nor where there is one that no daemon
/// has open. Last come the addresses that a daemon with other settings noted in the directory.
pub(super) fn addresses(global: &Global, config: &Config) -> Vec<String> {
    let socket = config.socket_path().map(|path| format!("unix:{}", path.display()));
    let others = socket.is_some() && (global.data_dir.is_some() || is_idle(config.data_dir()));
    let tcp = config.server.listen.0.filter(|_| !others);
    let mut known: Vec<String> =
        socket.into_iter().chain(tcp.map(|address| format!("{DEFAULT_SCHEME}{address}"))).collect();
    for told in listening(config.data_dir()) {
        if !known.contains(&told) {
            known.push(told);
        }
    }
    known
}

/// Connects to an address. `ca`: certificates that a daemon behind TLS is believed by, besides this machine's.
pub(super) async fn dial(address: &str, ca: Option<&Path>) -> Result<transport::Channel> {
    let path = address.strip_prefix("unix:");
    let uri = match path {
        // The transport wants an absolute path.
        Some(path) => {
            let path = path.strip_prefix("//").unwrap_or(path);
            let absolute = std::path::absolute(path).with_context(|| format!("`{address}` is no path"))?;
            if !absolute.exists() {
                bail!("there is no socket {}", absolute.display());
            }
            format!("unix://{}", absolute.display())
        }
        None if address.contains("://") => address.to_owned(),
        None => format!("{DEFAULT_SCHEME}{address}"),
    };
    let is_tls = uri.starts_with("https://");
    let endpoint = Endpoint::from_shared(uri).map_err(|fault| {
        anyhow!("`{address}` is no address such as http://127.0.0.1:4750, https://HOST or unix:PATH: {fault}")
    })?;
    let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT);
    if !is_tls {
        return Ok(endpoint.connect().await?);
    }
    let tls = tls(ca, "h2").context("--daemon-ca")?;
    Ok(endpoint.connect_with_connector(Connector::new(Some(tls))).await?)
}

/// Starts a daemon in this process, on a socket of its own.
async fn embed(mut config: Config) -> Result<Connection> {
    let dir = private_dir()?;
    let socket = dir.join("askance.sock");
    config.server.listen = Listen(None);
    config.server.unix = Socket::At(socket.clone());
    let app = tokio::task::spawn_blocking(move || App::open(&config, Start::default())).await??;
    let running = app.bind()?;
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(running.run(async {
        // A sender that is gone means the same as one that speaks.
        let _told = stopped.await;
    }));
    let channel = dial(&format!("unix:{}", socket.display()), None).await?;
    let embedded = Some(Embedded { stop, task, dir });
    Ok(Connection { channel, credential: Credential::default(), embedded })
}

/// A fresh directory that nobody else can look into.
fn private_dir() -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|fault| anyhow!("no random bytes: {fault}"))?;
    let name = format!("askance-{:016x}", u64::from_le_bytes(random));
    let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir());
    let dir = base.unwrap_or_else(std::env::temp_dir).join(name);
    let made = std::fs::DirBuilder::new().mode(0o700).create(&dir);
    made.with_context(|| format!("cannot create {}", Path::display(&dir)))?;
    Ok(dir)
}

/// A refusal of the daemon in words.
pub(super) fn refused(status: &tonic::Status) -> anyhow::Error {
    let message = crate::detector::sentence::shown(status.message());
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Unknown => {
            anyhow!("the daemon is not there any more, or not ready: {message}")
        }
        code => anyhow!("the daemon refused ({code:?}): {message}"),
    }
}
