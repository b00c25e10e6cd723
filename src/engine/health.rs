//! How the partitions are: for status pages and for `doctor`.

use super::Error;
use super::counters::CountersView;
use super::handle::Engine;
use super::partition::{Command, Reply};
use crate::domain::position::Position;
use crate::eventlog::keys::Family;
use crate::eventlog::{Log, Space};
use crate::projection::State;

/// How one partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionHealth {
    /// Its number, from 0.
    pub partition: u32,
    /// Position of its newest event.
    pub tail: Position,
    /// Hash of that event.
    pub head_hash: [u8; 32],
    /// Position of its newest snapshot; zero: none.
    pub snapshot: Position,
    /// Why it takes no writes, if it does not.
    pub not_writable: Option<String>,
    /// Requests waiting in its queue.
    pub queue_len: usize,
    /// Most that may wait.
    pub queue_len_max: usize,
    /// Bytes of its files.
    pub used_bytes: u64,
    /// Bytes free on its file system; none if that could not be found out.
    pub free_bytes: Option<u64>,
    /// Its counters since the start.
    pub counters: CountersView,
}

impl Engine {
    /// How each partition is. Blocks on disk reads.
    pub fn health(&self) -> Vec<PartitionHealth> {
        let views = self.queues().into_iter().zip(self.counters());
        self.logs()
            .zip(views)
            .map(|(log, ((queue_len, queue_len_max, full), counters))| {
                let (tail, head_hash) = log.tail();
                let why = log.writes_off().map(str::to_owned);
                PartitionHealth {
                    partition: log.partition(),
                    tail,
                    head_hash,
                    snapshot: newest_snapshot(log),
                    not_writable: why.or_else(|| full.then(|| "the disk is too full".to_owned())),
                    queue_len,
                    queue_len_max,
                    used_bytes: Family::ALL.iter().map(|family| log.file_bytes(*family)).sum(),
                    free_bytes: log.space().ok().map(|space| match space {
                        Space::Ok { free } | Space::Low { free } | Space::Full { free } => free,
                    }),
                    counters,
                }
            })
            .collect()
    }

    /// Gives a partition a command and waits for the answer.
    pub async fn call_partition<T: Send + 'static>(
        &self,
        partition: usize,
        make: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Error> {
        self.call_numbered(partition, make).await
    }

    /// Asks every partition's state the same; answers come once everything they speak of is durable. None:
    /// the partition takes no writes, and its state is ahead of its log.
    pub async fn ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(&State) -> T + Clone + Send + 'static,
    ) -> Result<Vec<Option<T>>, Error> {
        let mut answers = Vec::with_capacity(self.partitions());
        for partition in 0..self.partitions() {
            answers.push(match self.ask_partition(partition, question.clone()).await {
                Ok(answer) => Some(answer),
                Err(error) if error.is_state_withheld() => None,
                Err(error) => return Err(error),
            });
        }
        Ok(answers)
    }
}

fn newest_snapshot(log: &Log) -> Position {
    let snapshots = log.snapshots().unwrap_or_default();
    snapshots.iter().map(|info| info.position).max().unwrap_or(Position::ZERO)
}
