//! `askance doctor`: looks at everything that commonly goes wrong, and says what to do about each.
//!
//! Changes nothing. Deliberately absent: a whole check of the log, which is `askance verify`.

use super::Global;
use super::client::{addresses, dial};
use super::output::Output;
use super::replay::open_logs;
use crate::clock::Clock;
use crate::config::Config;
use crate::detector::sentence::shown;
use crate::domain::position::Position;
use crate::domain::time::{DAY_US, MINUTE_US, Timestamp};
use crate::eventlog::{Log, Space, space::SpaceGuard};
use crate::policy::parse;
use crate::proto::v1::GetGatewaySettingsRequest;
use crate::proto::v1::gateway_service_client::GatewayServiceClient;
use anyhow::Result;
use serde::Serialize;
use std::fmt;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

/// Records at the end of each log that are read.
const RECORDS_READ: u64 = 1_000;
/// Bytes of them that are read at most.
const BYTES_READ_MAX: usize = 16 << 20;

/// Arguments of `askance doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    Warn,
    Fail,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok  ",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    health: Health,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn ok(&mut self, what: &'static str, detail: impl Into<String>) {
        self.0.push(Check { what, health: Health::Ok, detail: detail.into(), next: None });
    }

    fn bad(
        &mut self,
        health: Health,
        what: &'static str,
        detail: impl fmt::Display,
        next: impl Into<String>,
    ) {
        self.0.push(Check { what, health, detail: shown(&detail.to_string()), next: Some(next.into()) });
    }
}

/// Runs the command.
pub(super) async fn run(_args: Args, global: &Global, output: &Output) -> Result<ExitCode> {
    let mut checks = Checks::default();
    if let Some(config) = configuration(global, &mut checks) {
        clock(&mut checks);
        data_dir(&config, &mut checks);
        policy(&config, &mut checks);
        daemon(global, &config, &mut checks).await;
        logs(&config, &mut checks);
    }
    let worst = checks.0.iter().map(|check| check.health).max().unwrap_or(Health::Ok);
    output.result(&checks.0, || text(&checks.0))?;
    Ok(if worst == Health::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        text.push_str(&format!("{}  {:<14} {}\n", check.health, check.what, check.detail));
        if let Some(next) = &check.next {
            text.push_str(&format!("      {:<14} next: {next}\n", ""));
        }
    }
    text
}

fn configuration(global: &Global, checks: &mut Checks) -> Option<Config> {
    let loaded = match global.sources(Vec::new()).map(|sources| sources.load()) {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(faults)) => {
            for fault in &faults.0 {
                checks.bad(
                    Health::Fail,
                    "configuration",
                    fault,
                    "correct it; `askance config show --explain` tells what there is",
                );
            }
            return None;
        }
        Err(error) => {
            checks.bad(Health::Fail, "configuration", format!("{error:#}"), "correct the flags");
            return None;
        }
    };
    for remark in &loaded.remarks {
        checks.bad(Health::Warn, "configuration", remark, "correct or remove it");
    }
    let file = loaded.file.map_or_else(|| "no file, defaults".to_owned(), |path| path.display().to_string());
    checks.ok("configuration", file);
    Some(loaded.config)
}

fn clock(checks: &mut Checks) {
    let now = Clock::system().now();
    let year = |text: &str| Timestamp::parse(text).unwrap_or_default();
    if now < year("2025-01-01T00:00:00Z") || now > year("2100-01-01T00:00:00Z") {
        checks.bad(
            Health::Fail,
            "clock",
            format!("it is {now} here"),
            "set the machine's clock; run an NTP client",
        );
    } else {
        checks.ok("clock", now.to_string());
    }
}

fn data_dir(config: &Config, checks: &mut Checks) {
    let dir = config.data_dir();
    let Ok(data) = std::fs::metadata(dir) else {
        checks.ok("data directory", format!("{} is not there yet; `askance serve` makes it", dir.display()));
        return;
    };
    if !data.is_dir() {
        checks.bad(
            Health::Fail,
            "data directory",
            format!("{} is no directory", dir.display()),
            "name another with --data-dir",
        );
        return;
    }
    rights(dir, data.mode() & 0o777, "chmod 700", checks);
    let key = dir.join("keys").join("mask.key");
    match std::fs::metadata(&key) {
        Ok(file) if file.len() != 32 => {
            let detail = format!("{} is {} bytes long, not 32", key.display(), file.len());
            checks.bad(Health::Fail, "masking key", detail, "restore it from a backup");
        }
        Ok(file) => rights(&key, file.mode() & 0o777, "chmod 600", checks),
        Err(fault) => {
            let detail = format!("{}: {fault}", key.display());
            checks.bad(
                Health::Warn,
                "masking key",
                detail,
                "restore it from a backup; else the next start makes a new one",
            );
        }
    }
    space(config, checks);
}

fn rights(path: &Path, rights: u32, mend: &str, checks: &mut Checks) {
    if rights & 0o077 == 0 {
        checks.ok("rights", format!("{} {rights:04o}", path.display()));
    } else {
        let detail = format!("{} has rights {rights:04o}: others can look into it", path.display());
        checks.bad(Health::Warn, "rights", detail, format!("{mend} {}", path.display()));
    }
}

fn space(config: &Config, checks: &mut Checks) {
    let guard = SpaceGuard::new(config.data_dir(), &crate::app::log_options(config));
    let mib = |bytes: u64| format!("{} MiB free", bytes >> 20);
    match guard.check() {
        Ok(Space::Ok { free }) => checks.ok("disk space", mib(free)),
        Ok(Space::Low { free }) => {
            let detail = format!("{}, less than log.free_low ({})", mib(free), config.log.free_low);
            checks.bad(Health::Warn, "disk space", detail, "free space before writes are refused");
        }
        Ok(Space::Full { free }) => {
            let detail = format!(
                "{}, less than log.free_hard ({}): writes are refused",
                mib(free),
                config.log.free_hard
            );
            checks.bad(Health::Fail, "disk space", detail, "free space; the daemon goes on by itself");
        }
        Err(error) => checks.bad(Health::Fail, "disk space", error, "see whether the disk is mounted"),
    }
}

fn policy(config: &Config, checks: &mut Checks) {
    let Some(path) = &config.engine.policy.0 else {
        checks.ok("policy", "built in");
        return;
    };
    let name = path.display();
    match std::fs::read_to_string(path) {
        Err(fault) => {
            checks.bad(Health::Fail, "policy", format!("{name}: {fault}"), "name another with engine.policy")
        }
        Ok(text) => match parse(&text, config.engine.mode, Clock::system().now()) {
            Ok(policy) => checks.ok("policy", format!("{name}, {} rules", policy.rules().count())),
            Err(faults) => {
                for fault in faults {
                    checks.bad(
                        Health::Fail,
                        "policy",
                        format!("{name}: {fault}"),
                        "correct it; `askance policy check` tells all",
                    );
                }
            }
        },
    }
}

async fn daemon(global: &Global, config: &Config, checks: &mut Checks) {
    let named = global.daemon.clone();
    let must_answer = named.is_some();
    let addresses = named.map_or_else(|| addresses(global, config), |address| vec![address]);
    for address in &addresses {
        let Ok(channel) = dial(address, global.daemon_ca.as_deref()).await else { continue };
        let mut client = GatewayServiceClient::new(channel);
        match client.get_gateway_settings(GetGatewaySettingsRequest::default()).await {
            Ok(answer) => {
                let version = answer.into_inner().server_version;
                checks.ok("daemon", format!("{address} answers, version {}", shown(&version)));
            }
            Err(status) => {
                let detail = format!("{address} takes connections but does not answer: {}", status.message());
                checks.bad(Health::Fail, "daemon", detail, "see its log; is something else listening there?");
            }
        }
        return;
    }
    if must_answer {
        let detail = format!("none answers at {}", addresses.join(" or "));
        checks.bad(Health::Fail, "daemon", detail, "start it with `askance serve`");
        return;
    }
    match config.server.listen.0.map(TcpListener::bind) {
        Some(Err(fault)) => {
            let address = config.server.listen.0.map(|address| address.to_string()).unwrap_or_default();
            let next = "stop what listens there, or set server.listen to another port";
            checks.bad(
                Health::Warn,
                "daemon",
                format!("none runs, and {address} cannot be listened on: {fault}"),
                next,
            );
        }
        Some(Ok(_)) | None => checks.ok("daemon", "none runs; its address is free"),
    }
}

fn logs(config: &Config, checks: &mut Checks) {
    let logs = match open_logs(config) {
        Ok(logs) => logs,
        Err(_) => {
            checks.ok("log", "there is none yet");
            return;
        }
    };
    for (_, dir, log) in logs {
        let name = dir.display();
        let checked = log.map_err(|error| error.to_string()).and_then(|log| newest(&log));
        match checked {
            Ok(detail) => checks.ok("log", format!("{name}: {detail}")),
            Err(fault) => {
                let next = format!("askance verify --data-dir {}", config.data_dir().display());
                checks.bad(Health::Fail, "log", format!("{name}: {fault}"), next);
            }
        }
    }
}

/// Reads the newest records: they must be there, in order, and chained.
fn newest(log: &Log) -> Result<String, String> {
    let tail = log.position();
    let from = Position::new(tail.get().saturating_sub(RECORDS_READ - 1).max(1));
    let records = log.read(from, RECORDS_READ as usize, BYTES_READ_MAX).map_err(|error| error.to_string())?;
    let mut previous = None;
    for record in &records {
        let view = record.view();
        if previous.is_some_and(|hash| hash != view.previous_hash()) {
            return Err(format!(
                "the record at position {} is not chained to the one before",
                view.position()
            ));
        }
        previous = Some(view.hash());
    }
    let now = Clock::system().now();
    let latest = records.last().map_or(now, |record| record.view().receive_time());
    let ahead = latest.since(now);
    if ahead > 5 * MINUTE_US {
        let days = ahead / DAY_US;
        return Err(format!(
            "its newest record was received at {latest}, {days} days ahead: was the clock set back?"
        ));
    }
    Ok(format!("{tail} records, the newest {} are sound, the last from {latest}", records.len()))
}
