//! From a call to a ruling: ask, hold while people look, and what holds when nobody can be asked.

use super::book::{Answered, Ticket};
use super::carry::{Brought, Carrier};
use super::gate::{Gate, Trouble};
use super::peek::{Call, Id};
use super::recorder::{Recorder, ended};
use super::refusal::{self, Refusal};
use super::scan::Found;
use super::scope::{Fixed, is_name, scope};
use super::tasks::WAIT_MAX;
use super::tools::{Categories, definitions};
use crate::domain::hex::hex;
use crate::domain::risk::RiskCategory;
use crate::proto::v1::{Decision, Outcome, OutcomeStatus, SessionHints, ToolCall, Verdict};
use anyhow::{Result, anyhow};
use prost::bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pause between two notifications about a call that is held.
const TICK: Duration = Duration::from_secs(5);
/// Least time between two questions about a call that is held.
const PAUSE: Duration = Duration::from_secs(1);
/// Time to tell what is left at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Server name where neither operator nor server gives one that is fit.
const NAMELESS: &str = "mcp";

/// What a proxy does.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What holds for every call.
    pub fixed: Fixed,
    /// The server's name; none: as it calls itself.
    pub server: Option<String>,
    /// The client's name; none: as it calls itself.
    pub client: Option<String>,
    /// How long a call waits for people before its client is told to come back.
    pub hold: Duration,
    /// Whether calls of low risk run when the daemon cannot be asked.
    pub low_runs_unasked: bool,
    /// Address of a review's page with `{review}` in it, for clients that open pages.
    pub review_page: Option<String>,
}

/// A call as it is asked about.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The call.
    pub call: ToolCall,
    /// How its client carries a review.
    carries: Carries,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carries {
    /// It waits for an answer.
    Waits,
    /// It can be asked to open the review's page.
    Opens,
    /// It follows tasks.
    Follows,
    /// It was asked; whether its user opened the page.
    Opened(bool),
}

impl Envelope {
    /// Whether the message holds an answer to us, which the server must not see.
    pub const fn brings_answer(&self) -> bool {
        matches!(self.carries, Carries::Opened(_))
    }
}

/// What is to be done with a call.
#[derive(Debug)]
pub enum Ruling {
    /// It may run; its outcome is recorded, unless nobody was asked.
    Run(Option<Ticket<Instant>>),
    /// It does not run.
    Refuse(Refusal),
    /// People must look.
    Hold(Box<Decision>),
    /// People must look, and the client is to open the review's page.
    Open(Box<Decision>),
    /// People must look, and the client is to follow a task.
    Follow(Box<Decision>),
}

impl Ruling {
    /// How a call runs whose client waits no longer, or what is told in its place.
    pub fn or_refusal(self) -> Result<Option<Ticket<Instant>>, Refusal> {
        match self {
            Self::Run(ticket) => Ok(ticket),
            Self::Refuse(refusal) => Err(refusal),
            Self::Hold(decision) | Self::Open(decision) | Self::Follow(decision) => {
                Err(Refusal::Waits(decision))
            }
        }
    }
}

/// Rules calls.
pub struct Guard {
    gate: Arc<Gate>,
    recorder: Recorder,
    settings: Settings,
    categories: Mutex<Categories>,
    /// The server's name for itself.
    told_name: Mutex<String>,
    carrier: Option<Carrier>,
    /// Names this run of ours, so that ids are its own.
    run: String,
    calls: AtomicU64,
    unasked: AtomicU64,
}

impl Guard {
    /// A guard that asks through `gate`. Needs a tokio runtime around it.
    pub fn new(gate: Arc<Gate>, settings: Settings) -> Result<Self> {
        let (mut random, mut key) = ([0; 12], [0; 32]);
        getrandom::fill(&mut random).map_err(|fault| anyhow!("no random bytes: {fault}"))?;
        getrandom::fill(&mut key).map_err(|fault| anyhow!("no random bytes: {fault}"))?;
        let carrier = settings.review_page.clone().map(|page| Carrier::new(key, page));
        let carrier = carrier.transpose().map_err(|fault| anyhow!("--review-page: {fault}"))?;
        let run = hex(&random);
        let recorder = Recorder::start(Arc::clone(&gate), settings.fixed.tenant.clone());
        Ok(Self {
            gate,
            recorder,
            settings,
            categories: Mutex::default(),
            told_name: Mutex::default(),
            carrier,
            run,
            calls: AtomicU64::new(0),
            unasked: AtomicU64::new(0),
        })
    }

    /// Connects, so that the first call need not wait for it.
    pub async fn warm(&self) {
        if let Err(Trouble::Away(why) | Trouble::Refused(why)) = self.gate.warm().await {
            tracing::warn!(why = ?why, "askance cannot be asked; calls are refused until it can");
        }
    }

    /// The id of this run: names the one session of a stdio server.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// What it does.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The server's name: as the operator says, else as it calls itself.
    pub fn server(&self) -> String {
        if let Some(name) = &self.settings.server {
            return name.clone();
        }
        let told = self.told_name.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_empty() { NAMELESS.to_owned() } else { told.clone() }
    }

    /// Takes the server's name for itself, the first that is fit for one.
    pub fn learn_server(&self, name: &str) {
        let mut told = self.told_name.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_empty() && is_name(name) {
            name.clone_into(&mut told);
        }
    }

    /// The call as the daemon is asked about it; `delegated`: for whom it is made, as its credential says.
    pub fn envelope(
        &self,
        call: &Call<'_>,
        connection: &str,
        client: &str,
        delegated: &[String],
    ) -> Envelope {
        let told = if call.meta.client.is_empty() { client } else { &call.meta.client };
        let client = self.settings.client.as_deref().unwrap_or(told);
        let scope = scope(&self.settings.fixed, connection, client, delegated, &call.meta);
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let (call_id, carries) = self.carried(call, format!("mcp-{}-{number}", self.run));
        let asked = ToolCall {
            call_id,
            tool: call.tool.clone(),
            server: self.server(),
            arguments_json: Bytes::copy_from_slice(call.arguments),
            principal_chain: scope.principals,
            session: Some(scope.session),
            tenant: self.settings.fixed.tenant.clone(),
            trace: scope.trace,
            client: if is_name(client) { client.to_owned() } else { String::new() },
            ..ToolCall::default()
        };
        Envelope { call: asked, carries }
    }

    /// The id a call is asked about with, and how its client carries a review.
    fn carried(&self, call: &Call<'_>, new: String) -> (String, Carries) {
        let follows = call.meta.is_modern() && call.meta.abilities.is_some_and(|can| can.follows_tasks);
        let otherwise = if follows && call.id.is_some() { Carries::Follows } else { Carries::Waits };
        let Some(carrier) = &self.carrier else { return (new, otherwise) };
        match carrier.brought(call.request_state.as_deref()) {
            Brought::Call(known) => (known, Carries::Opened(call.is_accepted)),
            Brought::Foreign => (new, Carries::Opened(false)),
            Brought::Nothing if Carrier::can_ask(call) => (new, Carries::Opens),
            Brought::Nothing => (new, otherwise),
        }
    }

    /// Asks about a call.
    pub async fn ask(&self, asked: &Envelope) -> Ruling {
        let mut carried = self.recorder.carried().await;
        let answer = self.gate.evaluate_after(&asked.call, Duration::ZERO, carried.ended()).await;
        let answer = answer.map(|(decision, recorded)| {
            carried.recorded(&recorded);
            decision
        });
        drop(carried);
        let ruling = self.ruled(&asked.call, answer);
        match (ruling, asked.carries) {
            (Ruling::Hold(decision), _) if decision.review_id.is_empty() => Ruling::Hold(decision),
            (Ruling::Hold(decision), Carries::Opens) => Ruling::Open(decision),
            (Ruling::Hold(decision), Carries::Follows) => Ruling::Follow(decision),
            (Ruling::Hold(decision), Carries::Opened(false)) => Ruling::Refuse(Refusal::Waits(decision)),
            (ruling, _) => ruling,
        }
    }

    /// Asks the client to open a review's page.
    pub fn open(&self, id: &Id, decision: Box<Decision>, is_modern: bool) -> Vec<u8> {
        match &self.carrier {
            Some(carrier) => carrier.ask(id, &decision),
            None => Refusal::Waits(decision).answer(id, is_modern),
        }
    }

    /// Notes what a server answered.
    pub fn note(&self, answered: Answered<Instant>, found: Found, bytes: u64, message: &[u8]) {
        match answered {
            // The client is asked for more, and then calls again.
            Answered::Call(ticket) if found.result_type == "input_required" => self.abandoned(ticket.call_id),
            Answered::Call(ticket) => self.answered(ticket, found, bytes),
            Answered::List => self.listed(message),
            Answered::Initialize | Answered::Other => {}
        }
    }

    /// Waits for people, at most the time that calls are held, and tells at every tick that it does.
    pub async fn hold(
        &self,
        call: &ToolCall,
        first: Box<Decision>,
        tick: impl FnMut(u32, &Decision),
    ) -> Ruling {
        self.wait(call, first, self.settings.hold, tick).await
    }

    /// Waits for people as long as it takes, for a client that follows a task.
    pub async fn follow(&self, call: &ToolCall, first: Box<Decision>) -> Ruling {
        self.wait(call, first, WAIT_MAX, |_, _| {}).await
    }

    async fn wait(
        &self,
        call: &ToolCall,
        first: Box<Decision>,
        most: Duration,
        mut tick: impl FnMut(u32, &Decision),
    ) -> Ruling {
        let until = Instant::now() + most;
        let mut decision = first;
        let mut ticks = 0;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ruling::Refuse(Refusal::Waits(decision));
            }
            ticks += 1;
            tick(ticks, &decision);
            let (asked, wait) = (Instant::now(), left.min(TICK));
            match self.ruled(call, self.gate.evaluate(call, wait).await) {
                Ruling::Hold(newer) if newer.review_id.is_empty() && !newer.degraded => {
                    return Ruling::Refuse(Refusal::Waits(newer));
                }
                Ruling::Hold(newer) => decision = newer,
                settled => return settled,
            }
            // A daemon with no room for waiting answers at once.
            tokio::time::sleep(wait.min(PAUSE).saturating_sub(asked.elapsed())).await;
        }
    }

    fn ruled(&self, call: &ToolCall, answer: Result<Decision, Trouble>) -> Ruling {
        let decision = match answer {
            Ok(decision) => Box::new(decision),
            Err(Trouble::Refused(why)) => return Ruling::Refuse(Refusal::Unacceptable(why)),
            Err(Trouble::Away(why)) => return self.unasked(&call.tool, why),
        };
        match decision.verdict() {
            Verdict::Allow => {
                Ruling::Run(Some(Ticket { call_id: call.call_id.clone(), since: Instant::now() }))
            }
            Verdict::Review => Ruling::Hold(decision),
            Verdict::Deny => Ruling::Refuse(Refusal::Denied(decision)),
            Verdict::Unspecified => {
                let why = "it answered with a verdict that this version does not know".to_owned();
                Ruling::Refuse(Refusal::Away(self.category(&call.tool), why))
            }
        }
    }

    fn category(&self, tool: &str) -> RiskCategory {
        self.categories.lock().unwrap_or_else(PoisonError::into_inner).of(tool)
    }

    fn unasked(&self, tool: &str, why: String) -> Ruling {
        let category = self.category(tool);
        if self.settings.low_runs_unasked && category == RiskCategory::Low {
            let calls = self.unasked.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::warn!(tool = ?tool, why = ?why, calls, "a call of low risk runs unasked and unrecorded");
            return Ruling::Run(None);
        }
        tracing::warn!(
            tool = ?tool, why = ?why, category = refusal::category_name(category),
            "a call is refused: askance cannot be asked"
        );
        Ruling::Refuse(Refusal::Away(category, why))
    }

    /// Takes the answer to a request to list tools.
    fn listed(&self, answer: &[u8]) {
        let (tools, unread) = definitions(answer);
        if unread > 0 {
            tracing::warn!(unread, "tools that the server lists are not registered: they cannot be read");
        }
        if !tools.is_empty() {
            self.categories.lock().unwrap_or_else(PoisonError::into_inner).learn(&tools);
            self.recorder.tools(self.server(), tools);
        }
    }

    /// Records how a call ended: by the answer that passed, of so many bytes.
    fn answered(&self, ticket: Ticket<Instant>, found: Found, bytes: u64) {
        let failed = found.is_error || found.has_error;
        let status = if failed { OutcomeStatus::Error } else { OutcomeStatus::Ok };
        let latency = ticket.since.elapsed();
        let outcome = Outcome {
            status: status.into(),
            latency: prost_types::Duration::try_from(latency).ok(),
            result_bytes: Some(bytes),
            result_text: found.text.into_bytes().into(),
            error_text: found.error,
            ..Outcome::default()
        };
        self.recorder.outcome(ticket.call_id, outcome);
    }

    /// Records that nobody saw how a call ended.
    pub fn abandoned(&self, call_id: String) {
        self.recorder.outcome(call_id, ended(OutcomeStatus::Abandoned, ""));
    }

    /// Records that a call ended without an answer, and why.
    pub fn failed(&self, ticket: Ticket<Instant>, why: &str) {
        self.recorder.outcome(ticket.call_id, ended(OutcomeStatus::Error, why));
    }

    /// Ends the session of a connection, if the connection named it.
    pub async fn end(&self, connection: &str) {
        self.recorder.settle().await;
        let fixed = &self.settings.fixed;
        if fixed.session.is_empty() && self.calls.load(Ordering::Relaxed) > 0 {
            let session = SessionHints { host_session_id: connection.to_owned(), ..SessionHints::default() };
            // Not there: no call was asked about in it, or nobody can be told.
            let _unknown = self.gate.end_session(&fixed.tenant, session, &fixed.principals).await;
        }
    }

    /// Tells what is left, and lets go of the daemon.
    pub async fn stop(&self) {
        self.recorder.stop(LAST_WORDS).await;
        self.gate.close().await;
    }
}
