//! Suggests roles: groups of principals that use the same tools in the same shares.
//!
//! K-means of linfa over the square roots of the shares (so that Euclidean distance is Hellinger's), seeded, for two to eight groups; the
//! number is the one with the best mean silhouette. A suggestion for a person to read: nothing learns from it.

use super::super::output::{Output, table};
use super::super::refused::Refusals;
use super::super::trace_file::each_line;
use super::super::trace_line::parse_call;
use anyhow::{Context, Result, bail};
use linfa::prelude::*;
use linfa_clustering::KMeans;
use ndarray::Array2;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Groups tried.
const GROUPS_MAX: usize = 8;
/// Calls below which a principal is left out.
const CALLS_MIN: u64 = 20;
/// Mean silhouette below which there are no groups worth a name.
const SILHOUETTE_MIN: f64 = 0.25;
/// Tools that describe a group.
const TOOLS_SHOWN: usize = 5;

/// Arguments of `askance model roles`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Recorded calls, JSON lines, plain or zstd.
    #[arg(value_name = "FILE", num_args = 1.., required = true)]
    calls: Vec<PathBuf>,
}

/// A suggested role.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Role {
    principals: Vec<String>,
    tools: Vec<(String, f64)>,
}

/// What is suggested.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Suggested {
    roles: Vec<Role>,
    silhouette: f64,
    left_out: usize,
}

type Histograms = BTreeMap<String, BTreeMap<String, u64>>;

/// Runs the command.
pub(in crate::cli) fn run(args: &Args, output: &Output) -> Result<ExitCode> {
    let mut refusals = Refusals::default();
    let mut histograms = Histograms::new();
    for path in &args.calls {
        each_line(path, output, &mut refusals, |_, text| {
            let call = parse_call(text)?;
            *histograms.entry(call.principal).or_default().entry(call.tool).or_default() += 1;
            Ok(())
        })?;
    }
    let suggested = suggest(histograms)?;
    output.result(&suggested, || {
        let rows = suggested.roles.iter().enumerate().map(|(number, role)| {
            let tools: Vec<String> =
                role.tools.iter().map(|(tool, share)| format!("{tool} {:.0} %", 100.0 * share)).collect();
            [
                (number + 1).to_string(),
                role.principals.len().to_string(),
                role.principals.join(", "),
                tools.join(", "),
            ]
        });
        format!(
            "{}\n\nmean silhouette {:.2}; {} principals with fewer than {CALLS_MIN} calls left out",
            table(["ROLE", "PRINCIPALS", "WHO", "TOOLS"], rows),
            suggested.silhouette,
            suggested.left_out
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn suggest(mut histograms: Histograms) -> Result<Suggested> {
    let all = histograms.len();
    histograms.retain(|_, tools| tools.values().sum::<u64>() >= CALLS_MIN);
    let left_out = all - histograms.len();
    if histograms.len() < 3 {
        bail!(
            "{} principals with {CALLS_MIN} calls or more: at least 3 are needed to group them",
            histograms.len()
        );
    }
    let mut tools: Vec<&String> = histograms.values().flat_map(BTreeMap::keys).collect();
    tools.sort_unstable();
    tools.dedup();
    let mut points = Array2::zeros((histograms.len(), tools.len()));
    for (row, uses) in histograms.values().enumerate() {
        let total = uses.values().sum::<u64>() as f64;
        for (column, tool) in tools.iter().enumerate() {
            points[[row, column]] = (uses.get(*tool).copied().unwrap_or(0) as f64 / total).sqrt();
        }
    }
    let mut best: Option<(f64, Vec<usize>)> = None;
    for count in 2..=GROUPS_MAX.min(histograms.len() - 1) {
        let groups = group(&points, count)?;
        let value = silhouette(&points, &groups, count);
        if best.as_ref().is_none_or(|(known, _)| value > known + 1e-9) {
            best = Some((value, groups));
        }
    }
    let (silhouette, groups) = best.context("there is nothing to group")?;
    let groups = if silhouette < SILHOUETTE_MIN { vec![0; histograms.len()] } else { groups };
    Ok(Suggested { roles: roles(&histograms, &groups), silhouette, left_out })
}

fn group(points: &Array2<f64>, count: usize) -> Result<Vec<usize>> {
    let dataset = DatasetBase::from(points.clone());
    // Its own generator has a fixed seed.
    let fitted = KMeans::params(count).n_runs(10).max_n_iterations(200).tolerance(1e-6).fit(&dataset);
    let model = fitted.with_context(|| format!("grouping into {count} failed"))?;
    Ok(model.predict(points).to_vec())
}

/// Mean silhouette (Rousseeuw 1987): how much nearer each point is to its own group than to the next.
fn silhouette(points: &Array2<f64>, groups: &[usize], count: usize) -> f64 {
    let distance = |one: usize, other: usize| -> f64 {
        points.row(one).iter().zip(points.row(other)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    };
    let mut sum = 0.0;
    for (one, own) in groups.iter().enumerate() {
        let mut totals = vec![(0.0, 0u32); count];
        for (other, group) in groups.iter().enumerate().filter(|(other, _)| *other != one) {
            if let Some(total) = totals.get_mut(*group) {
                *total = (total.0 + distance(one, other), total.1 + 1);
            }
        }
        let mean = |total: &(f64, u32)| total.0 / f64::from(total.1);
        let Some(inside) = totals.get(*own).filter(|total| total.1 > 0).map(mean) else { continue };
        let others = totals.iter().enumerate().filter(|(group, total)| group != own && total.1 > 0);
        let outside = others.map(|(_, total)| mean(total)).fold(f64::INFINITY, f64::min);
        if outside.is_finite() && inside.max(outside) > 0.0 {
            sum += (outside - inside) / inside.max(outside);
        }
    }
    sum / groups.len().max(1) as f64
}

fn roles(histograms: &Histograms, groups: &[usize]) -> Vec<Role> {
    let mut members: BTreeMap<usize, Vec<&String>> = BTreeMap::new();
    for (principal, group) in histograms.keys().zip(groups) {
        members.entry(*group).or_default().push(principal);
    }
    let role = |principals: Vec<&String>| {
        let mut shares: BTreeMap<&String, f64> = BTreeMap::new();
        for uses in principals.iter().filter_map(|principal| histograms.get(*principal)) {
            let total = uses.values().sum::<u64>() as f64;
            for (tool, count) in uses {
                *shares.entry(tool).or_default() += *count as f64 / total / principals.len() as f64;
            }
        }
        let mut tools: Vec<(String, f64)> =
            shares.into_iter().map(|(tool, share)| (tool.clone(), share)).collect();
        tools.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        tools.truncate(TOOLS_SHOWN);
        Role { principals: principals.into_iter().cloned().collect(), tools }
    };
    members.into_values().map(role).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histograms(kinds: &[&[(&str, u64)]]) -> Histograms {
        let mut all = Histograms::new();
        for (kind, tools) in kinds.iter().enumerate() {
            for number in 0..4 {
                let uses = tools.iter().map(|(tool, count)| ((*tool).to_owned(), count + number));
                all.insert(format!("agent-{kind}-{number}"), uses.collect());
            }
        }
        all
    }

    #[test]
    fn three_jobs_are_three_roles_every_time() {
        let made = histograms(&[
            &[("deploy", 60), ("status", 40)],
            &[("mail", 80), ("search", 30)],
            &[("query", 100)],
        ]);
        let suggested = suggest(made.clone()).unwrap();
        assert_eq!(suggested.roles.len(), 3, "{suggested:?}");
        for role in &suggested.roles {
            let kinds: Vec<&str> = role.principals.iter().map(|name| &name[..7]).collect();
            assert!(kinds.iter().all(|kind| *kind == kinds[0]), "{role:?}");
        }
        assert_eq!(suggest(made).unwrap(), suggested, "the same every time");
    }

    #[test]
    fn one_job_is_one_role_and_strangers_are_left_out() {
        let mut made = histograms(&[&[("deploy", 60), ("status", 40)]]);
        made.insert("new".to_owned(), BTreeMap::from([("deploy".to_owned(), 3)]));
        let suggested = suggest(made).unwrap();
        assert_eq!(
            (suggested.left_out, suggested.roles.iter().map(|role| role.principals.len()).sum::<usize>()),
            (1, 4)
        );
        assert!(suggest(histograms(&[])).is_err());
    }
}
