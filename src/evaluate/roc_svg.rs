//! ROC curves as a picture: SVG without scripts, fonts or links, readable by itself.

use std::fmt::Write as _;

/// One curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What stands in the legend.
    pub name: String,
    /// Shares of false alarms and shares found, rising.
    pub points: Vec<(f64, f64)>,
}

const SIZE: f64 = 400.0;
const MARGIN: f64 = 50.0;
/// Least share of false alarms that is drawn.
const LEAST: f64 = 1e-4;
const COLOURS: [&str; 6] = ["#1b6ca8", "#c8553d", "#3a7d44", "#7b4b94", "#b8860b", "#555555"];
/// Points of a curve that are drawn; more are thinned.
const POINTS_MAX: usize = 2_000;

/// Draws the curves; the share of false alarms is on a logarithmic axis, because budgets are small.
pub fn draw(title: &str, curves: &[Curve]) -> String {
    let whole = SIZE + 2.0 * MARGIN;
    let height = whole + 18.0 * curves.len() as f64;
    let mut svg = String::new();
    let _ = write!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {height}" font-family="sans-serif" font-size="12">"#
    );
    let _ = write!(svg, r#"<rect width="{whole}" height="{height}" fill="white"/>"#);
    let _ = write!(svg, r#"<text x="{MARGIN}" y="24" font-size="14">{}</text>"#, escaped(title));
    grid(&mut svg);
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let every = curve.points.len().div_ceil(POINTS_MAX).max(1);
        let last = curve.points.len().saturating_sub(1);
        let mut path = String::new();
        for (at, (false_, found)) in curve.points.iter().enumerate() {
            if at % every == 0 || at == last {
                let _ = write!(path, "{:.1},{:.1} ", across(*false_), up(*found));
            }
        }
        let _ = write!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
            path.trim_end()
        );
    }
    for (number, (curve, colour)) in curves.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let y = whole + 18.0 * number as f64;
        let _ = write!(
            svg,
            r#"<rect x="{MARGIN}" y="{}" width="20" height="4" fill="{colour}"/><text x="{}" y="{y}">{}</text>"#,
            y - 6.0,
            MARGIN + 28.0,
            escaped(&curve.name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn grid(svg: &mut String) {
    for power in 0..=4 {
        let share = libm::pow(10.0, -f64::from(power));
        let x = across(share);
        let _ = write!(
            svg,
            r##"<line x1="{x:.1}" y1="{MARGIN}" x2="{x:.1}" y2="{}" stroke="#ddd"/><text x="{x:.1}" y="{}" text-anchor="middle">{}%</text>"##,
            MARGIN + SIZE,
            MARGIN + SIZE + 16.0,
            100.0 * share
        );
        let found = f64::from(power) / 4.0;
        let y = up(found);
        let _ = write!(
            svg,
            r##"<line x1="{MARGIN}" y1="{y:.1}" x2="{}" y2="{y:.1}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{}%</text>"##,
            MARGIN + SIZE,
            MARGIN - 6.0,
            y + 4.0,
            100.0 * found
        );
    }
    let _ = write!(
        svg,
        r#"<text x="{}" y="{}" text-anchor="middle">false alarms</text>"#,
        MARGIN + SIZE / 2.0,
        MARGIN + SIZE + 34.0
    );
}

fn across(share: f64) -> f64 {
    let decades = -libm::log10(LEAST);
    MARGIN + SIZE * (1.0 + libm::log10(share.clamp(LEAST, 1.0)) / decades)
}

fn up(share: f64) -> f64 {
    MARGIN + SIZE * (1.0 - share.clamp(0.0, 1.0))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_holds_every_curve_and_nothing_that_runs() {
        let points: Vec<(f64, f64)> = (0..=10_000).map(|at| (f64::from(at) / 1e4, 1.0)).collect();
        let svg = draw("a < b", &[Curve { name: "calls & <script>".to_owned(), points }]);
        assert!(svg.contains("a &lt; b") && svg.contains("calls &amp; &lt;script&gt;"));
        assert!(!svg.contains("<script"));
        assert_eq!(svg.matches("<polyline").count(), 1);
        assert!(svg.len() < 60_000, "{}", svg.len());
        assert!(svg.contains("50.0,50.0"), "no false alarms, all found: the upper left corner");
    }
}
