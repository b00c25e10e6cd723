//! What the engine counts. Nothing is dropped without a number here.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters of a partition, shared between its threads.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        /// The counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct CountersView {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl CountersView {
            /// Every counter with its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }

        impl Counters {
            /// Reads all.
            pub fn view(&self) -> CountersView {
                CountersView { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Calls decided.
    calls_decided,
    /// Calls asked for again and answered from the record.
    calls_repeated,
    /// Requests refused because they were wrong.
    requests_invalid,
    /// Requests refused because the queue was full.
    requests_overloaded,
    /// Answers given by the fallback because the decision came too late.
    answers_degraded,
    /// Argument values beyond the limit of paths, not judged.
    argument_paths_dropped,
    /// Detectors that panicked.
    detector_failures,
    /// Sessions closed because too many were live.
    sessions_evicted,
    /// Batches appended.
    batches_appended,
    /// Records appended.
    records_appended,
    /// Appends that failed.
    appends_failed,
    /// Appends refused because the disk is too full.
    appends_refused_disk_full,
    /// Acknowledged records found missing when the log was opened, as the operator accepted.
    records_lost_accepted,
    /// Snapshots written.
    snapshots_written,
    /// Watchers cut because they did not read.
    watchers_cut,
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
