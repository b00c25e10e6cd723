//! A table of verbs that stands in for the one of this build: what a replay is asked to decide by.

use crate::domain::risk::RiskCategory;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Verbs that a table may have.
const VERBS_MAX: usize = 10_000;
/// Longest verb, bytes.
const VERB_BYTES_MAX: usize = 64;
/// Version of the table that this build reads.
const VERSION: u32 = 1;

/// Verbs with their categories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verbs(BTreeMap<String, RiskCategory>);

#[derive(Deserialize)]
struct Table {
    version: u32,
    categories: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    category: String,
    verbs: Vec<String>,
}

impl Verbs {
    /// Reads a table as `askance model export` writes it (`tool-risk.json`); says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: Table = serde_json::from_str(text).map_err(|fault| format!("is no table: {fault}"))?;
        if table.version != VERSION {
            return Err(format!("has version {}, this build reads {VERSION}", table.version));
        }
        let mut verbs = BTreeMap::new();
        for entry in table.categories {
            let known = RiskCategory::ALL.into_iter().find(|known| known.to_string() == entry.category);
            let category = known.ok_or_else(|| format!("`{}` is no category", entry.category))?;
            for verb in entry.verbs {
                if verb.is_empty() || verb.len() > VERB_BYTES_MAX || verb != verb.to_lowercase() {
                    return Err(format!("`{verb}` is no verb: lower case, 1 to {VERB_BYTES_MAX} bytes"));
                }
                if let Some(other) = verbs.insert(verb.clone(), category).filter(|other| *other != category) {
                    return Err(format!("`{verb}` is both {other} and {category}"));
                }
            }
        }
        if verbs.is_empty() || verbs.len() > VERBS_MAX {
            return Err(format!("has {} verbs, of 1 to {VERBS_MAX}", verbs.len()));
        }
        Ok(Self(verbs))
    }

    /// The category of a verb, with the verb as the table has it.
    pub(super) fn get(&self, word: &str) -> Option<(RiskCategory, &str)> {
        self.0.get_key_value(word).map(|(verb, category)| (*category, verb.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{infer, infer_by, verbs};
    use super::*;

    fn built_in() -> String {
        let table: Vec<_> = verbs()
            .into_iter()
            .map(|(category, verbs)| serde_json::json!({"category": category.to_string(), "verbs": verbs}))
            .collect();
        serde_json::json!({"version": 1, "categories": table}).to_string()
    }

    #[test]
    fn the_table_of_this_build_infers_what_this_build_does() {
        let same = Verbs::parse(&built_in()).unwrap();
        for tool in
            ["get_logs", "delete_resource", "run_migration", "frobnicate", "create_event", "getUserInfo"]
        {
            assert_eq!(infer_by(&same, tool, "", None, None), infer(tool, "", None, None), "{tool}");
        }
        let other =
            Verbs::parse(r#"{"version":1,"categories":[{"category":"low","verbs":["delete"]}]}"#).unwrap();
        assert_eq!(infer_by(&other, "delete_resource", "", None, None).category, RiskCategory::Low);
        assert_eq!(infer_by(&other, "get_logs", "", None, None).category, RiskCategory::High);
    }

    #[test]
    fn wrong_tables_are_refused_with_what_is_wrong() {
        let wrong = |text: &str| Verbs::parse(text).unwrap_err();
        assert!(wrong("{").contains("no table"));
        assert!(wrong(r#"{"version":2,"categories":[]}"#).contains("version 2"));
        assert!(wrong(r#"{"version":1,"categories":[]}"#).contains("0 verbs"));
        assert!(wrong(r#"{"version":1,"categories":[{"category":"x","verbs":[]}]}"#).contains("no category"));
        let both = r#"{"version":1,"categories":[{"category":"low","verbs":["a"]},{"category":"high","verbs":["a"]}]}"#;
        assert!(wrong(both).contains("both low and high"));
        assert!(
            wrong(r#"{"version":1,"categories":[{"category":"low","verbs":["Get"]}]}"#).contains("no verb")
        );
    }
}
