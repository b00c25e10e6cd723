//! Killed with reviews open, at any moment of a vote and of a deadline: none is lost, none is settled twice, every
//! deadline fires once. The log says so; it is the control, too: a review that was opened and never ended, or a
//! deadline that fired early, would stand there. Restarts in good order, under a set clock: `tests/scenarios/restarts.rs`.

use super::support::*;
use askance::proto::v1::event::Data;
use askance::proto::v1::review_service_client::ReviewServiceClient;
use askance::proto::v1::{
    CastVoteRequest, Decision, Event, EventFilter, ListEventsRequest, ListReviewsRequest, ReasonCode,
    ReviewState, VoteChoice,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What time does after a second: denial, consent, and backup before denial.
const POLICY: &str = "version: 1
groups: {sre: [user:ann], oncall: [user:eve]}
rules:
  - {id: denied, tool: delete_database, effect: review, risk: critical, timeout: {after: 1s, then: deny}, release_within: 1s}
  - {id: consent, tool: rename_file, effect: review, risk: low, timeout: {after: 1s, then: approve}, release_within: 1s}
  - {id: backup, tool: run_migration, effect: review, risk: high, timeout: {after: 1s, then: escalate, to: oncall, deny_after: 1s}, release_within: 1s}
";
const TOOLS: [&str; 3] = ["delete_database", "rename_file", "run_migration"];

/// What was acknowledged: reviews by their id, and votes.
#[derive(Default)]
struct Told {
    reviews: BTreeMap<String, u64>,
    votes: BTreeSet<String>,
}

fn asked(number: u64) -> askance::proto::v1::ToolCall {
    call("review", number, &format!("s-{number}"), TOOLS[number as usize % 3])
}

/// Opens reviews, votes on some, and asks again for others, until the daemon is gone.
async fn work(daemon: &Daemon, cycle: u64, told: &Arc<Mutex<Told>>) -> Vec<tokio::task::JoinHandle<()>> {
    let mut tasks = Vec::new();
    for lane in 0..3 {
        let (mut client, mut reviews) = (daemon.client().await, daemon.reviews().await);
        let told = Arc::clone(told);
        tasks.push(tokio::spawn(async move {
            for step in 0.. {
                let number = (cycle * 3 + lane) * 1_000 + step;
                let Ok(decision) = evaluate(&mut client, asked(number)).await else { return };
                if decision.degraded {
                    continue;
                }
                told.lock().unwrap().reviews.insert(decision.review_id.clone(), number);
                match number % 5 {
                    0 | 1 => {
                        let choice =
                            if number.is_multiple_of(2) { VoteChoice::Approve } else { VoteChoice::Deny };
                        match reviews.cast_vote(ballot(&decision, choice)).await {
                            Ok(_) => drop(told.lock().unwrap().votes.insert(decision.review_id.clone())),
                            Err(status) if status.code() == tonic::Code::FailedPrecondition => {}
                            Err(_) => return,
                        }
                        // The agent asks again, which uses an approval up.
                        if evaluate(&mut client, asked(number)).await.is_err() {
                            return;
                        }
                    }
                    _ => tokio::time::sleep(Duration::from_millis(number % 7)).await,
                }
            }
        }));
    }
    tasks
}

fn ballot(decision: &Decision, choice: VoteChoice) -> CastVoteRequest {
    CastVoteRequest {
        review_id: decision.review_id.clone(),
        choice: choice.into(),
        call_digest: decision.call_digest.clone(),
        ..CastVoteRequest::default()
    }
}

async fn events(daemon: &Daemon) -> Vec<Event> {
    let mut client = daemon.timeline().await;
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let filter = Some(EventFilter { tenant: "default".to_owned(), ..EventFilter::default() });
        let request = ListEventsRequest { filter, page_size: 1_000, page_token, ..Default::default() };
        let page = client.list_events(request).await.unwrap().into_inner();
        found.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

/// What the log says of reviews.
#[derive(Default)]
struct History {
    /// The deadline of each, as it stands.
    deadlines: BTreeMap<String, i64>,
    voted: BTreeSet<String>,
    ended: BTreeMap<String, u32>,
    /// Deadlines that fired, with their review.
    past: BTreeSet<(String, i64)>,
    endings: BTreeMap<String, u32>,
}

fn micros(at: Option<&prost_types::Timestamp>) -> i64 {
    let at = at.expect("a time");
    at.seconds * 1_000_000 + i64::from(at.nanos) / 1_000
}

impl History {
    fn read(events: Vec<Event>) -> Self {
        let mut history = Self::default();
        for event in events {
            let at = micros(event.receive_time.as_ref());
            match event.data {
                Some(Data::ReviewOpened(opened)) => {
                    let review = opened.review.unwrap();
                    history.deadlines.insert(review.review_id, micros(review.deadline.as_ref()));
                }
                Some(Data::VoteCast(cast)) => drop(history.voted.insert(cast.review_id)),
                Some(Data::CallReleased(released)) => history.end(released.review_id, "used"),
                Some(Data::ReviewResolved(resolved)) => {
                    let (id, state) = (resolved.review_id.clone(), resolved.state());
                    let by_time =
                        matches!(resolved.reason_code(), ReasonCode::Expired | ReasonCode::AllowedBySilence);
                    if by_time {
                        let due = history.deadlines[&id];
                        assert!(at >= due, "{resolved:?} at {at}, before {due}");
                        assert!(history.past.insert((id.clone(), due)), "fired twice: {resolved:?}");
                    }
                    if let Some(deadline) = resolved.deadline.as_ref() {
                        history.deadlines.insert(id.clone(), micros(Some(deadline)));
                    }
                    match state {
                        ReviewState::Approved | ReviewState::Escalated => history.count(state.as_str_name()),
                        _ => history.end(id, state.as_str_name()),
                    }
                }
                _ => {}
            }
        }
        history
    }

    fn count(&mut self, how: &str) {
        *self.endings.entry(how.to_owned()).or_insert(0) += 1;
    }

    fn end(&mut self, id: String, how: &str) {
        *self.ended.entry(id).or_insert(0) += 1;
        self.count(how);
    }
}

async fn kills(dir: &Path, policy: &Path, count: u64) -> Arc<Mutex<Told>> {
    let told = Arc::new(Mutex::new(Told::default()));
    let policy = policy.display().to_string();
    for cycle in 0..count {
        let daemon = Daemon::start(dir, &[("ASKANCE_ENGINE__POLICY", &policy)]).await;
        let tasks = work(&daemon, cycle, &told).await;
        tokio::time::sleep(Duration::from_millis(10 + cycle * 37 % 60)).await;
        daemon.kill();
        for task in tasks {
            task.await.unwrap();
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_outlive_a_hundred_kills() {
    let dir = tempfile::tempdir().unwrap();
    let (data, policy) = (dir.path().join("data"), dir.path().join("policy.yaml"));
    std::fs::write(&policy, POLICY).unwrap();
    let told = kills(&data, &policy, 100).await;
    let daemon = Daemon::start(&data, &[("ASKANCE_ENGINE__POLICY", &policy.display().to_string())]).await;
    let mut reviews: ReviewServiceClient<_> = daemon.reviews().await;
    let open = || ListReviewsRequest { states: vec![1, 2, 3], ..ListReviewsRequest::default() };
    for _ in 0..1_000 {
        if reviews.list_reviews(open()).await.unwrap().into_inner().reviews.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let history = History::read(events(&daemon).await);
    let told = std::mem::take(&mut *told.lock().unwrap());
    println!(
        "{} reviews, {} of them answered; {:?}",
        history.deadlines.len(),
        told.reviews.len(),
        history.endings
    );
    for (id, number) in &told.reviews {
        assert!(history.deadlines.contains_key(id), "review {id} of call {number} is lost");
    }
    for id in &told.votes {
        assert!(history.voted.contains(id), "a vote on {id} is lost");
    }
    for id in history.deadlines.keys() {
        assert_eq!(history.ended.get(id), Some(&1), "review {id} did not end once");
    }
    let many = |how: &str| history.endings.get(how).copied().unwrap_or(0) >= 20;
    let ways = ["used", "REVIEW_STATE_DENIED", "REVIEW_STATE_EXPIRED", "REVIEW_STATE_ESCALATED"];
    assert!(ways.into_iter().all(many), "the run covered little: {:?}", history.endings);
    assert_eq!(daemon.stop(), Some(0));
    let (code, text) = run(&["verify"], &data);
    assert_eq!(code, 0, "{text}");
}
