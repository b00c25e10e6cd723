//! Failures on demand, for tests; without the cargo feature `faults` every function here does nothing.
//!
//! A point is armed by `arm`, or from the environment: `ASKANCE_FAULTS=before_batch:3:error,after_wal_write:9:abort`
//! fails the third and aborts at the ninth time that the point is reached. Points:
//!
//! | name | where | what |
//! |---|---|---|
//! | `before_batch` | before the write | error or abort; nothing is written |
//! | `after_wal_write` | after the synced write, before the acknowledgement | error or abort; the batch is in the log |
//! | `anchor_write` | before the anchor's slot is written | error or abort |
//! | `ack_before_write` | instead of the write | acknowledges what was not written: a control that tests must catch |
//! | `skip_sync` | always, once armed | writes without a sync: a control that power-cut tests must catch |
//!
//! `always` in place of `error` acts the nth time and every time from then on.
//!
//! Deliberately absent: delays, probabilities, anything a release could contain.

/// What an armed point does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The operation fails.
    Error,
    /// The process ends at once, as by SIGKILL.
    Abort,
    /// As `Error`, and again every time from then on.
    Always,
}

#[cfg(feature = "faults")]
mod armed {
    use super::Action;
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex};

    type Points = HashMap<String, (u64, Action)>;

    static POINTS: LazyLock<Mutex<Points>> = LazyLock::new(|| {
        Mutex::new(std::env::var("ASKANCE_FAULTS").map_or_else(|_| Points::new(), |text| parse(&text)))
    });

    fn parse(text: &str) -> Points {
        let point = |part: &str| {
            let mut fields = part.split(':');
            let (name, nth) = (fields.next()?, fields.next()?.parse().ok()?);
            let action = match fields.next() {
                Some("abort") => Action::Abort,
                Some("always") => Action::Always,
                _ => Action::Error,
            };
            Some((name.to_owned(), (nth, action)))
        };
        text.split(',').filter_map(point).collect()
    }

    /// Arms a point: the `nth` time it is reached (from 1), it acts once. 0 disarms it.
    pub fn arm(point: &str, nth: u64, action: Action) {
        let mut points = POINTS.lock().expect("no one panics while holding the points");
        points.insert(point.to_owned(), (nth, action));
    }

    /// Counts a visit; whether the point acts now.
    pub(in crate::eventlog) fn hit(point: &str) -> bool {
        let mut points = POINTS.lock().expect("no one panics while holding the points");
        let Some((left, action)) = points.get_mut(point).filter(|(left, _)| *left > 0) else { return false };
        *left -= 1;
        if *left > 0 {
            return false;
        }
        match action {
            Action::Abort => std::process::abort(),
            Action::Always => *left = 1,
            Action::Error => {}
        }
        true
    }

    /// Whether writes go without a sync.
    pub(in crate::eventlog) fn skip_sync() -> bool {
        let points = POINTS.lock().expect("no one panics while holding the points");
        points.get("skip_sync").is_some_and(|(left, _)| *left > 0)
    }
}

#[cfg(feature = "faults")]
pub use armed::arm;
#[cfg(feature = "faults")]
pub(super) use armed::{hit, skip_sync};

#[cfg(not(feature = "faults"))]
pub(super) const fn hit(_point: &str) -> bool {
    false
}

#[cfg(not(feature = "faults"))]
pub(super) const fn skip_sync() -> bool {
    false
}
