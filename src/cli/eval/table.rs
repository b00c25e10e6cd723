//! The figures as tables.

use super::super::output::table;
use crate::evaluate::bootstrap::Interval;
use crate::evaluate::report::{Measured, Report, Row};
use std::fmt::Write as _;

const FIGURES: [&str; 7] = ["", "OF", "POSITIVE/NEGATIVE", "AUC", "TPR@0.3%", "TPR@1%", "TPR@5%"];

/// All figures.
pub(super) fn text(report: &Report, folds: usize, refused: u64) -> String {
    let mut text = String::new();
    let mut part = |title: &str, rows: &[Row]| {
        if !rows.is_empty() {
            let _ = write!(text, "{title}\n{}\n\n", table(FIGURES, rows.iter().flat_map(lines)));
        }
    };
    part("By score (95 % intervals in brackets)", &report.scores);
    part("By kind of attack, by risk", &report.kinds);
    part("By one detector alone", &report.detectors);
    part("Risk with one detector left out (before the last calibration)", &report.ablation);
    calibration(&mut text, report);
    attacks(&mut text, report);
    reviews(&mut text, report);
    let _ = write!(text, "{folds} runs; {} calls unscored; {refused} lines refused", report.refused);
    text
}

/// One line by call and one by session.
fn lines(row: &Row) -> Vec<[String; 7]> {
    let line = |of: &str, found: &Measured| {
        let tpr = |at: usize| {
            let interval = found.intervals.and_then(|intervals| intervals.tpr.get(at).copied());
            figure(found.figures.tpr.get(at).copied().unwrap_or(f64::NAN), interval)
        };
        [
            row.name.clone(),
            of.to_owned(),
            format!("{}/{}", found.positives, found.negatives),
            figure(found.figures.auc, found.intervals.map(|intervals| intervals.auc)),
            tpr(0),
            tpr(1),
            tpr(2),
        ]
    };
    let sides = [("calls", &row.calls), ("sessions", &row.sessions)];
    let filled = sides.into_iter().filter_map(|(of, side)| side.as_ref().map(|found| (of, found)));
    filled.filter(|(_, found)| found.positives > 0).map(|(of, found)| line(of, found)).collect()
}

fn figure(value: f64, interval: Option<Interval>) -> String {
    let short = |value: f64| {
        if value.is_nan() { "-".to_owned() } else { format!("{value:.3}").trim_start_matches('0').to_owned() }
    };
    match interval {
        Some(Interval { low, high }) => format!("{} [{} {}]", short(value), short(low), short(high)),
        None => short(value),
    }
}

fn calibration(text: &mut String, report: &Report) {
    let Some(first) = report.calibration.first() else { return };
    let rows = report.calibration.iter().map(|table| {
        let levels: Vec<String> =
            table.levels.iter().map(|level| format!("{:.3}", 100.0 * level.observed)).collect();
        [table.name.to_owned(), table.judged.to_string(), levels.join("  ")]
    });
    let claimed: Vec<String> =
        first.levels.iter().map(|level| format!("{:.3}", 100.0 * level.claimed)).collect();
    let claimed = claimed.join("  ");
    let head = ["Calls in order", "JUDGED", claimed.as_str()];
    let _ = writeln!(text, "Calibration: share (%) that shows evidence claimed for the share in the head");
    let _ = write!(text, "{}\n\n", table(head, rows));
}

fn attacks(text: &mut String, report: &Report) {
    if report.attacks.is_empty() {
        return;
    }
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let rows = report.attacks.iter().map(|attack| {
        [
            attack.kind.clone(),
            attack.attacks.to_string(),
            percent(attack.reviewed),
            percent(attack.at_one_percent),
        ]
    });
    let head = ["By attack", "ATTACKS", "REVIEWED", "AT 1 % OF CALLS"];
    let _ = write!(text, "{}\n\n", table(head, rows));
}

fn reviews(text: &mut String, report: &Report) {
    let found = &report.reviews;
    let percent =
        |share: f64| if share.is_nan() { "none".to_owned() } else { format!("{:.2} %", 100.0 * share) };
    let _ = writeln!(
        text,
        "Reviews as decided: {} of {} counted calls in order over the threshold; {} hard, {} by a floor; \
         {} a session in order, {} of {} such sessions touched; a day: {}; attacked sessions touched: {}; \
         attacked in vain: {}",
        percent(found.soft_share),
        found.counted,
        found.hard,
        found.floors,
        format_args!("{:.2}", found.per_session),
        percent(found.sessions_touched),
        found.sessions,
        found.per_day.map_or_else(|| "-".to_owned(), |per_day| format!("{per_day:.1}")),
        percent(found.attacked_touched),
        percent(found.resisted_touched),
    );
    let at = &report.at_one_percent;
    let _ = writeln!(
        text,
        "At 1 % of calls in order (risk over {:.1}): sessions taken over {}, attacked in vain {} of {}. \
         At 1 % of sessions in order (over {:.1}): {}, {}",
        at.call_threshold,
        percent(at.hijacked_by_call),
        percent(at.resisted_by_call),
        at.resisted,
        at.session_threshold,
        percent(at.hijacked_by_session),
        percent(at.resisted_by_session),
    );
}
