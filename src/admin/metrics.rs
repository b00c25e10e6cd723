//! What is measured: one list of names with their units. Prometheus and OpenTelemetry get the same.

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What it is now.
    Gauge,
    /// Rises, from the start of the daemon or of the log.
    Counter,
    /// Counts by size, since the start of the daemon.
    Histogram,
}

impl Kind {
    /// Its name, as Prometheus has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// A name that can be scraped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with its unit.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its unit, as UCUM and OpenTelemetry write it.
    pub unit: &'static str,
    /// What it says.
    pub help: &'static str,
}

const fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, help }
}

const fn counter(name: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit, help }
}

const fn histogram(name: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, unit, help }
}

/// Every name but the engine's own counters, which are `askance_<counter>_total` by partition.
pub const METRICS: &[Metric] = &[
    gauge("askance_build_info", "1", "1; its label tells the version."),
    gauge("askance_ready", "1", "Whether calls are taken: 1 or 0."),
    gauge("askance_partition_writable", "1", "Whether a partition takes writes: 1 or 0."),
    gauge("askance_log_position", "{record}", "Position of the newest record."),
    gauge("askance_snapshot_position", "{record}", "Position of the newest snapshot; 0: none."),
    gauge("askance_queue_length", "{request}", "Requests that wait for a partition's thread."),
    gauge("askance_queue_length_max", "{request}", "Requests that may wait; further ones are refused."),
    gauge("askance_disk_used_bytes", "By", "Bytes of a partition's table files."),
    gauge("askance_disk_free_bytes", "By", "Bytes free on the file system of a partition."),
    gauge("askance_connections_open", "{connection}", "Connections of clients."),
    counter("askance_connections_refused_total", "{connection}", "Connections turned away, by reason."),
    histogram(
        "askance_evaluate_duration_seconds",
        "s",
        "Time from a call's arrival to its answer, by verdict; waiting for a human is not in it.",
    ),
    counter(
        "askance_tool_calls_total",
        "{call}",
        "Calls answered since the start, by tenant and tool; the first 200 tools by name.",
    ),
    counter("askance_calls_total", "{call}", "Calls on record, by tenant and verdict, history included."),
    gauge("askance_sessions_open", "{session}", "Live sessions of a tenant."),
    counter(
        "askance_tenant_sessions_evicted_total",
        "{session}",
        "Sessions closed because a tenant had too many.",
    ),
    gauge("askance_review_threshold_bits", "bit", "Evidence from which a tenant's calls go to a human."),
    gauge("askance_review_rate", "1", "Share of a tenant's counted calls that went to a human."),
    gauge("askance_subscriber_position", "{record}", "Position up to which a subscriber was told."),
    counter("askance_subscriber_sent_total", "{entry}", "Entries that a subscriber took since the start."),
    counter(
        "askance_subscriber_passed_over_total",
        "{entry}",
        "Entries that a subscriber did not want, since the start.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_their_units_and_counters_end_in_total() {
        for metric in METRICS {
            assert!(metric.name.starts_with("askance_") && metric.help.ends_with('.'), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            for (end, unit) in [("_bytes", "By"), ("_seconds", "s"), ("_bits", "bit")] {
                assert_eq!(metric.name.ends_with(end), metric.unit == unit, "{}", metric.name);
            }
        }
    }
}
