//! Conditions: a subset of CEL (Common Expression Language, github.com/google/cel-spec), checked when a
//! policy is read and bounded when it runs.
//!
//! Left out of CEL: messages, bytes, unsigned integers, map literals, and functions that could grow data.
//! The same expression over the same facts gives the same answer on every machine: no clock, no hash
//! order, time zones from the build. Bounds: [`TEXT_BYTES_MAX`], [`NODES_MAX`], [`DEPTH_MAX`],
//! [`MACRO_NESTING_MAX`] when it is read, [`STEPS_MAX`] when it runs.
//!
//! | name | type |
//! |---|---|
//! | `tool` | `name`, `category`, `capabilities` (list of text), `registered`, `changed` |
//! | `server` | text |
//! | `principal` | `name` (the link that acts), `root`, `chain` (list of text) |
//! | `args` | the call's arguments with secrets masked; any type |
//! | `session` | `calls`, `reviews`, `denies`, `risk_max` (integers), `capabilities` (list of text), `age` (duration), `nested` (boolean) |
//! | `risk` | `score` (0 to 100), `category` |
//! | `signals` | surprise in bits by detector (`time`, `rate`, `sequence`, `context`, `arguments`, `novelty`, `results`; 0 where it abstained), `evidence` (bits), `abstained` and `floors` and `compositions` (lists of text) |
//! | `now` | when the call came in |

mod ast;
mod check;
mod eval;
mod facts;
mod functions;
mod known;
mod lex;
mod parse;
mod value;

pub use eval::Failure;
pub use facts::{Arguments, Facts, SessionFacts};

/// Longest text of a condition, bytes.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// Most nodes of a condition.
pub const NODES_MAX: usize = 512;
/// Deepest nesting of a condition, levels.
pub const DEPTH_MAX: usize = 32;
/// Macros (`all`, `exists`, `exists_one`, `map`, `filter`) inside each other.
pub const MACRO_NESTING_MAX: usize = 2;
/// Steps of one evaluation; each node is one, texts and lists one more for every 64 bytes or items looked at.
pub const STEPS_MAX: u32 = 10_000;

/// Why a condition is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Byte offset in the condition's text.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
    /// The nearest known name, where a name is not known.
    pub nearest: Option<String>,
}

impl Fault {
    fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into(), nearest: None }
    }
}

/// A checked condition.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
    code: ast::Code,
    uses_risk: bool,
}

impl Condition {
    /// Reads and checks a condition: it must have a meaning and give a boolean.
    pub fn compile(text: &str) -> Result<Self, Fault> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Fault::new(0, format!("{} bytes long, at most {TEXT_BYTES_MAX}", text.len())));
        }
        let tree = parse::parse(text)?;
        let checked = check::check(&tree)?;
        Ok(Self { text: text.to_owned(), code: checked.code, uses_risk: checked.uses_risk })
    }

    /// Whether it holds for these facts.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, Failure> {
        eval::run(&self.code, facts)
    }

    /// Whether it looks at `risk` or `signals`.
    pub const fn uses_risk(&self) -> bool {
        self.uses_risk
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Condition {}

#[cfg(test)]
mod tests;
