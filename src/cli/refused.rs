//! Lines that were not taken: where, which field, why. Counted all, shown up to a limit.

use super::output::Output;
use super::trace_line::LineFault;
use crate::detector::sentence::shown;
use serde::Serialize;

/// Refused lines that are shown.
const SHOWN_MAX: usize = 100;

/// Why one line was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The field; `line` for the line as a whole.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

/// All lines that were not taken.
#[derive(Debug, Default)]
pub struct Refusals {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<Refusal>,
}

impl Refusals {
    /// Notes a line, and says so at once.
    pub fn add(&mut self, output: &Output, file: &str, line: u64, fault: &LineFault) {
        self.count += 1;
        if self.first.len() >= SHOWN_MAX {
            if self.count == SHOWN_MAX as u64 + 1 {
                output.note("further refused lines are only counted");
            }
            return;
        }
        let LineFault { field, why } = fault;
        output.note(&format!("{}:{line}: {}: {}", shown(file), shown(field), shown(why)));
        self.first.push(Refusal { file: file.to_owned(), line, field: field.clone(), why: why.clone() });
    }
}
