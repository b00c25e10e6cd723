//! The model of `askance replay --model`: reads what can be put in place of what was used, and refuses what cannot.

use super::model::export;
use crate::detector::p_reject::PReject;
use crate::engine::{Exchange, Reviewed};
use crate::policy::category::Verbs;
use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use std::path::Path;

const VERBS: &str = "tool-risk.json";
const REVIEW: &str = "p_reject.params";
const PRIORS: &str = "priors.json";

/// Reads a directory of models, or one file of it.
pub(super) fn read(path: &Path) -> Result<Exchange> {
    let mut exchange = Exchange::default();
    let parts = if path.is_dir() {
        let parts: Vec<_> = [VERBS, REVIEW, PRIORS].map(|name| path.join(name)).into_iter().collect();
        parts.into_iter().filter(|part| part.exists()).collect()
    } else {
        vec![path.to_owned()]
    };
    if parts.is_empty() {
        bail!("{} holds none of {VERBS}, {REVIEW} and {PRIORS}", path.display());
    }
    for part in parts {
        let bytes = std::fs::read(&part).with_context(|| format!("cannot read {}", part.display()))?;
        let wrong = |why: String| anyhow!("{}: {why}", part.display());
        let text = || std::str::from_utf8(&bytes).map_err(|_| wrong("is not UTF-8".to_owned()));
        match part.file_name().and_then(|name| name.to_str()) {
            Some(PRIORS) => same_priors(text()?).map_err(wrong)?,
            Some(name) if name.ends_with(".json") => {
                exchange.verbs = Some(Verbs::parse(text()?).map_err(wrong)?);
            }
            _ => {
                exchange.review =
                    Some(PReject::parse(&bytes).map_err(|why| wrong(format!("parameters {why}")))?)
            }
        }
    }
    Ok(exchange)
}

/// Priors are constants of the statistics: others need another build.
fn same_priors(text: &str) -> Result<(), String> {
    let theirs: serde_json::Value =
        serde_json::from_str(text).map_err(|fault| format!("is no JSON: {fault}"))?;
    let ours = export::priors();
    let differing =
        ours.as_object().into_iter().flatten().find(|(name, value)| theirs.get(name) != Some(value));
    match differing {
        None => Ok(()),
        Some((name, _)) => Err(format!(
            "`{name}` is not that of this build; priors are compiled in, so replay with a build that has them"
        )),
    }
}

/// What the review models say of the calls that go to a human.
#[derive(Serialize)]
pub(super) struct ReviewedLine {
    calls: u64,
    /// Mean chance of rejection by the model given.
    chance: f64,
    calls_before: u64,
    /// The same by the models adopted then; none: none was.
    chance_before: Option<f64>,
}

/// The line; none where no call was looked at.
pub(super) fn reviewed(reviewed: &Reviewed) -> Option<ReviewedLine> {
    let mean = |sum: f64, calls: u64| if calls == 0 { 0.0 } else { sum / calls as f64 };
    let chance_before = mean(reviewed.chance_before, reviewed.calls_before);
    (reviewed.calls > 0).then(|| ReviewedLine {
        calls: reviewed.calls,
        chance: mean(reviewed.chance, reviewed.calls),
        calls_before: reviewed.calls_before,
        chance_before: (reviewed.calls_before > 0).then_some(chance_before),
    })
}

impl ReviewedLine {
    pub(super) fn in_words(&self) -> String {
        let before = self.chance_before.map_or_else(
            || "no model was adopted then".to_owned(),
            |chance| format!("{chance:.3} on {} by the model adopted then", self.calls_before),
        );
        format!(
            "the review model holds a rejection for likely at {:.3} on {} calls that go to a human; {before}",
            self.chance, self.calls
        )
    }
}
