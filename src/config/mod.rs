//! The daemon's settings: one declaration a field, with its meaning, default and limits.
//!
//! Precedence: flags, then `ASKANCE_*` from the environment (`__` between section and field), then the
//! file `askance.toml` (`version = 1`), then the defaults. A setting that is wrong is refused together with
//! all others that are. Deliberately absent: reading anything again while the daemon runs.

mod load;
mod value;

pub use load::{ENV_CONFIG, Faults, Loaded, Origin, Sources};
pub use value::{Bytes, Endpoint, FileOrNone, Listen, SessionOrder, Site, Socket, Value};

use crate::domain::call::SessionSource;
use crate::domain::decision::{Mode, Verdict};
use crate::telemetry::LogFormat;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest path of a Unix socket that the system takes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What is known of a setting.
#[derive(Clone, Copy)]
pub struct Field {
    /// Its name: section and field.
    pub key: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// What its values look like.
    pub kind: &'static str,
    /// Least value; empty: none.
    pub least: &'static str,
    /// Greatest value; empty: none.
    pub most: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
    get: fn(&Config) -> String,
    check: fn(&Config) -> Result<(), String>,
}

/// Declares a section: its struct, its defaults and the table of its fields, from one text.
macro_rules! section {
    ($(#[doc = $about:literal])* $name:ident, $member:ident, $prefix:literal {
        $($(#[doc = $doc:literal])* $field:ident: $type:ty = $default:expr, $least:literal..$most:literal;)*
    }) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            const FIELDS: &[Field] = &[$(Field {
                key: concat!($prefix, stringify!($field)),
                doc: concat!($($doc,)*),
                kind: <$type as Value>::KIND,
                least: $least,
                most: $most,
                set: |config, text| {
                    config.$member.$field = <$type as Value>::parse(text)?;
                    Ok(())
                },
                get: |config| config.$member.$field.show(),
                check: |config| within(&config.$member.$field, $least, $most),
            },)*];
        }
    };
}

section! {
    /// What concerns the whole daemon.
    General, general, "" {
        /// Directory of all data. Created with rights for its owner only.
        data_dir: PathBuf = PathBuf::from("askance-data"), "".."";
        /// How log lines look: `auto` is text on a terminal and JSON elsewhere.
        log_format: LogFormat = LogFormat::Auto, "".."";
        /// Which log lines are written: a level, or directives such as `info,askance::rpc=debug`.
        log_filter: String = "info".to_owned(), "".."";
    }
}

section! {
    /// Where the server listens and how far clients may go.
    Server, server, "server." {
        /// TCP address to listen on.
        listen: Listen = Listen(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 4750)))), ""..""
        ;
        /// Whether an address beyond this machine may be listened on. Without tokens it answers nobody from afar, and it speaks no TLS: set this behind a proxy that does.
        allow_remote: bool = false, "".."";
        /// Unix socket to listen on, for its owner only.
        unix: Socket = Socket::InDataDir, "".."";
        /// Time to decide in when the client sets no deadline.
        decision_timeout: Duration = Duration::from_secs(1), "1ms".."1h";
        /// What a gateway is told when the decision comes too late: `allow` fails open. In observe mode it is always `allow`.
        fallback: Verdict = Verdict::Review, "".."";
        /// Time for open requests to end when the daemon stops.
        shutdown_grace: Duration = Duration::from_secs(10), "0s".."1h";
        /// Largest message from a client.
        message_size_max: Bytes = Bytes(512 << 10), "64KiB".."64MiB";
        /// Connections open at a time.
        connections_max: u64 = 1_024, "1".."65536";
        /// Connections open at a time from one address.
        connections_per_peer_max: u64 = 256, "1".."65536";
        /// Requests open at a time on one connection.
        requests_per_connection_max: u64 = 512, "1".."65536";
        /// Requests of one stream in the engine at a time; then the stream is not read any further.
        stream_in_flight_max: u64 = 1_024, "1".."65536";
        /// Watches open at a time.
        watches_max: u64 = 64, "1".."65536";
        /// Reads of the log at a time.
        reads_max: u64 = 4, "1".."1024";
    }
}

section! {
    /// The admin port.
    AdminSection, admin, "admin." {
        /// TCP address of `/metrics`, `/healthz` and `/readyz` (plain HTTP, read only, no credentials).
        listen: Listen = Listen(None), ""..""
        ;
    }
}

section! {
    /// Adapters that speak HTTP.
    HttpSection, http, "http." {
        /// TCP address of the adapters: `POST /v1/hooks/CLIENT` for hooks of coding agents. Who may ask is as over gRPC.
        listen: Listen = Listen(None), ""..""
        ;
        /// Where callers find this door, behind a proxy that speaks TLS: what AuthZEN's addresses begin with. Off: as each request's host names it.
        url: Site = Site(None), ""..""
        ;
        /// How long a call that people must look at is held before its client is told to come back.
        hold: Duration = Duration::from_secs(20), "0s".."10m";
    }
}

section! {
    /// The event log on disk.
    LogSection, log, "log." {
        /// Memory for records not yet in table files, and write-ahead log to replay at most.
        write_buffer: Bytes = Bytes(64 << 20), "4MiB".."4GiB";
        /// Memory for blocks read lately.
        block_cache: Bytes = Bytes(32 << 20), "1MiB".."64GiB";
        /// Table files kept open.
        open_files_max: u64 = 512, "64".."1000000";
        /// Disk space kept back, so that a full disk cannot keep the log from opening. Best no less than `write_buffer`.
        ballast: Bytes = Bytes(64 << 20), "0".."4GiB";
        /// Free space under which a warning is logged.
        free_low: Bytes = Bytes(1 << 30), "0".."";
        /// Free space under which writes are refused; at most `free_low`.
        free_hard: Bytes = Bytes(256 << 20), "0".."";
    }
}

section! {
    /// Deciding calls.
    EngineSection, engine, "engine." {
        /// Partitions; fixed when the data directory is created.
        partitions: u64 = 1, "1".."64";
        /// Requests that may wait in a partition's queue; further ones are refused at once.
        queue_max: u64 = 4_096, "16".."1000000";
        /// Records between two snapshots of the state.
        snapshot_every: u64 = 200_000, "1000".."";
        /// Whether verdicts bind, where the policy does not say.
        mode: Mode = Mode::Enforce, "".."";
        /// Policy file (YAML); none: the built-in policy.
        policy: FileOrNone = FileOrNone(None), "".."";
        /// Live sessions a tenant may have; beyond it the longest silent is closed.
        sessions_max: u64 = 10_000, "1".."1000000";
        /// A session without a call for this long is over.
        session_idle: Duration = Duration::from_secs(3_600), "1s".."";
        /// A session open for this long is closed.
        session_age_max: Duration = Duration::from_secs(86_400), "1s".."";
        /// A pause longer than this starts a new session where no id is given.
        session_gap: Duration = Duration::from_secs(1_800), "1s".."";
        /// How far a caller's clock may be from ours before ours is used.
        clock_skew_max: Duration = Duration::from_secs(300), "0s".."1d";
        /// Which ids name a session, most trusted first.
        session_order: SessionOrder = SessionOrder(SessionSource::ALL.to_vec()), ""..""
        ;
    }
}

section! {
    /// How much evidence may ask of reviewers.
    BudgetSection, budget, "budget." {
        /// Reviews a day that a tenant's evidence may ask for; 0: `rate_ppm` decides.
        reviews_per_day: u64 = 0, "0".."100000";
        /// Share of calls that evidence may send to review, parts per million, where `reviews_per_day` is 0 or there is no day to reckon with yet.
        rate_ppm: u64 = 3_000, "1".."500000";
        /// Share of allowed calls picked for a look afterwards, parts per million: the only unbiased view of what was missed.
        audit_ppm: u64 = 2_000, "0".."1000000";
    }
}

section! {
    /// Telling other systems.
    NotifySection, notify, "notify." {
        /// File (TOML) of the webhooks and Slack channels that are told of reviews and locks; none: nobody is.
        endpoints: FileOrNone = FileOrNone(None), "".."";
    }
}

section! {
    /// OpenTelemetry.
    OtlpSection, otlp, "otlp." {
        /// Collector to send to (OTLP over gRPC, no TLS): a span a call, review and session, as they end.
        endpoint: Endpoint = Endpoint(None), ""..""
        ;
        /// Whether spans are sent.
        traces: bool = true, "".."";
        /// Whether spans hold arguments, masked as they are stored, instead of their keyed digests.
        arguments: bool = false, "".."";
        /// Whether log records are sent: calls that were not simply allowed, reviews, locks, changes of rules.
        logs: bool = false, "".."";
        /// Time between two pushes of the metrics; 0s: none.
        metrics_every: Duration = Duration::ZERO, "0s".."1d";
        /// Share of requests whose way through the daemon is sent as spans, parts per million; 0: none.
        own_spans_ppm: u64 = 0, "0".."1000000";
    }
}

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What concerns the whole daemon; its fields stand at the top of the file.
    pub general: General,
    /// `[server]`
    pub server: Server,
    /// `[admin]`
    pub admin: AdminSection,
    /// `[http]`
    pub http: HttpSection,
    /// `[log]`
    pub log: LogSection,
    /// `[engine]`
    pub engine: EngineSection,
    /// `[budget]`
    pub budget: BudgetSection,
    /// `[notify]`
    pub notify: NotifySection,
    /// `[otlp]`
    pub otlp: OtlpSection,
}

impl Config {
    /// Every setting there is, in order.
    pub fn fields() -> impl Iterator<Item = &'static Field> {
        let sections = [
            General::FIELDS,
            Server::FIELDS,
            AdminSection::FIELDS,
            HttpSection::FIELDS,
            LogSection::FIELDS,
            EngineSection::FIELDS,
            BudgetSection::FIELDS,
            NotifySection::FIELDS,
            OtlpSection::FIELDS,
        ];
        sections.into_iter().flatten()
    }

    /// All faults of these settings; none if they are fit to run with.
    pub fn check(&self) -> Vec<String> {
        let mut faults: Vec<String> = Self::fields()
            .filter_map(|field| (field.check)(self).err().map(|why| format!("{}: {why}", field.key)))
            .collect();
        let remote = self.server.listen.0.filter(|address| !address.ip().is_loopback());
        if let (Some(address), false) = (remote, self.server.allow_remote) {
            faults.push(format!(
                "server.listen: {address} can be reached from other machines, and tokens would cross the network in clear: \
                 listen on 127.0.0.1, or set server.allow_remote = true behind a proxy that speaks TLS"
            ));
        }
        for (key, listen) in [("admin", self.admin.listen), ("http", self.http.listen)] {
            let remote = listen.0.filter(|address| !address.ip().is_loopback());
            if let (Some(address), false) = (remote, self.server.allow_remote) {
                faults.push(format!(
                    "{key}.listen: {address} can be reached from other machines: listen on 127.0.0.1, or set \
                     server.allow_remote = true"
                ));
            }
        }
        if self.server.listen.0.is_none() && self.socket_path().is_none() {
            faults.push("server.listen and server.unix are both off: switch one on".to_owned());
        }
        if let Some(path) = self.socket_path()
            && path.as_os_str().len() > SOCKET_PATH_BYTES_MAX
        {
            faults.push(format!(
                "server.unix: the path is {} bytes long, at most {SOCKET_PATH_BYTES_MAX}: set a shorter one",
                path.as_os_str().len()
            ));
        }
        if self.log.free_hard.0 > self.log.free_low.0 {
            let (hard, low) = (self.log.free_hard, self.log.free_low);
            faults.push(format!("log.free_hard: {hard} is more than log.free_low ({low})"));
        }
        faults
    }

    /// The Unix socket's path, if there is to be one.
    pub fn socket_path(&self) -> Option<PathBuf> {
        match &self.server.unix {
            Socket::InDataDir => Some(self.data_dir().join("askance.sock")),
            Socket::At(path) => Some(path.clone()),
            Socket::Off => None,
        }
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.general.data_dir
    }
}

impl Field {
    /// The setting's value in `config`, as text.
    pub fn value(&self, config: &Config) -> String {
        (self.get)(config)
    }

    /// The setting's name in the environment.
    pub fn env_name(&self) -> String {
        format!("ASKANCE_{}", self.key.replace('.', "__").to_ascii_uppercase())
    }
}

fn within<T: Value>(value: &T, least: &str, most: &str) -> Result<(), String> {
    let bound = |text: &str| T::parse(text).ok().and_then(|bound| bound.measure());
    let measure = value.measure();
    match (measure, bound(least), bound(most)) {
        (Some(value_), Some(least_), _) if value_ < least_ => {
            Err(format!("{} is too little, at least {least}", value.show()))
        }
        (Some(value_), _, Some(most_)) if value_ > most_ => {
            Err(format!("{} is too much, at most {most}", value.show()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fit_to_run_with() {
        let config = Config::default();
        assert_eq!(config.check(), Vec::<String>::new());
        assert_eq!(config.socket_path(), Some(PathBuf::from("askance-data/askance.sock")));
    }

    #[test]
    fn every_field_is_documented_and_reads_back_what_it_shows() {
        let mut config = Config::default();
        for field in Config::fields() {
            assert!(field.doc.trim().ends_with('.'), "{} needs a sentence", field.key);
            let shown = field.value(&config);
            (field.set)(&mut config, &shown).unwrap();
        }
        assert_eq!(config, Config::default());
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let mut config = Config::default();
        config.server.listen = Listen(Some("0.0.0.0:4750".parse().unwrap()));
        config.log.write_buffer = Bytes(1);
        config.engine.partitions = 65;
        config.log.free_hard = Bytes(2 << 30);
        config.server.unix = Socket::At(PathBuf::from("x".repeat(200)));
        let faults = config.check();
        assert_eq!(faults.len(), 5, "{faults:#?}");
        assert!(faults.iter().any(|fault| fault == "log.write_buffer: 1B is too little, at least 4MiB"));
    }
}
