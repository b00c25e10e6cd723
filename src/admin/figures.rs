//! The values of all metrics at one moment. Everything is read when it is asked for: nothing is counted here.

use super::metrics::{Kind, METRICS};
use crate::engine::{Engine, Error, PartitionHealth};
use crate::projection::State;
use crate::rpc::server::Door;
use crate::rpc::tally::{ANSWERS, Times};

/// Names of labels with their values.
pub type Labels = Vec<(&'static str, String)>;

/// A metric with its values.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its unit.
    pub unit: &'static str,
    /// What it says.
    pub help: String,
    /// Its values.
    pub points: Points,
}

/// Values by labels.
#[derive(Clone, Debug, PartialEq)]
pub enum Points {
    /// Of a gauge or a counter.
    Numbers(Vec<(Labels, f64)>),
    /// Of a histogram.
    Times(Vec<(Labels, Times)>),
}

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
pub async fn read(engine: &Engine, door: &Door) -> Result<Vec<Figure>, Error> {
    let reading = engine.clone();
    let health = tokio::task::spawn_blocking(move || reading.health())
        .await
        .map_err(|_| Error::Storage("a reading thread panicked".to_owned()))?;
    let tenants = engine.ask_all(tenants).await?;
    let mut all = Figures::default();
    all.one("askance_build_info", vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0);
    all.one("askance_ready", Labels::new(), f64::from(u8::from(engine.is_writable())));
    all.partitions(&health);
    all.door(door);
    all.subscribers(engine);
    all.tenants(&tenants.into_iter().flatten().flatten().collect::<Vec<_>>());
    all.counters(&health);
    Ok(all.0)
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

/// Values being gathered.
#[derive(Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn one(&mut self, name: &str, labels: Labels, value: f64) {
        self.many(name, [(labels, value)]);
    }

    fn many(&mut self, name: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
        self.put(name, Points::Numbers(values.into_iter().collect()));
    }

    /// A metric of the list with its values.
    fn put(&mut self, name: &str, points: Points) {
        let Some(metric) = METRICS.iter().find(|metric| metric.name == name) else {
            tracing::error!(name, "a metric is not in the list");
            return;
        };
        let (kind, unit, help) = (metric.kind, metric.unit, metric.help.to_owned());
        self.0.push(Figure { name: name.to_owned(), kind, unit, help, points });
    }

    fn partitions(&mut self, health: &[PartitionHealth]) {
        type Read<'a> = (&'static str, &'a dyn Fn(&PartitionHealth) -> Option<f64>);
        let figures: [Read<'_>; 7] = [
            ("askance_partition_writable", &|health| {
                Some(f64::from(u8::from(health.not_writable.is_none())))
            }),
            ("askance_log_position", &|health| Some(health.tail.get() as f64)),
            ("askance_snapshot_position", &|health| Some(health.snapshot.get() as f64)),
            ("askance_queue_length", &|health| Some(health.queue_len as f64)),
            ("askance_queue_length_max", &|health| Some(health.queue_len_max as f64)),
            ("askance_disk_used_bytes", &|health| Some(health.used_bytes as f64)),
            ("askance_disk_free_bytes", &|health| health.free_bytes.map(|bytes| bytes as f64)),
        ];
        for (name, figure) in figures {
            self.many(name, health.iter().filter_map(|health| Some((partition(health), figure(health)?))));
        }
    }

    fn door(&mut self, door: &Door) {
        let refused = door.refused();
        self.one("askance_connections_open", Labels::new(), door.open() as f64);
        let refused =
            [("full", refused.full), ("peer_full", refused.peer_full), ("no_preface", refused.no_preface)];
        let refused = refused.map(|(reason, count)| (vec![("reason", reason.to_owned())], count as f64));
        self.many("askance_connections_refused_total", refused);
        let label = |answer: &str| vec![("verdict", answer.to_owned())];
        let times = ANSWERS.into_iter().zip(door.times()).map(|(answer, times)| (label(answer), times));
        self.put("askance_evaluate_duration_seconds", Points::Times(times.collect()));
        let calls = door
            .tools()
            .into_iter()
            .map(|(tenant, tool, calls)| (vec![("tenant", tenant), ("tool", tool)], calls as f64));
        self.many("askance_tool_calls_total", calls);
    }

    fn subscribers(&mut self, engine: &Engine) {
        let all = engine.subscribers().all();
        let labels = |name: &str, partition: usize| {
            vec![("subscriber", name.to_owned()), ("partition", partition.to_string())]
        };
        let each = |value: fn(&crate::engine::Standing) -> u64| {
            all.iter()
                .map(move |((name, partition), standing)| (labels(name, *partition), value(standing) as f64))
        };
        self.many("askance_subscriber_position", each(|standing| standing.checkpoint));
        self.many("askance_subscriber_sent_total", each(|standing| standing.sent));
        self.many("askance_subscriber_passed_over_total", each(|standing| standing.passed_over));
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

    /// The engine's own counters, by partition.
    fn counters(&mut self, health: &[PartitionHealth]) {
        let Some(first) = health.first() else { return };
        for (index, (counter, _)) in first.counters.named().enumerate() {
            let values = health.iter().filter_map(|health| {
                let (_, value) = health.counters.named().nth(index)?;
                Some((partition(health), value as f64))
            });
            self.0.push(Figure {
                name: format!("askance_{counter}_total"),
                kind: Kind::Counter,
                unit: "1",
                help: format!("Engine counter `{counter}` since the start."),
                points: Points::Numbers(values.collect()),
            });
        }
    }
}

fn partition(health: &PartitionHealth) -> Labels {
    vec![("partition", health.partition.to_string())]
}
