//! What is allowed by rule: risk categories, rules with globs, defaults. Pure values and functions.
//!
//! Deliberately absent: learnt statistics (floor 2's other half), reviews, locks, files and clocks.

pub mod category;
mod evaluate;
#[cfg(feature = "server")]
mod parse;
pub mod review_terms;
mod rule;
pub mod window;

pub use evaluate::Outcome;
#[cfg(feature = "server")]
pub use parse::{Fault, parse};
pub use review_terms::{Groups, ReviewTerms, WhenSilent};
pub use rule::{Defaults, Effect, Policy, Rule, Thresholds};
pub use window::{Outside, Window};
