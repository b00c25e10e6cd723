//! What a live session and a tenant take in memory, measured by the process's resident memory; and whether that
//! stays flat under load.
//!
//! Each figure is made in a process of its own ([`Part`]), so that memory which the allocator kept from one
//! cannot hide in the other.

use super::load::{self, Calls, What};
use super::random::Random;
use crate::cli::trace_line::TraceLine;
use crate::domain::call::OutcomeStatus;
use crate::domain::time::{SECOND_US, Timestamp};
use crate::offline::{Offline, Take};
use serde::Serialize;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// Live sessions of the measurement: a little less than a tenant may have by default, for at that number each call of
/// another session closes the one that was silent for longest, and none gets to its second call.
pub const SESSIONS: u64 = 9_900;
/// Calls of each of them: more than a session's lesson keeps.
const SESSION_CALLS: u64 = 48;
/// Calls that fill a tenant's tables.
const TENANT_CALLS: u64 = 400_000;
/// Calls of a session while the tables are filled.
const FILL_SESSION_CALLS: u64 = 8;
/// Slice of a soak between two looks at the memory.
const LOOK: Duration = Duration::from_secs(10);
/// Requests in flight during a soak.
const IN_FLIGHT: usize = 256;

/// What is measured in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Live sessions of one principal, with everything a session can gather.
    Sessions,
    /// A tenant whose every table is full, without live sessions.
    Tenant,
}

/// Bytes that a part took.
#[derive(Clone, Copy, Debug, Serialize, serde::Deserialize)]
pub struct Taken {
    /// Resident bytes that it added to the process.
    pub resident_bytes: u64,
    /// Bytes of the state as a snapshot, uncompressed.
    pub snapshot_bytes: u64,
    /// Sessions that were live at the end.
    pub sessions: u64,
}

/// Measures one part in this process.
pub fn measure(part: Part) -> anyhow::Result<Taken> {
    let mut offline = Offline::new();
    // Whatever a first call brings along is not of the tenant.
    take(&mut offline, &line(0, "first", "warm-up", "get_logs", &[]))?;
    let before = resident_bytes(std::process::id())?;
    match part {
        Part::Sessions => sessions(&mut offline)?,
        Part::Tenant => tenant(&mut offline)?,
    }
    let after = resident_bytes(std::process::id())?;
    let state = offline.state();
    Ok(Taken {
        resident_bytes: after.saturating_sub(before),
        snapshot_bytes: state.to_bytes().len() as u64,
        sessions: state.tenants().map(|(_, tenant)| tenant.sessions.len() as u64).sum(),
    })
}

/// Sessions that stay open, each with as many tools and arguments as it may gather.
fn sessions(offline: &mut Offline) -> anyhow::Result<()> {
    for step in 0..SESSION_CALLS {
        for session in 0..SESSIONS {
            let number = step * SESSIONS + session;
            let arguments: Vec<(String, u64)> =
                (0..4).map(|path| (format!("path-{path}"), number * 4 + path)).collect();
            let tool = format!("get_thing_{}", step * 7 % SESSION_CALLS);
            let name = format!("agent:operator-{}/2026-11-22T16:00:00/{session:06}", session % 50);
            take(offline, &line(number / 20, &name, "agent:operator", &tool, &arguments))?;
        }
    }
    Ok(())
}

/// Short sessions of ever other principals, tools, followers and values, so that every table fills up.
fn tenant(offline: &mut Offline) -> anyhow::Result<()> {
    let mut random = Random::new(11);
    for number in 0..TENANT_CALLS {
        let session = number / FILL_SESSION_CALLS;
        // Half of the calls go to few tools, so that what is known of each argument fills up too.
        let tool = if number.is_multiple_of(2) { random.below(512) } else { random.below(6_000) };
        let arguments: Vec<(String, u64)> =
            (0..16).map(|path| (format!("path-{path}"), random.below(1 << 40))).collect();
        let principal = format!("agent:number-{}", session % 5_000);
        let name = format!("session-{session}");
        let line = line(number * 5, &name, &principal, &format!("tool_{tool}"), &arguments);
        take(offline, &line)?;
        if number % FILL_SESSION_CALLS == FILL_SESSION_CALLS - 1 {
            offline.end_session(&line);
        }
    }
    Ok(())
}

fn line(second: u64, session: &str, principal: &str, tool: &str, arguments: &[(String, u64)]) -> TraceLine {
    let arguments: serde_json::Map<String, serde_json::Value> =
        arguments.iter().map(|(path, value)| (path.clone(), format!("value-{value:x}").into())).collect();
    let start = 1_760_400_000 * SECOND_US;
    TraceLine {
        dataset: "memory".to_owned(),
        suite: "server".to_owned(),
        session: session.to_owned(),
        principal: principal.to_owned(),
        index: second,
        turn: None,
        ts: Some(Timestamp::from_micros(start + second as i64 * SECOND_US)),
        tool: tool.to_owned(),
        args: serde_json::Value::Object(arguments).to_string(),
        utc_offset_minutes: Some(60),
        result: String::new(),
        error: String::new(),
        result_bytes: Some(900),
        latency_us: Some(1_000),
        outcome: Some(OutcomeStatus::Ok),
    }
}

fn take(offline: &mut Offline, line: &TraceLine) -> anyhow::Result<()> {
    match offline.call(line, "", Take::Train) {
        Ok(_) => Ok(()),
        Err(faults) => anyhow::bail!("a generated call was refused: {faults:?}"),
    }
}

/// Resident memory of a process.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| anyhow::anyhow!("/proc tells no resident memory"))
}

/// One look at the daemon during a soak.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Look {
    /// Since the start, seconds.
    pub seconds: u64,
    /// Its resident memory, MiB.
    pub resident_mib: u64,
    /// Calls decided a second since the look before.
    pub per_second: u64,
    /// Bytes on its disk, MiB.
    pub disk_mib: u64,
}

/// Full load on the process `pid` for `time`; told every ten seconds.
pub async fn soak(
    channel: &Channel,
    calls: &Calls,
    pid: u32,
    time: Duration,
    disk_bytes: impl Fn() -> u64,
    mut told: impl FnMut(&Look),
) -> anyhow::Result<Vec<Look>> {
    let start = Instant::now();
    let mut looks = Vec::new();
    while start.elapsed() < time {
        let slice = load::stream(channel, What::Evaluate, calls, IN_FLIGHT, LOOK).await;
        let slice = slice.map_err(|status| anyhow::anyhow!("the daemon refused: {}", status.message()))?;
        let look = Look {
            seconds: start.elapsed().as_secs(),
            resident_mib: resident_bytes(pid)? >> 20,
            per_second: slice.per_second() as u64,
            disk_mib: disk_bytes() >> 20,
        };
        told(&look);
        looks.push(look);
    }
    Ok(looks)
}
