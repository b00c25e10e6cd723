//! Figures as Prometheus reads them: text format 0.0.4.

use super::figures::{Figure, Labels, Points};
use crate::detector::sentence::shown;
use crate::rpc::tally::{BOUNDS_S, Times};
use std::fmt::Write;

/// The text of all figures.
pub(super) fn text(figures: &[Figure]) -> String {
    let mut text = String::new();
    for figure in figures {
        let (name, kind) = (&figure.name, figure.kind.name());
        // Writing to a string cannot fail.
        let _ = write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n", figure.help);
        match &figure.points {
            Points::Numbers(points) => {
                points.iter().for_each(|(labels, value)| line(&mut text, name, labels, *value));
            }
            Points::Times(points) => {
                points.iter().for_each(|(labels, times)| histogram(&mut text, name, labels, times));
            }
        }
    }
    text
}

fn histogram(text: &mut String, name: &str, labels: &Labels, times: &Times) {
    let bounds = BOUNDS_S.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
    let mut count = 0;
    for (bound, calls) in bounds.zip(times.buckets) {
        count += calls;
        let mut labels = labels.clone();
        labels.push(("le", bound));
        line(text, &format!("{name}_bucket"), &labels, count as f64);
    }
    line(text, &format!("{name}_sum"), labels, times.sum_us as f64 / 1e6);
    line(text, &format!("{name}_count"), labels, count as f64);
}

fn line(text: &mut String, name: &str, labels: &Labels, value: f64) {
    let labels: Vec<String> =
        labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(text, "{name}{labels} {value}");
}

/// A label's value: nothing invisible, and escaped as the format wants it.
fn escaped(text: &str) -> String {
    shown(text).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Kind;
    use super::*;

    fn figure(kind: Kind, points: Points) -> Figure {
        Figure { name: "askance_x".to_owned(), kind, unit: "1", help: "X.".to_owned(), points }
    }

    #[test]
    fn labels_from_outside_break_no_line() {
        let label = vec![("tenant", "a\"b\\c\nd\u{202e}".to_owned())];
        let text = text(&[figure(Kind::Gauge, Points::Numbers(vec![(label, 3.0)]))]);
        let line = text.lines().last().unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(line.starts_with("askance_x{tenant=\"a\\\"b\\\\c") && line.ends_with("\"} 3"), "{line}");
    }

    #[test]
    fn buckets_add_up() {
        let mut times = Times { sum_us: 2_500, ..Times::default() };
        (times.buckets[0], times.buckets[2], times.buckets[BOUNDS_S.len()]) = (3, 1, 2);
        let text = text(&[figure(Kind::Histogram, Points::Times(vec![(Labels::new(), times)]))]);
        for line in [
            "askance_x_bucket{le=\"0.00025\"} 3",
            "askance_x_bucket{le=\"0.001\"} 4",
            "askance_x_bucket{le=\"5\"} 4",
            "askance_x_bucket{le=\"+Inf\"} 6",
            "askance_x_sum 0.0025",
            "askance_x_count 6",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }
}
