//! Tells the daemon what came of calls and which tools there are, behind the traffic and in its order.
//!
//! What was handed in before a call is told before the call is judged, since the detectors look at results and at
//! definitions: outcomes wait a moment for the next call, which carries them along, so that both take one write; what
//! cannot be carried is told first, and the asking waits for it, though not for long. Full: what is handed in is
//! counted and lost, never waited for.

use super::gate::{Gate, Trouble};
use super::reports::{Report, Reports};
use crate::proto::v1::{EndedCall, Outcome, OutcomeStatus, ToolDefinition};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Reports told at a time.
const TOGETHER_MAX: usize = 64;
/// Time that asking waits for what was reported before.
const SETTLE_MAX: Duration = Duration::from_millis(250);
/// Time that outcomes wait for a call to carry them.
const LINGER: Duration = Duration::from_millis(20);

/// Takes reports.
pub struct Recorder {
    shared: Arc<Shared>,
    told: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    reports: Mutex<Reports>,
    /// Something came.
    came: Notify,
    /// Somebody waits for what came.
    hurry: Notify,
    lost: AtomicU64,
}

impl Shared {
    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Outcomes that a call carries. Those that are not told when it is dropped are told without it.
pub struct Carried<'r> {
    recorder: &'r Recorder,
    ended: Vec<EndedCall>,
}

impl Carried<'_> {
    /// What is carried.
    pub fn ended(&self) -> &[EndedCall] {
        &self.ended
    }

    /// Notes those that are on disk.
    pub fn recorded(&mut self, recorded: &[String]) {
        let before = self.ended.len();
        self.ended.retain(|ended| !recorded.contains(&ended.call_id));
        self.recorder.shared.reports().tell((before - self.ended.len()) as u64);
    }
}

impl Drop for Carried<'_> {
    fn drop(&mut self) {
        let shared = &self.recorder.shared;
        if !self.ended.is_empty() {
            shared.reports().back(std::mem::take(&mut self.ended));
            shared.came.notify_one();
        }
    }
}

impl Recorder {
    /// Starts to tell. Needs a tokio runtime around it.
    pub fn start(gate: Arc<Gate>, tenant: String) -> Self {
        let shared = Arc::<Shared>::default();
        let told = shared.reports().told();
        let teller = Teller { gate, tenant, shared: Arc::clone(&shared) };
        let task = tokio::spawn(teller.run());
        Self { shared, told, task }
    }

    /// Reports how a call ended.
    pub fn outcome(&self, call_id: String, outcome: Outcome) {
        self.take(Report::Ended(Box::new(EndedCall { call_id, outcome: Some(outcome) })));
    }

    /// Reports tools.
    pub fn tools(&self, server: String, tools: Vec<ToolDefinition>) {
        self.take(Report::Tools { server, tools });
    }

    fn take(&self, report: Report) {
        if self.shared.reports().push(report) {
            self.shared.came.notify_one();
        } else {
            note_loss(&self.shared.lost, "too many wait to be told");
        }
    }

    /// What the next call carries, once everything else that was reported is told, or after a moment.
    pub async fn carried(&self) -> Carried<'_> {
        let (ended, before) = self.shared.reports().carry();
        let carried = Carried { recorder: self, ended };
        self.settle_until(before, SETTLE_MAX).await;
        carried
    }

    /// Waits until everything reported so far is told, or for a moment.
    pub async fn settle(&self) {
        self.settle_within(SETTLE_MAX).await;
    }

    async fn settle_within(&self, time: Duration) {
        let taken = self.shared.reports().taken();
        self.settle_until(taken, time).await;
    }

    async fn settle_until(&self, taken: u64, time: Duration) {
        if *self.told.borrow() >= taken {
            return;
        }
        self.shared.hurry.notify_one();
        let mut told = self.told.clone();
        let reached = tokio::time::timeout(time, told.wait_for(|told| *told >= taken)).await;
        if reached.is_err() {
            tracing::debug!("a call is asked about before all that was reported is told");
        }
    }

    /// Reports that were lost.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
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
    shared: Arc<Shared>,
}

impl Teller {
    async fn run(self) {
        loop {
            self.shared.came.notified().await;
            if self.shared.reports().may_linger() {
                let _either = tokio::time::timeout(LINGER, self.shared.hurry.notified()).await;
            }
            loop {
                let reports = self.shared.reports().drain(TOGETHER_MAX);
                if reports.is_empty() {
                    break;
                }
                self.tell(reports).await;
            }
        }
    }

    async fn tell(&self, reports: Vec<Report>) {
        let count = reports.len() as u64;
        let mut together = JoinSet::new();
        for report in reports {
            match report {
                Report::Ended(ended) => {
                    let (gate, tenant) = (Arc::clone(&self.gate), self.tenant.clone());
                    together.spawn(async move { gate.record(&tenant, *ended).await });
                }
                Report::Tools { server, tools } => {
                    self.ends(&mut together).await;
                    let told = self.gate.register(&self.tenant, &server, &tools).await;
                    self.note(told);
                }
            }
        }
        self.ends(&mut together).await;
        self.shared.reports().tell(count);
    }

    async fn ends(&self, together: &mut JoinSet<Result<(), Trouble>>) {
        while let Some(told) = together.join_next().await {
            self.note(told.unwrap_or_else(|fault| Err(Trouble::Away(fault.to_string()))));
        }
    }

    fn note(&self, told: Result<(), Trouble>) {
        if let Err(Trouble::Away(why) | Trouble::Refused(why)) = told {
            note_loss(&self.shared.lost, &why);
        }
    }
}

/// An outcome without a result.
pub fn ended(status: OutcomeStatus, why: &str) -> Outcome {
    Outcome { status: status.into(), error_text: why.to_owned(), ..Outcome::default() }
}
