//! Measures all three services in turns, so that a drift of the machine hits all alike.

use super::load::{self, Calls, Measured, What};
use super::open_loop;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::transport::Channel;

/// Requests in flight, one row each.
pub const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];
/// Days that go by before anything is measured.
const WARM_UP_DAYS: usize = 2;
/// Turns of each service in a row.
const ROUNDS: usize = 3;

/// One row of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `evaluate`, `append` or `echo`.
    pub what: &'static str,
    /// `unary` or `stream`.
    pub mode: &'static str,
    /// Requests in flight.
    pub in_flight: usize,
    /// Answers a second.
    pub per_second: f64,
    /// Median latency, microseconds.
    pub p50_us: f64,
    /// 99th percentile, microseconds.
    pub p99_us: f64,
    /// 99.9th percentile, microseconds.
    pub p999_us: f64,
    /// Requests answered with an error.
    pub errors: u64,
}

/// Latencies under a load that does not wait for answers: half of what `Evaluate` did at its best.
#[derive(Clone, Debug, Serialize)]
pub struct OpenRow {
    /// `evaluate` or `append`.
    pub what: &'static str,
    /// `unary` or `stream`.
    pub mode: &'static str,
    /// Requests a second that were due.
    pub offered_per_second: f64,
    /// Answers a second.
    pub per_second: f64,
    /// Median latency from the moment a request was due, microseconds.
    pub p50_us: f64,
    /// 99th percentile, microseconds.
    pub p99_us: f64,
    /// 99.9th percentile, microseconds.
    pub p999_us: f64,
    /// Requests answered with an error.
    pub errors: u64,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What it was measured on.
    pub machine: String,
    /// The rows.
    pub rows: Vec<Row>,
    /// The same services at half of `Evaluate`'s peak, asked at random moments.
    pub open_loop: Vec<OpenRow>,
}

/// Turns that [`measure`] takes: each tells `progress` of one.
pub const TURNS: u64 = (2 * IN_FLIGHT.len() * ROUNDS * What::ALL.len() + 2 * ROUNDS * OPEN.len()) as u64;

/// Services under the open loop.
const OPEN: [What; 2] = [What::Evaluate, What::Append];

/// Measures everything over one connection. `slice`: time of one turn; [`TURNS`] in all.
pub async fn measure(
    channel: &Channel,
    calls: &Calls,
    slice: Duration,
    mut progress: impl FnMut(u64),
) -> Result<Report, tonic::Status> {
    // Two days are learnt before anything is measured.
    load::warm_up(channel, calls, calls.day_len() * WARM_UP_DAYS).await?;
    let mut rows = Vec::new();
    for mode in ["unary", "stream"] {
        for in_flight in IN_FLIGHT {
            let mut found: BTreeMap<What, Measured> = BTreeMap::new();
            for _ in 0..ROUNDS {
                for what in What::ALL {
                    let turn = match mode {
                        "unary" => load::unary(channel, what, calls, in_flight, slice).await,
                        _ => load::stream(channel, what, calls, in_flight, slice).await?,
                    };
                    found.entry(what).or_default().merge(&turn);
                    progress(1);
                }
            }
            rows.extend(found.into_iter().map(|(what, measured)| row(what, mode, in_flight, &measured)));
        }
    }
    let mut open_loop = Vec::new();
    for mode in ["unary", "stream"] {
        let peak = rows.iter().filter(|row| row.what == What::Evaluate.name() && row.mode == mode);
        let rate = peak.map(|row| row.per_second).fold(0.0, f64::max) / 2.0;
        open_loop.extend(measure_open(channel, calls, mode, rate, slice, &mut progress).await?);
    }
    Ok(Report { machine: machine(), rows, open_loop })
}

async fn measure_open(
    channel: &Channel,
    calls: &Calls,
    mode: &'static str,
    rate: f64,
    slice: Duration,
    progress: &mut impl FnMut(u64),
) -> Result<Vec<OpenRow>, tonic::Status> {
    let mut found: BTreeMap<What, Measured> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for what in OPEN {
            let turn = match mode {
                "unary" => open_loop::unary(channel, what, calls, rate, slice).await,
                _ => open_loop::stream(channel, what, calls, rate, slice).await?,
            };
            found.entry(what).or_default().merge(&turn);
            progress(1);
        }
    }
    let open = |(what, measured): (What, Measured)| {
        let Row { what, mode, per_second, p50_us, p99_us, p999_us, errors, .. } =
            row(what, mode, 0, &measured);
        OpenRow { what, mode, offered_per_second: rate.round(), per_second, p50_us, p99_us, p999_us, errors }
    };
    Ok(found.into_iter().map(open).collect())
}

fn row(what: What, mode: &'static str, in_flight: usize, measured: &Measured) -> Row {
    let tenth = |value: f64| (value * 10.0).round() / 10.0;
    Row {
        what: what.name(),
        mode,
        in_flight,
        per_second: measured.per_second().round(),
        p50_us: tenth(measured.latencies.quantile_us(0.5)),
        p99_us: tenth(measured.latencies.quantile_us(0.99)),
        p999_us: tenth(measured.latencies.quantile_us(0.999)),
        errors: measured.errors,
    }
}

/// Processor, cores, memory and kernel of this machine.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':'))
            .map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let processor = after(&read("/proc/cpuinfo"), "model name");
    let memory =
        after(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0_u64) >> 20;
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} x {processor}, {memory} GiB, Linux {}", kernel.trim())
}
