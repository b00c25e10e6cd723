//! Which patterns a tool's name can match, found without trying them all.
//!
//! A pattern without wildcards stands under its whole name; any other under the letters before its first
//! wildcard. A name meets its own entry and one entry for each of its beginnings that some pattern has.

use globset::{Glob, GlobBuilder, GlobMatcher};
use std::collections::{BTreeMap, BTreeSet};

/// Longest pattern, bytes.
pub(super) const GLOB_BYTES_MAX: usize = 1_024;

/// Reads a pattern; `*` does not cross `/`. The error says what is wrong.
pub(super) fn compile(text: &str) -> Result<Glob, String> {
    if text.is_empty() {
        return Err("an empty pattern matches nothing".to_owned());
    }
    if text.len() > GLOB_BYTES_MAX {
        return Err(format!("longer than {GLOB_BYTES_MAX} bytes"));
    }
    GlobBuilder::new(text).literal_separator(true).build().map_err(|fault| fault.kind().to_string())
}

/// A pattern ready to match.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// Exactly this name.
    Exact(String),
    /// These first letters and anything without `/` behind them.
    Prefix(String),
    /// Anything without `/`.
    Any,
    /// Whatever else globs can say.
    Glob(Box<GlobMatcher>, String),
}

impl Pattern {
    /// Reads a pattern.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let glob = compile(text)?;
        let literal = literal_prefix(text);
        Ok(if literal == text {
            Self::Exact(text.to_owned())
        } else if text == "*" {
            Self::Any
        } else if text.strip_suffix('*') == Some(literal) {
            Self::Prefix(literal.to_owned())
        } else {
            Self::Glob(Box::new(glob.compile_matcher()), literal.to_owned())
        })
    }

    /// Whether it matches a name.
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Prefix(prefix) => {
                name.strip_prefix(prefix.as_str()).is_some_and(|rest| !rest.contains('/'))
            }
            Self::Any => !name.contains('/'),
            Self::Glob(matcher, _) => matcher.is_match(name),
        }
    }

    /// The letters every match begins with.
    fn prefix(&self) -> &str {
        match self {
            Self::Exact(prefix) | Self::Prefix(prefix) | Self::Glob(_, prefix) => prefix,
            Self::Any => "",
        }
    }
}

fn literal_prefix(text: &str) -> &str {
    let end = text.find(['*', '?', '[', ']', '{', '}', '\\', '!']).unwrap_or(text.len());
    text.get(..end).unwrap_or("")
}

/// Patterns by the names they can match; each has the number under which it was added.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    exact: BTreeMap<String, Vec<u32>>,
    prefixes: BTreeMap<String, Vec<u32>>,
    lengths: BTreeSet<usize>,
}

impl Names {
    /// Adds a pattern.
    pub(super) fn add(&mut self, pattern: &Pattern, number: u32) {
        let prefix = pattern.prefix();
        if let Pattern::Exact(name) = pattern {
            self.exact.entry(name.clone()).or_default().push(number);
        } else {
            self.prefixes.entry(prefix.to_owned()).or_default().push(number);
            self.lengths.insert(prefix.len());
        }
    }

    /// Numbers of the patterns that may match a name, in increasing order.
    pub(super) fn candidates(&self, name: &str) -> Vec<u32> {
        let mut found = self.exact.get(name).cloned().unwrap_or_default();
        for length in &self.lengths {
            let Some(start) = name.get(..*length) else { continue };
            found.extend(self.prefixes.get(start).into_iter().flatten());
        }
        found.sort_unstable();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_backslash_or_a_bang_is_no_literal() {
        assert_eq!(literal_prefix("get_*"), "get_");
        assert_eq!(literal_prefix("a\\*b"), "a");
        assert_eq!(literal_prefix("plain"), "plain");
        assert!(Pattern::new("[").is_err());
        assert!(Pattern::new("").is_err());
    }

    proptest! {
        /// The index never misses a pattern that the glob itself matches, and the short ways of matching
        /// agree with it.
        #[test]
        fn the_index_misses_nothing(
            patterns in proptest::collection::vec("[ab*?/]{1,5}", 1..20),
            name in "[ab/]{0,6}",
        ) {
            let mut names = Names::default();
            let mut matching = Vec::new();
            for (number, text) in patterns.iter().enumerate() {
                let Ok(pattern) = Pattern::new(text) else { continue };
                let glob = compile(text).unwrap().compile_matcher();
                prop_assert_eq!(pattern.matches(&name), glob.is_match(&name), "{} {}", text, name);
                names.add(&pattern, number as u32);
                if glob.is_match(&name) {
                    matching.push(number as u32);
                }
            }
            let candidates = names.candidates(&name);
            prop_assert!(candidates.is_sorted());
            for number in matching {
                prop_assert!(candidates.contains(&number), "{} not found for {}", patterns[number as usize], name);
            }
        }
    }
}
