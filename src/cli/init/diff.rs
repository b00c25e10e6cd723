//! What changes between two texts, as people read it. Pure.

use crate::detector::sentence::shown;
use std::fmt::Write as _;

/// Lines shown around a change.
const AROUND: usize = 2;
/// Lines compared one by one; longer middles are shown as taken out and put in.
const LINES_MAX: usize = 2_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Same,
    Out,
    In,
}

/// The changes from one text to the other, with a few lines around.
pub(super) fn diff(name: &str, before: &str, after: &str) -> String {
    let lines = compared(&before.lines().collect::<Vec<_>>(), &after.lines().collect::<Vec<_>>());
    let changed: Vec<usize> =
        lines.iter().enumerate().filter(|(_, (sign, _))| *sign != Sign::Same).map(|(at, _)| at).collect();
    let mut text = format!("--- {name}\n+++ {name}\n");
    let mut left_out = false;
    for (at, (sign, line)) in lines.iter().enumerate() {
        let near = changed.iter().any(|change| change.abs_diff(at) <= AROUND);
        if !near {
            left_out = true;
            continue;
        }
        if std::mem::take(&mut left_out) {
            text.push_str("@@\n");
        }
        let mark = match sign {
            Sign::Same => ' ',
            Sign::Out => '-',
            Sign::In => '+',
        };
        // Writing to a string does not fail.
        let _written = writeln!(text, "{mark}{}", plain(line));
    }
    text
}

/// A line as a terminal may show it.
fn plain(line: &str) -> String {
    line.split('\t').map(shown).collect::<Vec<_>>().join("\t")
}

fn compared<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<(Sign, &'a str)> {
    let head = before.iter().zip(after).take_while(|(old, new)| old == new).count();
    let (old, new) = (before.get(head..).unwrap_or_default(), after.get(head..).unwrap_or_default());
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let same = |lines: &[&'a str]| lines.iter().map(|line| (Sign::Same, *line)).collect::<Vec<_>>();
    let (old_middle, end) = old.split_at(old.len() - tail);
    let new_middle = new.get(..new.len() - tail).unwrap_or_default();
    [same(before.get(..head).unwrap_or_default()), middle(old_middle, new_middle), same(end)].concat()
}

/// By the longest common subsequence.
fn middle<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(Sign, &'a str)> {
    if old.len().max(new.len()) > LINES_MAX {
        let out = old.iter().map(|line| (Sign::Out, *line));
        return out.chain(new.iter().map(|line| (Sign::In, *line))).collect();
    }
    let width = new.len() + 1;
    let mut common = vec![0u32; (old.len() + 1) * width];
    let at = |row: usize, column: usize| row * width + column;
    let of = |common: &[u32], row: usize, column: usize| common.get(at(row, column)).copied().unwrap_or(0);
    for (row, line) in old.iter().enumerate().rev() {
        for (column, other) in new.iter().enumerate().rev() {
            let best = if line == other {
                of(&common, row + 1, column + 1) + 1
            } else {
                of(&common, row + 1, column).max(of(&common, row, column + 1))
            };
            if let Some(cell) = common.get_mut(at(row, column)) {
                *cell = best;
            }
        }
    }
    let (mut row, mut column, mut lines) = (0, 0, Vec::new());
    loop {
        match (old.get(row), new.get(column)) {
            (Some(line), Some(other)) if line == other => {
                lines.push((Sign::Same, *line));
                (row, column) = (row + 1, column + 1);
            }
            (Some(line), other)
                if other.is_none() || of(&common, row + 1, column) >= of(&common, row, column + 1) =>
            {
                lines.push((Sign::Out, *line));
                row += 1;
            }
            (_, Some(other)) => {
                lines.push((Sign::In, *other));
                column += 1;
            }
            _ => return lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_changes_is_shown() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\ni\n";
        let after = "a\nb\nc\nd\nX\nf\ng\nh\ni\nj\n";
        let found = diff("x.json", before, after);
        assert_eq!(found, "--- x.json\n+++ x.json\n@@\n c\n d\n-e\n+X\n f\n g\n h\n i\n+j\n");
        assert_eq!(diff("n", "", "a\n"), "--- n\n+++ n\n+a\n");
    }

    proptest! {
        #[test]
        fn both_texts_can_be_told_from_it(
            old in proptest::collection::vec("[abc]", 0..12), new in proptest::collection::vec("[abc]", 0..12),
        ) {
            let (old, new): (Vec<&str>, Vec<&str>) = (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
            let lines = compared(&old, &new);
            let of = |gone: Sign| lines.iter().filter(|(sign, _)| *sign != gone).map(|(_, line)| *line).collect::<Vec<_>>();
            prop_assert_eq!(of(Sign::In), old);
            prop_assert_eq!(of(Sign::Out), new);
        }
    }
}
