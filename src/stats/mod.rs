//! The statistics: pure values that are told the time, learn, and answer in thousandths of a bit.
//!
//! State changes are integer or fixed-point arithmetic, logarithms and the like come from the
//! crate `libm`, so the same events give the same bytes on every machine. Deliberately absent:
//! clocks, input and output, randomness, logging, and what a tool call is.
//! Formulas and their measurements: `docs/detection.md`.

pub mod calibrator;
pub mod categorical;
pub mod combine;
pub mod counts;
pub mod decay;
pub mod distinct;
pub mod drift;
pub mod edetector;
pub mod fingerprint;
pub mod held_back;
pub mod millibits;
pub mod negative_binomial;
pub mod numeric;
pub mod packed;
pub mod pitman_yor;
pub mod presence;
pub mod rate;
pub mod seen;
pub mod surge;
pub mod table;
pub mod tracker;
pub mod words;

mod array;
#[cfg(test)]
mod replay_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use calibrator::Calibrator;
pub use categorical::{CategoryModel, Occurrence};
pub use combine::{combine, risk, risk_exact, truncated_cauchy};
pub use counts::SeasonalCounts;
pub use distinct::Distinct;
pub use drift::Drift;
pub use edetector::EDetector;
pub use fingerprint::FingerprintKey;
pub use held_back::Usually;
pub use millibits::MilliBits;
pub use numeric::NumberModel;
pub use pitman_yor::PitmanYor;
pub use presence::Presence;
pub use rate::{Window, WindowCounts, WindowMoments};
pub use surge::Surge;
pub use table::SetTable;
pub use tracker::{Budget, Tracker};
