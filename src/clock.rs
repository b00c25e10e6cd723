//! The time of day, handed in: the shell asks it once a request and passes it down.

use crate::decide::review::Now;
use crate::domain::time::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

/// Where the time comes from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<Manual>),
}

/// A clock that is set: what the wall shows, and what has steadily passed.
#[derive(Debug)]
struct Manual {
    wall: AtomicI64,
    steady: AtomicI64,
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until it is set: for tests and for replays.
    pub fn manual(start: Timestamp) -> Self {
        let at = || AtomicI64::new(start.as_micros());
        Self(Source::Manual(Arc::new(Manual { wall: at(), steady: at() })))
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => system_now(),
            Source::Manual(manual) => Timestamp::from_micros(manual.wall.load(Ordering::Relaxed)),
        }
    }

    /// Now, as deadlines see it. A clock that is set back while the daemon runs delays nothing, and one that
    /// is set ahead makes nothing run as if approved: between the wall's clock and the time that has steadily
    /// passed since the start, the later one ends things and the earlier one makes consent of silence.
    pub fn deadlines(&self) -> Now {
        let wall = self.now();
        let steady = match &self.0 {
            Source::System => steady_now(),
            Source::Manual(manual) => Timestamp::from_micros(manual.steady.load(Ordering::Relaxed)),
        };
        Now { late: wall.max(steady), early: wall.min(steady) }
    }

    /// Sets a manual clock, as if the time up to there had passed; the system's clock stays as it is.
    pub fn set(&self, at: Timestamp) {
        if let Source::Manual(manual) = &self.0 {
            manual.wall.store(at.as_micros(), Ordering::Relaxed);
            manual.steady.store(at.as_micros(), Ordering::Relaxed);
        }
    }

    /// Puts a manual clock's wall time elsewhere while no time passes; the system's clock stays as it is.
    pub fn jump(&self, to: Timestamp) {
        if let Source::Manual(manual) = &self.0 {
            manual.wall.store(to.as_micros(), Ordering::Relaxed);
        }
    }
}

/// The wall's time when this was first asked, and what has passed since, sleep of the machine included.
fn steady_now() -> Timestamp {
    static START: OnceLock<(Timestamp, i64)> = OnceLock::new();
    let passed = since_boot_us();
    let (wall, then) = *START.get_or_init(|| (system_now(), passed));
    wall.plus_micros(passed.saturating_sub(then))
}

#[cfg(not(feature = "server"))]
fn since_boot_us() -> i64 {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let passed = START.get_or_init(std::time::Instant::now).elapsed();
    i64::try_from(passed.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(feature = "server")]
fn since_boot_us() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine's clock")]
fn system_now() -> Timestamp {
    let micros = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    };
    Timestamp::from_micros(micros)
}
