//! Which sessions teach and which are scored: the protocols.
//!
//! In every protocol only sessions without any attack teach. Groups are made of names in the order of their
//! SHA-256, in turns, so that they are of equal size and nobody chose them.

use clap::ValueEnum;
use hashbrown::HashMap;
use sha2::{Digest, Sha256};

/// How the sessions of the test files are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// As the files say: `--train` teaches, `--test` is scored.
    Files,
    /// Nine cells of models and user tasks; whoever teaches shares neither with the cell scored.
    NewDeployment,
    /// Three groups of user tasks; the models are known.
    UnseenTasks,
    /// Three groups of models; the tasks are known.
    UnseenModels,
    /// Each principal in turn is a stranger to what the others taught.
    UnseenPeople,
}

/// One split: what teaches and what is scored, by session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fold {
    /// Sessions that teach.
    pub(super) train: Vec<bool>,
    /// Sessions that are scored.
    pub(super) test: Vec<bool>,
}

/// A session as the protocols see it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Its principal.
    pub(super) principal: String,
    /// Its user's task; empty: unknown.
    pub(super) task: String,
    /// Whether it may teach.
    pub(super) teaches: bool,
}

/// Groups a side.
const GROUPS: usize = 3;

/// The splits of a protocol.
pub(super) fn folds(protocol: Protocol, members: &[Member]) -> Vec<Fold> {
    let models = groups(members.iter().map(|member| base_of(&member.principal, members)), GROUPS);
    let tasks = groups(members.iter().map(|member| member.task.as_str()), GROUPS);
    let cells: Vec<(Option<usize>, Option<usize>)> = match protocol {
        Protocol::Files => return Vec::new(),
        Protocol::UnseenPeople => {
            let people = groups(members.iter().map(|member| member.principal.as_str()), usize::MAX);
            let count = people.iter().max().map_or(0, |most| most + 1);
            let of = |person: usize| split(members, |at| people[at] == person, |at| people[at] == person);
            return (0..count).map(of).collect();
        }
        Protocol::NewDeployment => {
            (0..GROUPS).flat_map(|model| (0..GROUPS).map(move |task| (Some(model), Some(task)))).collect()
        }
        Protocol::UnseenTasks => (0..GROUPS).map(|task| (None, Some(task))).collect(),
        Protocol::UnseenModels => (0..GROUPS).map(|model| (Some(model), None)).collect(),
    };
    let fold = |(model, task): (Option<usize>, Option<usize>)| {
        let is = |wanted: Option<usize>, found: usize| wanted.is_none_or(|wanted| wanted == found);
        let shares = |wanted: Option<usize>, found: usize| wanted == Some(found);
        split(
            members,
            |at| shares(model, models[at]) || shares(task, tasks[at]),
            |at| is(model, models[at]) && is(task, tasks[at]),
        )
    };
    let folds = cells.into_iter().map(fold);
    folds.filter(|fold| fold.test.contains(&true)).collect()
}

fn split(members: &[Member], held_out: impl Fn(usize) -> bool, scored: impl Fn(usize) -> bool) -> Fold {
    Fold {
        train: members.iter().enumerate().map(|(at, member)| member.teaches && !held_out(at)).collect(),
        test: (0..members.len()).map(scored).collect(),
    }
}

/// The shortest principal whose name, up to a hyphen, begins this one's: a model, where principals are
/// models with something added.
fn base_of<'a>(principal: &'a str, members: &'a [Member]) -> &'a str {
    let begins = |name: &&str| {
        principal == *name || principal.strip_prefix(*name).is_some_and(|rest| rest.starts_with('-'))
    };
    let names = members.iter().map(|member| member.principal.as_str());
    names.filter(begins).min_by_key(|name| name.len()).unwrap_or(principal)
}

/// The group of each name.
fn groups<'a>(names: impl Iterator<Item = &'a str>, count: usize) -> Vec<usize> {
    let names: Vec<&str> = names.collect();
    let mut order: Vec<([u8; 32], &str)> =
        names.iter().map(|name| (Sha256::digest(name.as_bytes()).into(), *name)).collect();
    order.sort_unstable();
    order.dedup();
    let place: HashMap<&str, usize> =
        order.iter().enumerate().map(|(place, (_, name))| (*name, place % count)).collect();
    names.iter().map(|name| place.get(name).copied().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<Member> {
        let mut members = Vec::new();
        for model in 0..8 {
            for task in 0..9 {
                for teaches in [true, false] {
                    let filter = if task % 2 == 0 { "-filter" } else { "" };
                    let principal = format!("model{model}{filter}");
                    members.push(Member { principal, task: format!("t/{task}"), teaches });
                }
            }
        }
        members
    }

    #[test]
    fn a_cell_shares_neither_model_nor_task_with_what_teaches() {
        let members = members();
        let folds = folds(Protocol::NewDeployment, &members);
        assert_eq!(folds.len(), 9);
        let mut scored = vec![0; members.len()];
        for fold in &folds {
            for (at, member) in members.iter().enumerate() {
                scored[at] += usize::from(fold.test[at]);
                if !fold.train[at] {
                    continue;
                }
                assert!(member.teaches);
                let model = member.principal.trim_end_matches("-filter");
                for (other, tested) in members.iter().zip(&fold.test) {
                    let same = other.principal.starts_with(model) || other.task == member.task;
                    assert!(!(*tested && same), "{member:?} teaches, {other:?} is scored");
                }
            }
        }
        assert!(scored.iter().all(|times| *times == 1), "each session is scored once");
    }

    #[test]
    fn one_axis() {
        let members = members();
        assert_eq!(folds(Protocol::UnseenTasks, &members).len(), 3);
        let people = folds(Protocol::UnseenPeople, &members);
        assert_eq!(people.len(), 16);
        assert!(people.iter().all(|fold| fold.train.iter().zip(&fold.test).all(|(a, b)| !(a & b))));
        assert!(folds(Protocol::Files, &members).is_empty());
    }
}
