//! Tells the daemon what came of calls and which tools there are, behind the traffic and in its order.
//!
//! What was handed in before a call is told before the call is asked about, or the asking waits a moment for it:
//! the detectors look at results, and at definitions. Full: what is handed in is counted and lost, never waited for.

use super::gate::{Gate, Trouble};
use crate::proto::v1::{Outcome, OutcomeStatus, ToolDefinition};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Reports that wait to be told.
const WAITING_MAX: usize = 1_024;
/// Outcomes told at a time.
const TOGETHER_MAX: usize = 64;
/// Time that asking waits for what was reported before.
const SETTLE_MAX: Duration = Duration::from_millis(250);

enum Report {
    Outcome { call_id: String, outcome: Box<Outcome> },
    Tools { server: String, tools: Vec<ToolDefinition> },
}

/// Takes reports.
pub struct Recorder {
    sender: mpsc::Sender<Report>,
    taken: Arc<AtomicU64>,
    told: watch::Receiver<u64>,
    lost: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Starts to tell. Needs a tokio runtime around it.
    pub fn start(gate: Arc<Gate>, tenant: String) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let (tell, told) = watch::channel(0);
        let lost = Arc::new(AtomicU64::new(0));
        let teller = Teller { gate, tenant, receiver, tell, lost: Arc::clone(&lost) };
        let task = tokio::spawn(teller.run());
        Self { sender, taken: Arc::default(), told, lost, task }
    }

    /// Reports how a call ended.
    pub fn outcome(&self, call_id: String, outcome: Outcome) {
        self.take(Report::Outcome { call_id, outcome: Box::new(outcome) });
    }

    /// Reports tools.
    pub fn tools(&self, server: String, tools: Vec<ToolDefinition>) {
        self.take(Report::Tools { server, tools });
    }

    fn take(&self, report: Report) {
        if self.sender.try_send(report).is_ok() {
            self.taken.fetch_add(1, Ordering::SeqCst);
        } else {
            note_loss(&self.lost, "too many wait to be told");
        }
    }

    /// Waits until everything reported so far is told, or for a moment.
    pub async fn settle(&self) {
        self.settle_within(SETTLE_MAX).await;
    }

    async fn settle_within(&self, time: Duration) {
        let taken = self.taken.load(Ordering::SeqCst);
        if *self.told.borrow() >= taken {
            return;
        }
        let mut told = self.told.clone();
        let reached = tokio::time::timeout(time, told.wait_for(|told| *told >= taken)).await;
        if reached.is_err() {
            tracing::debug!("a call is asked about before all that was reported is told");
        }
    }

    /// Reports that were lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Tells what is left, for at most so long, and ends.
    pub async fn stop(&self, time: Duration) {
        self.settle_within(time).await;
        self.task.abort();
    }
}

fn note_loss(lost: &AtomicU64, why: &str) {
    let before = lost.fetch_add(1, Ordering::Relaxed);
    if before.is_power_of_two() || before == 0 {
        tracing::warn!(lost = before + 1, why = ?why, "outcomes or tools could not be told to askance");
    }
}

struct Teller {
    gate: Arc<Gate>,
    tenant: String,
    receiver: mpsc::Receiver<Report>,
    tell: watch::Sender<u64>,
    lost: Arc<AtomicU64>,
}

impl Teller {
    async fn run(mut self) {
        let mut reports = Vec::with_capacity(TOGETHER_MAX);
        loop {
            let came = self.receiver.recv_many(&mut reports, TOGETHER_MAX).await;
            if came == 0 {
                return;
            }
            let mut together = JoinSet::new();
            for report in reports.drain(..) {
                match report {
                    Report::Outcome { call_id, outcome } => {
                        let (gate, tenant) = (Arc::clone(&self.gate), self.tenant.clone());
                        together.spawn(async move { gate.record(&tenant, &call_id, *outcome).await });
                    }
                    Report::Tools { server, tools } => {
                        self.ends(&mut together).await;
                        let told = self.gate.register(&self.tenant, &server, &tools).await;
                        self.note(told);
                    }
                }
            }
            self.ends(&mut together).await;
            self.tell.send_modify(|told| *told += came as u64);
        }
    }

    async fn ends(&self, together: &mut JoinSet<Result<(), Trouble>>) {
        while let Some(told) = together.join_next().await {
            self.note(told.unwrap_or_else(|fault| Err(Trouble::Away(fault.to_string()))));
        }
    }

    fn note(&self, told: Result<(), Trouble>) {
        if let Err(Trouble::Away(why) | Trouble::Refused(why)) = told {
            note_loss(&self.lost, &why);
        }
    }
}

/// An outcome without a result.
pub fn ended(status: OutcomeStatus, why: &str) -> Outcome {
    Outcome { status: status.into(), error_text: why.to_owned(), ..Outcome::default() }
}
