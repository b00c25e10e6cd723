//! Metrics, pushed now and then: the very list that `/metrics` has. Nothing is kept for a collector that is away: the
//! next push says it all.

use super::collector::{Collector, scope};
use super::messages::{KeyValue, text};
use super::metric_messages::{
    CUMULATIVE, Data, ExportMetrics, Gauge, Histogram, HistogramPoint, Metric, MetricsTaken, NumberPoint,
    PATH, ResourceMetrics, ScopeMetrics, Sum,
};
use crate::admin::Kind;
use crate::admin::figures::{self, Figure, Labels, Points};
use crate::domain::time::Timestamp;
use crate::engine::Engine;
use crate::rpc::server::Door;
use crate::rpc::tally::BOUNDS_S;
use std::time::Duration;

/// Pushes for ever.
pub(super) async fn push(engine: Engine, door: Door, mut collector: Collector, every: Duration) {
    let start = engine.now();
    let mut told = false;
    loop {
        tokio::time::sleep(every).await;
        let figures = match figures::read(&engine, &door).await {
            Ok(figures) => figures,
            Err(error) => {
                tracing::warn!(why = ?error.to_string(), "metrics cannot be read");
                continue;
            }
        };
        let resource = collector.resource();
        let metrics = figures.into_iter().map(|figure| metric(figure, start, engine.now())).collect();
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics }];
        let request = ExportMetrics { resource_metrics: vec![ResourceMetrics { resource, scope_metrics }] };
        let sent: Result<MetricsTaken, _> = collector.ask(PATH, request).await;
        if let Err(status) = &sent
            && !told
        {
            tracing::warn!(why = ?status.message(), "metrics were not taken");
        }
        told = sent.is_err();
    }
}

/// A figure as OTLP has it, under the same name.
fn metric(figure: Figure, start: Timestamp, now: Timestamp) -> Metric {
    let (start, now) = (nanos(start), nanos(now));
    let number = |(labels, value): (Labels, f64)| NumberPoint {
        start_time_unix_nano: if figure.kind == Kind::Gauge { 0 } else { start },
        time_unix_nano: now,
        as_double: Some(value),
        attributes: attributes(labels),
    };
    let data = match figure.points {
        Points::Numbers(points) => {
            let data_points = points.into_iter().map(number).collect();
            if figure.kind == Kind::Gauge {
                Data::Gauge(Gauge { data_points })
            } else {
                Data::Sum(Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true })
            }
        }
        Points::Times(points) => {
            let one = |(labels, times): (Labels, crate::rpc::tally::Times)| HistogramPoint {
                start_time_unix_nano: start,
                time_unix_nano: now,
                count: times.count(),
                sum: Some(times.sum_us as f64 / 1e6),
                bucket_counts: times.buckets.to_vec(),
                explicit_bounds: BOUNDS_S.to_vec(),
                attributes: attributes(labels),
            };
            let data_points = points.into_iter().map(one).collect();
            Data::Histogram(Histogram { data_points, aggregation_temporality: CUMULATIVE })
        }
    };
    Metric { name: figure.name, description: figure.help, unit: figure.unit.to_owned(), data: Some(data) }
}

fn attributes(labels: Labels) -> Vec<KeyValue> {
    labels.into_iter().map(|(label, value)| text(label, &value)).collect()
}

fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(0).saturating_mul(1_000)
}
