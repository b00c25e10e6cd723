//! The detectors: each judges one kind of oddness of a call against what was learnt, in milli-bits.
//!
//! Each file holds one model with three verbs: score (reads), learn (changes), explain (figures for a
//! finding). [`models::Models`] holds all of a tenant's and combines them. Deliberately absent: policy,
//! the log, clocks, and words: sentences are made by `sentence` when someone reads them.

pub mod arguments;
pub mod burst;
pub mod context;
pub mod features;
pub mod learn;
pub mod models;
pub mod notebook;
pub mod novelty;
pub mod p_reject;
pub mod reading;
pub mod requests;
pub mod results;
pub mod sentence;
pub mod sequence;
pub mod time_of_day;
pub mod volume;
pub mod weigh;
