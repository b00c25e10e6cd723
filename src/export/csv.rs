//! CSV (RFC 4180): one line a decided call.
//!
//! Names come from agents. A text that a spreadsheet would take for a formula (it begins with `=`, `+`, `-`, `@`, a
//! tab or a carriage return) gets an apostrophe in front, as OWASP advises against CSV injection.

use super::row::{CallRow, DETECTORS};
use std::borrow::Cow;

/// The first line.
pub fn header() -> String {
    let fixed = [
        "position",
        "partition",
        "time",
        "tenant",
        "session_key",
        "principal",
        "principal_chain",
        "client",
        "server",
        "tool",
        "call_id",
        "traceparent",
        "arguments",
        "imported",
        "verdict",
        "computed_verdict",
        "enforced",
        "risk",
        "bits",
        "threshold_bits",
        "category",
        "reason_code",
        "reason",
        "rule_id",
        "hash",
    ];
    let names: Vec<&str> = fixed.into_iter().chain(DETECTORS.map(|(_, name)| name)).collect();
    names.join(",")
}

/// The line of a call.
pub fn line(row: &CallRow) -> String {
    let figure = |bits: f64| format!("{bits:.3}");
    let text = |text: &str| quoted(&inert(text));
    let fixed = [
        row.position.to_string(),
        row.partition.to_string(),
        row.time(),
        text(&row.tenant),
        text(&row.session_key),
        text(&row.principal),
        text(&row.principal_chain.join(" > ")),
        text(&row.client),
        text(&row.server),
        text(&row.tool),
        text(&row.call_id),
        text(&row.traceparent),
        text(&row.arguments),
        row.imported.to_string(),
        text(&row.verdict),
        text(&row.computed_verdict),
        row.enforced.to_string(),
        row.risk.to_string(),
        figure(row.bits),
        figure(row.threshold_bits),
        text(&row.category),
        text(&row.reason_code),
        text(&row.reason),
        text(&row.rule_id),
        row.hash.clone(),
    ];
    let detectors = row.detector_bits.iter().map(|bits| bits.map_or_else(String::new, figure));
    let cells: Vec<String> = fixed.into_iter().chain(detectors).collect();
    cells.join(",")
}

/// A text that no spreadsheet computes.
fn inert(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}").into() } else { text.into() }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row_of;
    use super::*;
    use crate::proto::v1::Verdict;

    #[test]
    fn a_line_has_the_cells_of_its_header() {
        let line = line(&row_of("drop_table", Verdict::Review, 81));
        assert_eq!(line.split(',').count(), header().split(',').count());
        assert!(line.starts_with("7,0,2025-11-17T17:20:00.250Z,acme,"), "{line}");
        assert!(line.ends_with(",9.000,"), "{line}");
    }

    #[test]
    fn names_are_quoted_and_compute_nothing() {
        assert_eq!(quoted(&inert("a,\"b\"\nc")), "\"a,\"\"b\"\"\nc\"");
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"] {
            assert!(inert(formula).starts_with('\''), "{formula}");
        }
        assert_eq!(inert("get_logs"), "get_logs");
    }
}
