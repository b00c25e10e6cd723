//! A policy file (YAML) to a compiled policy; unknown keys are refused.

use super::rule::{Defaults, Policy, Rule, Thresholds};
use crate::domain::decision::Mode;
use serde::Deserialize;

/// Why a policy file was refused: one line a fault, fit to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    thresholds: Thresholds,
    #[serde(default)]
    rules: Vec<Rule>,
}

/// Reads a policy file. `mode` is used where the file sets none.
pub fn parse(text: &str, mode: Mode) -> Result<Policy, Vec<Fault>> {
    let file: File = serde_saphyr::from_str(text).map_err(|fault| vec![Fault(fault.to_string())])?;
    if file.version != 1 {
        return Err(vec![Fault(format!("version is {}, this build reads 1", file.version))]);
    }
    Policy::new(file.mode.unwrap_or(mode), file.defaults, file.thresholds, file.rules)
        .map_err(|faults| faults.into_iter().map(Fault).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rules_and_refuses_unknown_keys() {
        let policy = parse(
            "version: 1\nrules:\n  - {id: read, tool: get_service_*, effect: allow, risk: low}\n",
            Mode::Enforce,
        )
        .unwrap();
        assert_eq!(policy.rules().count(), 1);
        let fault =
            parse("version: 1\nrules:\n  - {id: a, tol: x, effect: allow}\n", Mode::Enforce).unwrap_err();
        assert!(fault[0].to_string().contains("tol"), "{fault:?}");
        assert!(parse("version: 2\n", Mode::Enforce).is_err());
    }
}
