//! What is wrong in a policy's text, and where.

use std::fmt;

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Adopted once the file acknowledges it with `acknowledge: true`.
    Warning,
    /// The policy cannot be adopted.
    Error,
}

/// Something wrong in a policy's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// How bad.
    pub severity: Severity,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The rule it is in; empty: none.
    pub rule_id: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The nearest known name, where a name is not known; empty: none is near.
    pub nearest: String,
}

impl Fault {
    /// A fault that keeps the policy from being adopted.
    pub(super) fn error(line: u32, column: u32, message: impl Into<String>) -> Self {
        let (rule_id, nearest) = (String::new(), String::new());
        Self { severity: Severity::Error, line, column, rule_id, message: message.into(), nearest }
    }

    /// The same fault with the nearest known name.
    pub(super) fn near(mut self, nearest: Option<String>) -> Self {
        self.nearest = nearest.unwrap_or_default();
        self
    }

    /// The same fault as a warning.
    pub(super) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.rule_id.is_empty() {
            write!(f, "rule `{}`: ", self.rule_id)?;
        }
        f.write_str(&self.message)?;
        if !self.nearest.is_empty() {
            write!(f, "; did you mean `{}`?", self.nearest)?;
        }
        Ok(())
    }
}
