//! What waits to be told to the daemon, in its order, and how much of it was.

use crate::proto::v1::{EndedCall, ToolDefinition};
use prost::Message;
use std::collections::VecDeque;
use tokio::sync::watch;

/// Reports that wait to be told.
const WAITING_MAX: usize = 1_024;
/// Outcomes that one call carries.
const CARRIED_MAX: usize = 64;
/// Bytes of outcomes that one call carries: a small part of what a message may have, as the call must fit in too.
const CARRIED_BYTES_MAX: usize = 256 * 1_024;

/// One of them.
#[derive(Debug, PartialEq)]
pub enum Report {
    /// A call ended.
    Ended(Box<EndedCall>),
    /// A server lists these tools.
    Tools {
        /// The server.
        server: String,
        /// All of them.
        tools: Vec<ToolDefinition>,
    },
}

/// What waits, and counts.
#[derive(Debug, Default)]
pub struct Reports {
    waiting: VecDeque<Report>,
    taken: u64,
    told: watch::Sender<u64>,
}

impl Reports {
    /// Takes a report; false: too many wait.
    pub fn push(&mut self, report: Report) -> bool {
        let has_room = self.waiting.len() < WAITING_MAX;
        if has_room {
            self.waiting.push_back(report);
            self.taken += 1;
        }
        has_room
    }

    /// Reports that were taken, ever.
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Reports that were told, ever.
    pub fn told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    /// Counts reports as told, or as lost: nobody waits for them any more.
    pub fn tell(&self, count: u64) {
        self.told.send_modify(|told| *told += count);
    }

    /// The first reports, to be told.
    pub fn drain(&mut self, most: usize) -> Vec<Report> {
        self.waiting.drain(..most.min(self.waiting.len())).collect()
    }

    /// Whether all that waits could be carried by a call.
    pub fn may_linger(&self) -> bool {
        let mut bytes = 0;
        self.waiting.len() <= CARRIED_MAX
            && self.waiting.iter().all(|report| match report {
                Report::Ended(ended) => {
                    bytes += ended.encoded_len();
                    bytes <= CARRIED_BYTES_MAX
                }
                Report::Tools { .. } => false,
            })
    }

    /// What a call carries: all that waits, or nothing. With it the count of reports to be told before the call is
    /// asked about.
    pub fn carry(&mut self) -> (Vec<EndedCall>, u64) {
        if !self.may_linger() {
            return (Vec::new(), self.taken);
        }
        let ended: Vec<_> = self
            .waiting
            .drain(..)
            .filter_map(|report| match report {
                Report::Ended(ended) => Some(*ended),
                Report::Tools { .. } => None,
            })
            .collect();
        let before = self.taken - ended.len() as u64;
        (ended, before)
    }

    /// Takes back what a call carried in vain, to be told before what came since. There is room: it had been taken.
    pub fn back(&mut self, ended: Vec<EndedCall>) {
        for ended in ended.into_iter().rev() {
            self.waiting.push_front(Report::Ended(Box::new(ended)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::Outcome;

    fn ended(id: &str, bytes: usize) -> Report {
        let outcome = Outcome { result_text: vec![b'x'; bytes].into(), ..Outcome::default() };
        Report::Ended(Box::new(EndedCall { call_id: id.to_owned(), outcome: Some(outcome) }))
    }

    fn ids(ended: &[EndedCall]) -> Vec<&str> {
        ended.iter().map(|ended| ended.call_id.as_str()).collect()
    }

    #[test]
    fn a_call_carries_what_ended_before_it_and_waits_for_the_rest() {
        let mut reports = Reports::default();
        assert!(reports.push(ended("a", 10)) && reports.push(ended("b", 10)));
        let told = reports.drain(1);
        let (carried, before) = reports.carry();
        assert_eq!((told.len(), ids(&carried), before), (1, vec!["b"], 1), "`a` is under way to the daemon");
        assert_eq!(reports.carry(), (Vec::new(), 2), "nobody carries it twice, and both are waited for");
    }

    #[test]
    fn what_was_carried_in_vain_comes_first_again() {
        let mut reports = Reports::default();
        for id in ["a", "b"] {
            assert!(reports.push(ended(id, 10)));
        }
        let (carried, _) = reports.carry();
        assert!(reports.push(ended("c", 10)));
        reports.back(carried);
        assert_eq!(ids(&reports.carry().0), ["a", "b", "c"]);
    }

    #[test]
    fn tools_and_what_is_too_much_are_told_before() {
        let tools = || Report::Tools { server: "s".to_owned(), tools: Vec::new() };
        let many = || (0..=CARRIED_MAX).map(|number| ended(&number.to_string(), 1)).collect::<Vec<_>>();
        let large = vec![ended("a", CARRIED_BYTES_MAX / 2), ended("b", CARRIED_BYTES_MAX / 2)];
        for waiting in [vec![ended("a", 1), tools()], many(), large] {
            let mut reports = Reports::default();
            let count = waiting.len() as u64;
            assert!(waiting.into_iter().all(|report| reports.push(report)));
            assert!(!reports.may_linger());
            assert_eq!(reports.carry(), (Vec::new(), count));
        }
    }

    #[test]
    fn too_many_are_not_taken() {
        let mut reports = Reports::default();
        for number in 0..WAITING_MAX {
            assert!(reports.push(ended(&number.to_string(), 0)));
        }
        assert!(!reports.push(ended("more", 0)));
        assert_eq!((reports.taken(), reports.drain(usize::MAX).len()), (WAITING_MAX as u64, WAITING_MAX));
    }
}
