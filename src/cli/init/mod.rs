//! `askance init`: puts a hook into each coding agent on this machine, after showing what it would change; and takes
//! everything out again.
//!
//! A file that cannot be read is left as it is. Comments, order and form of a file stay. `places` knows the clients,
//! `document`, `edit`, `change` and `diff` are pure, `ledger` keeps what was.

mod change;
mod diff;
mod document;
mod edit;
mod ledger;
mod places;

use super::Global;
use super::output::Output;
use crate::adapter::hook::Client;
use anyhow::{Context, Result, bail};
use ledger::{Changed, Ledger, write_whole};
use places::{Machine, Place, quoted};
use serde::Serialize;
use std::fs;
use std::io::{BufRead, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Bytes of a settings file that is looked at.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Arguments of `askance init`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Make the changes without asking.
    #[arg(long, short = 'y')]
    yes: bool,
    /// Take everything out that was put in.
    #[arg(long)]
    undo: bool,
    /// Only these clients: claude, vscode, codex, gemini, cursor.
    #[arg(long = "client", value_name = "NAME", value_parser = super::hook::client)]
    clients: Vec<Client>,
}

/// What becomes of a file.
#[derive(Serialize)]
struct Plan {
    owner: String,
    path: PathBuf,
    outcome: Outcome,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
    #[serde(skip)]
    old: Option<String>,
    #[serde(skip)]
    new: Option<String>,
    #[serde(skip)]
    then: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// It is to be changed.
    Changes,
    /// It is as it should be.
    Unchanged,
    /// It is left as it is, for a reason.
    Left,
}

/// Runs the command.
pub(super) fn run(args: &Args, global: &Global, output: &Output) -> Result<ExitCode> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_dir());
    let home = home.context("HOME names no directory")?;
    let book = super::state_dir(&home).join("init.json");
    let mut ledger = Ledger::read(&book)?;
    let daemon = daemon(global, &home)?;
    let policy = (global.daemon.is_none()).then(|| policy_path(&home));
    let places = places(args, &home, daemon.clone(), policy.clone())?;
    let mut plans: Vec<Plan> = if args.undo {
        ledger.files.iter().map(|changed| undone(changed, &places)).collect()
    } else {
        places.iter().map(planned).collect()
    };
    if !args.undo {
        leave_policy_alone(&mut plans, policy.as_deref());
    }
    show(&plans, args, output)?;
    let is_left = plans.iter().any(|plan| plan.outcome == Outcome::Left);
    let code = if is_left { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    if !plans.iter().any(|plan| plan.outcome == Outcome::Changes) {
        return Ok(code);
    }
    if !args.yes && !consents(output)? {
        output.note("nothing was changed");
        return Ok(ExitCode::FAILURE);
    }
    for plan in plans.iter().filter(|plan| plan.outcome == Outcome::Changes) {
        if args.undo {
            undo(plan, &mut ledger)?
        } else {
            make(plan, &mut ledger)?
        }
        // Written each time, so that a fault in the middle leaves nothing that cannot be undone.
        ledger.write(&book)?;
    }
    if !args.undo {
        say_what_is_left_to_do(global, &daemon, policy.as_deref(), output);
        plans.iter().filter(|plan| !plan.then.is_empty()).for_each(|plan| output.note(plan.then));
    }
    Ok(code)
}

/// Where no client can be changed, nothing needs a policy.
fn leave_policy_alone(plans: &mut Vec<Plan>, policy: Option<&Path>) {
    let is_of_use = |plan: &Plan| plan.outcome != Outcome::Left && Some(&*plan.path) != policy;
    if !plans.iter().any(is_of_use) {
        plans.retain(|plan| plan.outcome == Outcome::Left);
    }
}

fn say_what_is_left_to_do(global: &Global, daemon: &[String], policy: Option<&Path>, output: &Output) {
    let words = daemon.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    match policy {
        Some(policy) => {
            let policy = quoted(&policy.display().to_string());
            output.note(&format!(
                "the daemon must run, or every call is refused: `askance {words} serve --policy {policy}`"
            ));
            output.note(&format!(
                "nobody approves a call of their own agents: for calls that wait, `sudo askance {words} review watch`, or \
                 a reviewer with a token"
            ));
        }
        None => output.note("that daemon must be reachable, or every call is refused"),
    }
    if global.token.is_some() {
        output.note("the token is not put into settings: clients need ASKANCE_TOKEN in their environment");
    }
}

/// The flags that say where the daemon is: as it is named here, else `~/.askance`.
fn daemon(global: &Global, home: &Path) -> Result<Vec<String>> {
    if let Some(address) = &global.daemon {
        let mut words = vec!["--daemon".to_owned(), address.clone()];
        if let Some(ca) = &global.daemon_ca {
            let ca =
                std::path::absolute(ca)?.to_str().context("--daemon-ca: the path is not UTF-8")?.to_owned();
            words.extend(["--daemon-ca".to_owned(), ca]);
        }
        return Ok(words);
    }
    let dir = match global.named_data_dir()? {
        Some(dir) => std::path::absolute(dir)?,
        None => home.join(".askance"),
    };
    let dir = dir.to_str().context("the data directory's path is not UTF-8")?;
    Ok(vec!["--data-dir".to_owned(), dir.to_owned()])
}

/// Where a policy for coding agents goes.
fn policy_path(home: &Path) -> PathBuf {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    config.unwrap_or_else(|| home.join(".config")).join("askance/coding-agents.yaml")
}

fn places(args: &Args, home: &Path, daemon: Vec<String>, policy: Option<PathBuf>) -> Result<Vec<Place>> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let program = program.to_str().context("this program's path is not UTF-8")?.to_owned();
    let project = std::env::current_dir().context("cannot tell the current directory")?;
    let env = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let machine = Machine { home, project: &project, env: &env, program, daemon, policy };
    let wanted = if args.clients.is_empty() { Client::ALL.to_vec() } else { args.clients.clone() };
    Ok(machine.places(&wanted))
}

/// A file's text; none: it is not there.
fn text_of(path: &Path) -> Result<Option<String>> {
    match fs::metadata(path) {
        Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(None),
        Err(fault) => bail!("it cannot be looked at: {fault}"),
        Ok(meta) if !meta.is_file() => bail!("it is no file"),
        Ok(meta) if meta.len() > FILE_BYTES_MAX => bail!("it is over 4 MiB long"),
        Ok(_) => {}
    }
    fs::read_to_string(path).map(Some).context("it cannot be read as text")
}

fn planned(place: &Place) -> Plan {
    // A link's target is changed, and the link stays.
    let path = fs::canonicalize(&place.path).unwrap_or_else(|_| place.path.clone());
    let plan = |outcome, why: String, old, new| Plan {
        owner: place.owner.to_owned(),
        path: path.clone(),
        outcome,
        why,
        old,
        new,
        then: place.then,
    };
    let old = match text_of(&path) {
        Ok(old) => old,
        Err(why) => return plan(Outcome::Left, format!("{why:#}"), None, None),
    };
    match change::put(old.as_deref().unwrap_or_default(), &place.change) {
        Ok(new) if old.as_deref() == Some(&*new) => plan(Outcome::Unchanged, String::new(), old, None),
        Ok(new) => plan(Outcome::Changes, String::new(), old, Some(new)),
        Err(why) => plan(Outcome::Left, why, old, None),
    }
}

fn undone(changed: &Changed, places: &[Place]) -> Plan {
    let owner =
        places.iter().find(|place| fs::canonicalize(&place.path).is_ok_and(|path| path == changed.path));
    let mut plan = Plan {
        owner: owner.map_or("changed before", |place| place.owner).to_owned(),
        path: changed.path.clone(),
        outcome: Outcome::Changes,
        why: String::new(),
        old: None,
        new: None,
        then: "",
    };
    let left = |mut plan: Plan, why: String| {
        (plan.outcome, plan.why) = (Outcome::Left, why);
        plan
    };
    let now = match text_of(&changed.path) {
        Ok(now) => now,
        Err(why) => return left(plan, format!("{why:#}")),
    };
    // Whoever removed it wants it gone.
    let Some(now) = now else { return plan };
    let as_it_was = changed.as_it_was(now.as_bytes());
    plan.old = Some(now.clone());
    match (as_it_was, owner) {
        (Err(why), _) => left(plan, format!("{why:#}")),
        (Ok(Some(before)), _) => {
            plan.new = before;
            plan
        }
        (Ok(None), None) => {
            left(plan, "it was changed since, and by other flags or another program than this".to_owned())
        }
        (Ok(None), Some(place)) => match change::take_out(&now, &place.change) {
            Ok(new) => {
                plan.why = "it was changed since: only what was put in is taken out".to_owned();
                plan.new = Some(new);
                plan
            }
            Err(why) => left(plan, why),
        },
    }
}

fn make(plan: &Plan, ledger: &mut Ledger) -> Result<()> {
    let new = plan.new.as_deref().unwrap_or_default();
    check_still(plan)?;
    ledger.change(&plan.path, plan.old.as_deref(), new)
}

fn undo(plan: &Plan, ledger: &mut Ledger) -> Result<()> {
    check_still(plan)?;
    match (&plan.old, &plan.new) {
        (_, Some(new)) => write_whole(&plan.path, new.as_bytes())?,
        (Some(_), None) => {
            fs::remove_file(&plan.path).with_context(|| format!("cannot remove {}", plan.path.display()))?
        }
        (None, None) => {}
    }
    if let Some(at) = ledger.files.iter().position(|changed| changed.path == plan.path) {
        ledger.files.remove(at).forget();
    }
    Ok(())
}

/// Nobody changed the file while consent was asked for.
fn check_still(plan: &Plan) -> Result<()> {
    if text_of(&plan.path)? != plan.old {
        bail!("{} was changed just now; nothing is done to it", plan.path.display());
    }
    Ok(())
}

fn show(plans: &[Plan], args: &Args, output: &Output) -> Result<()> {
    output.result(&plans, || {
        let mut text = String::new();
        for plan in plans {
            let path = plan.path.display();
            let why = if plan.why.is_empty() { String::new() } else { format!(" ({})", plan.why) };
            let head = match plan.outcome {
                Outcome::Changes => format!("{}: {path}{why}", plan.owner),
                Outcome::Unchanged => format!("{}: {path} is as it should be", plan.owner),
                Outcome::Left => format!("{}: {path} is left as it is{why}", plan.owner),
            };
            text.push_str(&head);
            text.push('\n');
            if plan.outcome == Outcome::Changes {
                let (old, new) =
                    (plan.old.as_deref().unwrap_or_default(), plan.new.as_deref().unwrap_or_default());
                text.push_str(&diff::diff(&path.to_string(), old, new));
            }
        }
        if plans.is_empty() {
            text.push_str(if args.undo {
                "nothing was changed by `askance init`"
            } else {
                "no client that askance knows was found"
            });
        }
        text
    })
}

/// Asks whoever sits at the terminal.
fn consents(output: &Output) -> Result<bool> {
    if !std::io::stdin().is_terminal() || output.is_json() {
        output.note("give --yes to make these changes");
        return Ok(false);
    }
    output.note("make these changes? [y/N]");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
