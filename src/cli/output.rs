//! What commands say: tables for people, JSON for programs, progress and remarks on standard error.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is where a command line speaks")]

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// How a command speaks.
#[derive(Clone, Debug)]
pub struct Output {
    json: bool,
    bar: ProgressBar,
}

impl Output {
    /// Speaks JSON if asked to, else text.
    pub fn new(json: bool) -> Self {
        Self { json, bar: ProgressBar::hidden() }
    }

    /// Whether JSON was asked for.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// A result: as JSON on one line, or as the text that `text` makes.
    pub fn result<T: Serialize>(&self, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        let mut out = std::io::stdout().lock();
        let written = if self.json {
            serde_json::to_writer(&mut out, value)?;
            out.write_all(b"\n")
        } else {
            out.write_all(text().trim_end().as_bytes()).and_then(|()| out.write_all(b"\n"))
        };
        match written.and_then(|()| out.flush()) {
            // Whoever reads us has seen enough, as `head` does.
            Err(fault) if fault.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }

    /// A line of a result that comes bit by bit; nothing where JSON was asked for.
    pub fn line(&self, text: impl FnOnce() -> String) -> Result<()> {
        if self.json {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        match out.write_all(text().as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush())
        {
            Err(fault) if fault.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }

    /// A remark on standard error, above a progress bar if there is one.
    pub fn note(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Starts a progress bar towards `total`; shown on a terminal only. `unit`: `{bytes}` or a noun.
    #[must_use]
    pub fn with_progress(&self, total: u64, what: &str, bytes: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let figures = if bytes { "{bytes}/{total_bytes}" } else { "{human_pos}/{human_len}" };
        let template = format!("{{prefix}} {{wide_bar}} {figures} {{msg}} {{eta}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        Self { json: self.json, bar }
    }

    /// How far it has come.
    pub fn progress(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// A word beside the bar.
    pub fn progress_message(&self, text: String) {
        self.bar.set_message(text);
    }

    /// Takes the bar away.
    pub fn progress_done(&self) {
        self.bar.finish_and_clear();
    }
}

/// A table: lines on a terminal, plain columns elsewhere.
pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head);
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    let text = table.to_string();
    text.lines().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}
