//! How good scores are: figures computed from scored, labelled calls.
//!
//! Pure: scored calls in, figures out. The cases decide on a side by what was recorded of them, never by
//! how they were scored. Deliberately absent: reading files and running the engine (see `cli::eval`).

pub mod bootstrap;
pub mod budget;
pub mod calibration;
pub mod ranking;
pub mod report;
pub mod roc_svg;
pub mod trial;

pub use ranking::{BUDGETS, Case, Figures, Ranking, Side};
pub use report::{Report, Row, report};
pub use trial::{Session, Trial, Trials};
