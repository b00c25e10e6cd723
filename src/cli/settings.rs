//! `askance config`: which settings there are, what they are set to, and by whom.

use super::Global;
use super::output::{Output, table};
use crate::config::{Config, Origin};
use anyhow::Result;
use serde::Serialize;
use std::process::ExitCode;

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Show every setting with its value and where that comes from.
    Show {
        /// Show what each setting means, too.
        #[arg(long)]
        explain: bool,
    },
    /// Check the configuration: all faults at once.
    Check,
}

#[derive(Serialize)]
struct Shown {
    key: &'static str,
    value: String,
    origin: Origin,
    default: String,
    kind: &'static str,
    least: &'static str,
    most: &'static str,
    env: String,
    meaning: &'static str,
}

/// Runs the command.
pub(super) fn run(action: &Action, global: &Global, output: &Output) -> Result<ExitCode> {
    let loaded = global.sources(Vec::new())?.load()?;
    for remark in &loaded.remarks {
        output.note(remark);
    }
    let file = loaded.file.as_ref().map(|path| path.display().to_string());
    match action {
        Action::Check => {
            output.result(&serde_json::json!({ "ok": true, "file": file }), || {
                format!("the configuration is sound ({})", file.as_deref().unwrap_or("no file"))
            })?;
        }
        Action::Show { explain } => {
            let defaults = Config::default();
            let shown: Vec<Shown> = Config::fields()
                .map(|field| Shown {
                    key: field.key,
                    value: field.value(&loaded.config),
                    origin: loaded.origins.get(field.key).copied().unwrap_or(Origin::Default),
                    default: field.value(&defaults),
                    kind: field.kind,
                    least: field.least,
                    most: field.most,
                    env: field.env_name(),
                    meaning: field.doc.trim(),
                })
                .collect();
            output.result(&shown, || if *explain { explained(&shown) } else { listed(&shown) })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Default => "default",
        Origin::File => "file",
        Origin::Env => "environment",
        Origin::Flag => "flag",
    }
}

fn listed(shown: &[Shown]) -> String {
    let row =
        |field: &Shown| [field.key.to_owned(), field.value.clone(), origin_name(field.origin).to_owned()];
    table(["SETTING", "VALUE", "FROM"], shown.iter().map(row))
}

fn explained(shown: &[Shown]) -> String {
    let mut text = String::new();
    for field in shown {
        let range = match (field.least, field.most) {
            ("", "") => String::new(),
            (least, "") => format!(", at least {least}"),
            ("", most) => format!(", at most {most}"),
            (least, most) => format!(", {least} to {most}"),
        };
        text.push_str(&format!(
            "{} = {}   ({})\n    {}\n    {}{range}; default {}; {}\n",
            field.key,
            field.value,
            origin_name(field.origin),
            field.meaning,
            field.kind,
            field.default,
            field.env
        ));
    }
    text
}
