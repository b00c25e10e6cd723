//! What is measured: one list of names with their units, and their values as Prometheus reads them (text format
//! 0.0.4).
//!
//! Tenants are the only label that clients choose; there are at most as many as the engine holds. Everything is read
//! when it is asked for: nothing is counted here.

use crate::detector::sentence::shown;
use crate::engine::{Engine, Error};
use crate::projection::State;
use crate::rpc::server::Door;
use std::fmt::Write;

/// A name that can be scraped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with its unit.
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// What it says.
    pub help: &'static str,
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: "gauge", help }
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: "counter", help }
}

/// Every name but the engine's own counters, which are `askance_<counter>_total` by partition.
pub const METRICS: &[Metric] = &[
    gauge("askance_build_info", "1; its label tells the version."),
    gauge("askance_ready", "Whether calls are taken: 1 or 0."),
    gauge("askance_partition_writable", "Whether a partition takes writes: 1 or 0."),
    gauge("askance_log_position", "Position of the newest record."),
    gauge("askance_snapshot_position", "Position of the newest snapshot; 0: none."),
    gauge("askance_queue_length", "Requests that wait for a partition's thread."),
    gauge("askance_queue_length_max", "Requests that may wait; further ones are refused."),
    gauge("askance_disk_used_bytes", "Bytes of a partition's table files."),
    gauge("askance_disk_free_bytes", "Bytes free on the file system of a partition."),
    gauge("askance_connections_open", "Connections of clients."),
    counter("askance_connections_refused_total", "Connections turned away, by reason."),
    counter("askance_calls_total", "Calls on record, by tenant and verdict, history included."),
    gauge("askance_sessions_open", "Live sessions of a tenant."),
    counter("askance_tenant_sessions_evicted_total", "Sessions closed because a tenant had too many."),
    gauge("askance_review_threshold_bits", "Evidence from which a tenant's calls go to a human."),
    gauge("askance_review_rate", "Share of a tenant's counted calls that went to a human."),
];

/// What is read of a tenant.
#[derive(Clone, Debug)]
struct TenantFigures {
    name: String,
    verdicts: [u64; 3],
    open: usize,
    evicted: u64,
    threshold_bits: f64,
    review_rate: f64,
}

/// All values now.
pub(super) async fn scrape(engine: &Engine, door: &Door) -> Result<String, Error> {
    let reading = engine.clone();
    let health = tokio::task::spawn_blocking(move || reading.health())
        .await
        .map_err(|_| Error::Storage("a reading thread panicked".to_owned()))?;
    let tenants = engine.ask_all(tenants).await?;
    let mut text = Text::default();
    text.one("askance_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    text.one("askance_ready", &[], f64::from(u8::from(engine.is_writable())));
    let partition = |number: u32| number.to_string();
    type Figure<'a> = (&'static str, &'a dyn Fn(&crate::engine::PartitionHealth) -> Option<f64>);
    let figures: [Figure<'_>; 7] = [
        ("askance_partition_writable", &|health| Some(f64::from(u8::from(health.not_writable.is_none())))),
        ("askance_log_position", &|health| Some(health.tail.get() as f64)),
        ("askance_snapshot_position", &|health| Some(health.snapshot.get() as f64)),
        ("askance_queue_length", &|health| Some(health.queue_len as f64)),
        ("askance_queue_length_max", &|health| Some(health.queue_len_max as f64)),
        ("askance_disk_used_bytes", &|health| Some(health.used_bytes as f64)),
        ("askance_disk_free_bytes", &|health| health.free_bytes.map(|bytes| bytes as f64)),
    ];
    for (name, figure) in figures {
        let values = health.iter().filter_map(|health| Some((partition(health.partition), figure(health)?)));
        text.many(name, values.map(|(partition, value)| (vec![("partition", partition)], value)));
    }
    let refused = door.refused();
    text.one("askance_connections_open", &[], door.open() as f64);
    let refused =
        [("full", refused.full), ("peer_full", refused.peer_full), ("no_preface", refused.no_preface)];
    let refused = refused.map(|(reason, count)| (vec![("reason", reason.to_owned())], count as f64));
    text.many("askance_connections_refused_total", refused);
    text.tenants(&tenants.into_iter().flatten().flatten().collect::<Vec<_>>());
    if let Some(first) = health.first() {
        for (index, (name, _)) in first.counters.named().enumerate() {
            let values = health.iter().filter_map(|health| {
                let (_, value) = health.counters.named().nth(index)?;
                Some((vec![("partition", partition(health.partition))], value as f64))
            });
            text.engine_counter(name, values);
        }
    }
    Ok(text.0)
}

fn tenants(state: &State) -> Vec<TenantFigures> {
    let figures = |(name, tenant): (&String, &crate::projection::Tenant)| {
        let tracker = &tenant.budget.tracker;
        let counted = tracker.counted();
        TenantFigures {
            name: name.clone(),
            verdicts: tenant.verdicts,
            open: tenant.sessions.len(),
            evicted: tenant.evicted_sessions,
            threshold_bits: f64::from(tracker.tau().as_i32()) / 1_000.0,
            review_rate: if counted == 0 { 0.0 } else { tracker.hits() as f64 / counted as f64 },
        }
    };
    state.tenants().map(figures).collect()
}

/// Text being written.
#[derive(Default)]
struct Text(String);

impl Text {
    fn one(&mut self, name: &str, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels.iter().map(|(label, text)| (*label, (*text).to_owned())).collect();
        self.many(name, [(labels, value)]);
    }

    /// A metric of the list with its values.
    fn many(&mut self, name: &str, values: impl IntoIterator<Item = (Vec<(&'static str, String)>, f64)>) {
        let Some(metric) = METRICS.iter().find(|metric| metric.name == name) else {
            tracing::error!(name, "a metric is not in the list");
            return;
        };
        self.head(name, metric.kind, metric.help);
        values.into_iter().for_each(|(labels, value)| self.line(name, &labels, value));
    }

    fn engine_counter(
        &mut self,
        counter: &str,
        values: impl IntoIterator<Item = (Vec<(&'static str, String)>, f64)>,
    ) {
        let name = format!("askance_{counter}_total");
        self.head(&name, "counter", &format!("Engine counter `{counter}` since the start."));
        values.into_iter().for_each(|(labels, value)| self.line(&name, &labels, value));
    }

    fn tenants(&mut self, tenants: &[TenantFigures]) {
        let name = |figures: &TenantFigures| ("tenant", figures.name.clone());
        let calls = tenants.iter().flat_map(|figures| {
            ["allow", "review", "deny"].into_iter().zip(figures.verdicts).map(move |(verdict, count)| {
                (vec![name(figures), ("verdict", verdict.to_owned())], count as f64)
            })
        });
        self.many("askance_calls_total", calls);
        let each = |value: fn(&TenantFigures) -> f64| {
            tenants.iter().map(move |figures| (vec![name(figures)], value(figures)))
        };
        self.many("askance_sessions_open", each(|figures| figures.open as f64));
        self.many("askance_tenant_sessions_evicted_total", each(|figures| figures.evicted as f64));
        self.many("askance_review_threshold_bits", each(|figures| figures.threshold_bits));
        self.many("askance_review_rate", each(|figures| figures.review_rate));
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &[(&'static str, String)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

/// A label's value: nothing invisible, and escaped as the format wants it.
fn escaped(text: &str) -> String {
    shown(text).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_their_units_and_counters_end_in_total() {
        for metric in METRICS {
            assert!(metric.name.starts_with("askance_") && metric.help.ends_with('.'), "{}", metric.name);
            assert_eq!(metric.kind == "counter", metric.name.ends_with("_total"), "{}", metric.name);
        }
    }

    #[test]
    fn labels_from_outside_break_no_line() {
        let mut text = Text::default();
        let label = vec![("tenant", "a\"b\\c\nd\u{202e}".to_owned())];
        text.many("askance_sessions_open", [(label, 3.0)]);
        let line = text.0.lines().last().unwrap();
        assert_eq!(text.0.lines().count(), 3, "{}", text.0);
        assert!(
            line.starts_with("askance_sessions_open{tenant=\"a\\\"b\\\\c") && line.ends_with("\"} 3"),
            "{line}"
        );
    }
}
