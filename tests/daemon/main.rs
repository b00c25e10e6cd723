//! The real daemon, as a process, under faults: killed, flooded, out of disk, with a failing disk.
//!
//! Every test has a control that shows it can fail, or says why it has none. `ASKANCE_KILLS` sets how often
//! the daemon is killed (30 by default, 200 in CI).

mod disk;
mod flood;
mod kill;
mod support;
