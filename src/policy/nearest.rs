//! The name that was probably meant.

/// The nearest of some known names, if one is near enough to be meant: at most a quarter of its letters
/// and one more differ.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    let best = known.map(|known| (strsim::damerau_levenshtein(name, known), known)).min()?;
    (best.0 <= 1 + best.1.len() / 4).then(|| best.1.to_owned())
}
