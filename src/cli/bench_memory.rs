//! `askance bench --memory` and `--soak`: what memory goes where, and whether it stays flat.

use super::bench::{Scratch, start};
use super::output::{Output, table};
use crate::bench::load::{self, Calls};
use crate::bench::memory::{self, Look, Part, SESSIONS, Taken};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Most bytes of a live session.
const SESSION_BYTES_MAX: u64 = 4_096;
/// Most bytes of a tenant at the default caps, its live sessions apart.
const TENANT_BYTES_MAX: u64 = 45_000_000;
/// Share of a soak that counts as warm-up.
const WARM_UP: f64 = 0.2;
/// How much more the last third of a soak may take than the first after the warm-up.
const GROWTH_MAX: f64 = 1.05;

#[derive(Serialize)]
struct Memory {
    session_bytes: u64,
    session_bytes_max: u64,
    session_snapshot_bytes: u64,
    tenant_bytes: u64,
    tenant_bytes_max: u64,
    tenant_snapshot_bytes: u64,
}

/// Measures one part and prints it: what `measure` asks a process of its own for.
pub(super) fn part(part: Part, output: &Output) -> Result<ExitCode> {
    let taken = memory::measure(part)?;
    output.result(&taken, || format!("{taken:?}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Measures both parts; exit code 1 if one takes more than it may.
pub(super) fn measure(output: &Output) -> Result<ExitCode> {
    let (sessions, tenant) = (ask("sessions")?, ask("tenant")?);
    if sessions.sessions < SESSIONS {
        bail!("only {} of {SESSIONS} sessions were live", sessions.sessions);
    }
    let memory = Memory {
        session_bytes: sessions.resident_bytes / sessions.sessions,
        session_bytes_max: SESSION_BYTES_MAX,
        session_snapshot_bytes: sessions.snapshot_bytes / sessions.sessions,
        tenant_bytes: tenant.resident_bytes,
        tenant_bytes_max: TENANT_BYTES_MAX,
        tenant_snapshot_bytes: tenant.snapshot_bytes,
    };
    output.result(&memory, || {
        let row = |what: &str, bytes: u64, most: u64, stored: u64| {
            [what.to_owned(), bytes.to_string(), most.to_string(), stored.to_string()]
        };
        let (session, tenant) = ("a live session", "a tenant with full tables");
        table(
            ["", "RESIDENT BYTES", "AT MOST", "IN A SNAPSHOT"],
            [
                row(session, memory.session_bytes, SESSION_BYTES_MAX, memory.session_snapshot_bytes),
                row(tenant, memory.tenant_bytes, TENANT_BYTES_MAX, memory.tenant_snapshot_bytes),
            ],
        )
    })?;
    let within = memory.session_bytes <= SESSION_BYTES_MAX && memory.tenant_bytes <= TENANT_BYTES_MAX;
    Ok(if within { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Has a part measured by a fresh process.
fn ask(part: &str) -> Result<Taken> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let output = Command::new(program).args(["bench", "--json", "--memory-of", part]).output()?;
    if !output.status.success() {
        bail!("measuring {part} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[derive(Serialize)]
struct Soak {
    /// Mean resident memory of the first third after the warm-up, MiB.
    first_mib: f64,
    /// Of the last third.
    last_mib: f64,
    /// The last over the first.
    growth: f64,
    looks: Vec<Look>,
}

/// Keeps a daemon of its own under full load; exit code 1 if its memory goes on growing after the warm-up.
pub(super) fn soak(time: Duration, seed: u64, parent: &Path, output: &Output) -> Result<ExitCode> {
    let scratch = Scratch::make(parent)?;
    let (server, address) = start(&scratch.0, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let looks = runtime.block_on(async {
        let channel = super::client::dial(&address, None).await?;
        let calls = Calls::new(seed, "soak");
        load::warm_up(&channel, &calls, calls.day_len())
            .await
            .map_err(|status| super::client::refused(&status))?;
        let dir = scratch.0.clone();
        let told = |look: &Look| {
            output.note(&format!(
                "{:>5} s  {:>6} MiB resident  {:>7}/s  {:>6} MiB on disk",
                look.seconds, look.resident_mib, look.per_second, look.disk_mib
            ));
        };
        memory::soak(&channel, &calls, server.id(), time, move || bytes_below(&dir), told).await
    })?;
    drop(server);
    let after = looks.get((looks.len() as f64 * WARM_UP) as usize..).unwrap_or_default();
    let third = (after.len() / 3).max(1);
    let mean = |looks: &[Look]| {
        looks.iter().map(|look| look.resident_mib as f64).sum::<f64>() / looks.len().max(1) as f64
    };
    let first_mib = mean(after.get(..third).unwrap_or_default());
    let last_mib = mean(after.get(after.len().saturating_sub(third)..).unwrap_or_default());
    let soak = Soak { first_mib, last_mib, growth: last_mib / first_mib.max(1.0), looks };
    output.result(&soak, || {
        format!(
            "after the warm-up {first_mib:.0} MiB, at the end {last_mib:.0} MiB: {:+.1} %",
            (soak.growth - 1.0) * 100.0
        )
    })?;
    Ok(if soak.growth <= GROWTH_MAX { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_below(&entry.path()),
            Ok(meta) => meta.len(),
            // A table file that was merged away in the meantime.
            Err(_) => 0,
        })
        .sum()
}
