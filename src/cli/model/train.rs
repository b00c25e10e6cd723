//! Fits the chance that a reviewer rejects, with linfa, from verdicts in JSON lines.
//!
//! Three traps of linfa-logistic 0.8.1, measured before it was used: its "positive" class is the more frequent
//! one, so that `labels().pos` must be asked which that is; sample weights are ignored, so none are given;
//! a single class is an error, so it is refused here, with a sentence. Selection of what was reviewed is on
//! the features themselves, so plain fitting is right and weighting by its inverse makes it worse.

use super::super::output::{Output, table};
use crate::bench::random::Random;
use crate::detector::p_reject::{FEATURES, PReject};
use anyhow::{Context, Result, bail};
use linfa::prelude::*;
use linfa_logistic::LogisticRegression;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Verdicts below which nothing is fitted.
const VERDICTS_MIN: usize = 100;
/// Verdicts of each kind below which nothing is fitted.
const KIND_MIN: usize = 10;
/// Folds of the cross-validation.
const FOLDS: usize = 5;
/// Strength of the L2 penalty.
const ALPHA: f64 = 1.0;
/// Names of the features, for the card.
const NAMES: [&str; FEATURES] = [
    "time",
    "rate",
    "sequence",
    "context",
    "arguments",
    "novelty",
    "results",
    "medium",
    "high",
    "critical",
    "floor fired",
    "argument found",
    "denied before",
];

/// Arguments of `askance model train`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Verdicts, JSON lines: `features` (13 numbers), `rejected`. `-` is standard input.
    #[arg(long, value_name = "FILE", required_unless_present = "synthetic")]
    verdicts: Option<PathBuf>,
    /// Make up so many verdicts of a reviewer whose rule is known, to try it out.
    #[arg(long, value_name = "COUNT", conflicts_with = "verdicts")]
    synthetic: Option<usize>,
    /// Where the parameters go; the card goes beside them with the ending `.md`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// A verdict of a reviewer.
#[derive(Clone, Debug, Deserialize)]
struct Verdict {
    features: [f64; FEATURES],
    rejected: bool,
}

/// How good a fit is, by cross-validation.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Quality {
    verdicts: usize,
    rejected: usize,
    /// Mean of -ln of the chance given to what happened.
    log_loss: f64,
    /// The same for the plain share of rejections.
    log_loss_of_share: f64,
    /// Expected calibration error over ten bins.
    calibration_error: f64,
}

/// Runs the command.
pub(in crate::cli) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let (verdicts, from) = match (&args.verdicts, args.synthetic) {
        (Some(path), _) => (read(path)?, "verdicts of reviewers".to_owned()),
        (None, Some(count)) => (synthetic(count), format!("{count} verdicts of a made-up reviewer, seed 42")),
        (None, None) => bail!("give --verdicts or --synthetic"),
    };
    let quality = cross_validated(&verdicts)?;
    let model = fit(&verdicts)?;
    let write = |path: &PathBuf, bytes: &[u8]| {
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    write(&args.out, &model.parameters())?;
    write(&args.out.with_extension("md"), card(&model, &quality, &from).as_bytes())?;
    output.result(&quality, || {
        let rows = std::iter::once(("(where all is 0)", model.intercept)).chain(NAMES.into_iter().zip(model.weights));
        let weights = table(["FEATURE", "WEIGHT"], rows.map(|(name, weight)| [name.to_owned(), format!("{weight:.3}")]));
        format!(
            "{weights}\n\n{} verdicts, {} rejected; cross-validated log loss {:.3} (by the share alone {:.3}), calibration error {:.3}",
            quality.verdicts, quality.rejected, quality.log_loss, quality.log_loss_of_share, quality.calibration_error
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &PathBuf) -> Result<Vec<Verdict>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |(number, line): (usize, &str)| {
        let verdict: Verdict = serde_json::from_str(line)
            .with_context(|| format!("{}:{}: no verdict", path.display(), number + 1))?;
        if verdict.features.iter().any(|x| !x.is_finite()) {
            bail!("{}:{}: a feature is not a number", path.display(), number + 1);
        }
        Ok(verdict)
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

/// Verdicts of a reviewer who rejects by a known rule, for a look at what fitting finds of it.
fn synthetic(count: usize) -> Vec<Verdict> {
    let mut random = Random::new(42);
    let verdict = |_| {
        let mut features = [0.0; FEATURES];
        for slot in features.iter_mut().take(7) {
            *slot = (random.waiting(2.0)).min(12.0);
        }
        let category = random.below(4);
        for (place, slot) in features.iter_mut().skip(7).take(3).enumerate() {
            *slot = f64::from(u8::from(category == place as u64 + 1));
        }
        for slot in features.iter_mut().skip(10) {
            *slot = f64::from(u8::from(random.chance(0.1)));
        }
        let odds = known_rule().intercept
            + known_rule().weights.iter().zip(&features).map(|(weight, x)| weight * x).sum::<f64>();
        Verdict { features, rejected: random.chance(1.0 / (1.0 + (-odds).exp())) }
    };
    (0..count).map(verdict).collect()
}

fn known_rule() -> PReject {
    PReject { intercept: -4.0, weights: [0.1, 0.2, 0.3, 0.2, 0.4, 0.1, 0.5, 0.2, 0.6, 1.0, 1.5, 0.5, 1.0] }
}

/// Fits all verdicts. Which class linfa calls positive is asked, not supposed.
fn fit(verdicts: &[Verdict]) -> Result<PReject> {
    let rejected = verdicts.iter().filter(|verdict| verdict.rejected).count();
    if verdicts.len() < VERDICTS_MIN || rejected < KIND_MIN || verdicts.len() - rejected < KIND_MIN {
        bail!(
            "{} verdicts with {rejected} rejections are too few: at least {VERDICTS_MIN}, and {KIND_MIN} of each kind",
            verdicts.len()
        );
    }
    let cells: Vec<f64> = verdicts.iter().flat_map(|verdict| verdict.features).collect();
    let records = Array2::from_shape_vec((verdicts.len(), FEATURES), cells)?;
    let targets: Array1<bool> = verdicts.iter().map(|verdict| verdict.rejected).collect();
    let fitted = LogisticRegression::default()
        .alpha(ALPHA)
        .max_iterations(500)
        .gradient_tolerance(1e-6)
        .fit(&Dataset::new(records, targets))
        .context("the fit failed")?;
    let sign = if fitted.labels().pos.class { 1.0 } else { -1.0 };
    let mut weights = [0.0; FEATURES];
    for (slot, weight) in weights.iter_mut().zip(fitted.params()) {
        *slot = sign * weight;
    }
    Ok(PReject { intercept: sign * fitted.intercept(), weights })
}

fn cross_validated(verdicts: &[Verdict]) -> Result<Quality> {
    let mut chances = Vec::with_capacity(verdicts.len());
    for fold in 0..FOLDS {
        let of = |inside: bool| -> Vec<Verdict> {
            let chosen = verdicts.iter().enumerate().filter(|(at, _)| (at % FOLDS == fold) == inside);
            chosen.map(|(_, verdict)| verdict.clone()).collect()
        };
        let model = fit(&of(false)).or_else(|_| fit(verdicts))?;
        chances.extend(of(true).iter().map(|verdict| (model.predict(&verdict.features), verdict.rejected)));
    }
    let rejected = verdicts.iter().filter(|verdict| verdict.rejected).count();
    let share = rejected as f64 / verdicts.len() as f64;
    let loss = |chance: f64, happened: bool| -(if happened { chance } else { 1.0 - chance }).max(1e-12).ln();
    let mean = |losses: f64| losses / chances.len() as f64;
    let mut bins = [(0.0, 0.0, 0.0); 10];
    for (chance, happened) in &chances {
        if let Some(bin) = bins.get_mut(((chance * 10.0) as usize).min(9)) {
            *bin = (bin.0 + chance, bin.1 + f64::from(u8::from(*happened)), bin.2 + 1.0);
        }
    }
    Ok(Quality {
        verdicts: verdicts.len(),
        rejected,
        log_loss: mean(chances.iter().map(|(chance, happened)| loss(*chance, *happened)).sum()),
        log_loss_of_share: mean(chances.iter().map(|(_, happened)| loss(share, *happened)).sum()),
        calibration_error: mean(bins.iter().map(|(chance, happened, _)| (chance - happened).abs()).sum()),
    })
}

fn card(model: &PReject, quality: &Quality, from: &str) -> String {
    let mut card = format!(
        "# P(reject)\n\nChance that a reviewer rejects a call that evidence sent to review: logistic, L2 penalty {ALPHA}, \
         fitted with linfa-logistic.\n\n\
         - Fitted on: {from}; {} verdicts, {} rejections.\n\
         - Measured: {FOLDS}-fold cross-validation, log loss {:.4} (plain share of rejections: {:.4}), expected calibration error {:.4}.\n\
         - Used for: telling reviewers how the like was judged, and in which order to look. It decides nothing and lowers no floor.\n\
         - Limits: it knows only what was reviewed; other reviewers judge otherwise; fitting again on another CPU may differ in the \
           last bits, which is why the parameters are stored as bits and adopted by an event.\n\n| feature | weight |\n| --- | --- |\n",
        quality.verdicts,
        quality.rejected,
        quality.log_loss,
        quality.log_loss_of_share,
        quality.calibration_error
    );
    let rows =
        std::iter::once(("(where all is 0)", model.intercept)).chain(NAMES.into_iter().zip(model.weights));
    for (name, weight) in rows {
        let _ = writeln!(card, "| {name} | {weight:.4} |");
    }
    card
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One feature decides; a share of about `share` is rejected.
    fn one_feature(share: f64) -> Vec<Verdict> {
        let mut random = Random::new(7);
        let verdict = |_| {
            let mut features = [0.0; FEATURES];
            let rejected = random.chance(share);
            features[4] = if rejected { 6.0 + 4.0 * random.unit() } else { 5.0 * random.unit() };
            Verdict { features, rejected }
        };
        (0..600).map(verdict).collect()
    }

    #[test]
    fn a_rejection_is_a_rejection_whichever_class_is_more_frequent() {
        for share in [0.1, 0.5, 0.9] {
            let model = fit(&one_feature(share)).unwrap();
            let (mut low, mut high) = ([0.0; FEATURES], [0.0; FEATURES]);
            (low[4], high[4]) = (1.0, 9.0);
            assert!(model.weights[4] > 0.0, "{share}: {model:?}");
            assert!(
                model.predict(&high) > 0.9 && model.predict(&low) < 0.1 + 0.2 * share,
                "{share}: {model:?}"
            );
        }
    }

    #[test]
    fn the_rule_of_a_reviewer_is_found() {
        let verdicts = synthetic(4_000);
        let model = fit(&verdicts).unwrap();
        for (found, known) in model.weights.iter().zip(known_rule().weights) {
            assert!((found - known).abs() < 0.45, "{model:?}");
        }
        let quality = cross_validated(&verdicts).unwrap();
        assert!(quality.log_loss < quality.log_loss_of_share - 0.05, "{quality:?}");
        assert!(quality.calibration_error < 0.03, "{quality:?}");
    }

    #[test]
    fn too_few_verdicts_are_refused() {
        assert!(fit(&one_feature(0.5)[..50]).unwrap_err().to_string().contains("too few"));
        let alike: Vec<Verdict> = one_feature(0.0);
        assert!(fit(&alike).unwrap_err().to_string().contains("0 rejections"));
    }
}
