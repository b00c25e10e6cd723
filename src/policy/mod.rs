//! What is allowed by rule: a policy file with rules, conditions, change windows, review terms and
//! compositions; risk categories of tools; defaults. Pure values and functions.
//!
//! ```text
//! text ─ document ─▶ Node ─ file, file_rule, file_terms, composition::read ─▶ Policy ─ evaluate ─▶ Outcome
//! ```
//!
//! Deliberately absent: learnt statistics (floor 2's other half), reviews, locks, files and clocks.

mod book;
pub mod category;
pub mod cel;
pub mod composition;
mod document;
mod evaluate;
pub mod examples;
mod fault;
mod file;
mod file_rule;
mod file_terms;
mod names;
mod nearest;
#[expect(clippy::module_inception, reason = "the policy itself")]
mod policy;
mod reader;
pub mod review_terms;
mod rule;
#[cfg(feature = "server")]
mod schema;
pub mod suggest;
pub mod window;

pub use book::{Book, GRANTS_MAX, adopted, granted};
pub use cel::{Arguments, Facts, SessionFacts};
pub use composition::{Composition, Happened, OnFire};
pub use document::TEXT_BYTES_MAX;
pub use evaluate::{Cause, Considered, Match, Outcome};
pub use fault::{Fault, Severity};
pub use file::{Parsed, Reviewer, Surroundings, check, parse, parse_rule};
pub use policy::Policy;
pub use reader::{duration, shown as shown_duration};
pub use review_terms::{Groups, ReviewTerms, WhenSilent};
pub use rule::{Defaults, Effect, Rule, Thresholds};
#[cfg(feature = "server")]
pub use schema::Schema;
pub use window::{Outside, Window};
