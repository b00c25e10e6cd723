//! Reviews through a hundred ends of the daemon: none is lost, none is settled twice, every deadline fires
//! once.

use crate::stage::{Stage, ask, call_of, eventually, tuesday, vote};
use askance::clock::Clock;
use askance::domain::event::{Event, ReviewResolved};
use askance::domain::review::Why;
use askance::domain::{Position, Timestamp};
use askance::engine::EventView;
use askance::proto::v1::{self, VoteChoice};
use std::collections::{BTreeMap, BTreeSet};

/// A small generator, so that every run is the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Restarts of the run.
const RESTARTS: u64 = 100;

/// What time does to a review: denial, consent, and backup before denial.
const POLICY: &str = r#"version: 1
groups: {sre: [user:bob], oncall: [user:eve]}
rules:
  - {id: denied, tool: delete_database, effect: review, risk: critical}
  - {id: consent, tool: rename_file, effect: review, risk: low, timeout: {after: 10m, then: approve}}
  - id: backup
    tool: run_migration
    effect: review
    risk: high
    approvers: {count: 1, groups: [sre]}
    timeout: {after: 8m, then: escalate, to: oncall, deny_after: 8m}
"#;
const TOOLS: [&str; 3] = ["delete_database", "rename_file", "run_migration"];

/// A call of the run: its session, its id, its tool, and what was answered at first.
struct Asked {
    number: usize,
    tool: &'static str,
    decision: v1::Decision,
}

impl Asked {
    fn call(number: usize, tool: &str) -> v1::ToolCall {
        call_of(&format!("s-{number}"), &format!("c-{number}"), tool, "{}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_restarts_lose_nothing_and_settle_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let mut dice = Dice(7);
    let mut asked: Vec<Asked> = Vec::new();
    let mut voters = Vec::new();
    for _ in 0..RESTARTS {
        let stage = Stage::with_policy(dir.path(), &clock, POLICY).await;
        if voters.is_empty() {
            for name in ["user:bob", "user:eve"] {
                voters.push(stage.token(name, v1::Role::Reviewer, &[]).await);
            }
        }
        let mut gateway = stage.gateway().await;
        for _ in 0..dice.below(6) {
            // One of the last few: most of those before are settled.
            let back = dice.below(5) as usize + 1;
            let one = asked.len().checked_sub(back).map(|at| &asked[at]);
            match (dice.below(6), one) {
                (2, Some(one)) => {
                    let mut reviewer = stage.reviews(&voters[dice.below(2) as usize]).await;
                    let choice = if dice.below(3) == 0 { VoteChoice::Deny } else { VoteChoice::Approve };
                    // It may be settled already, or not theirs yet: that is refused, which is right.
                    let _voted = vote(&mut reviewer, &one.decision, choice).await;
                }
                // The agent asks again, which uses an approval up.
                (3, Some(one)) => drop(ask(&mut gateway, Asked::call(one.number, one.tool)).await),
                (4 | 5, _) => stage.pass(dice.below(9) as i64),
                _ => {
                    let (number, tool) = (asked.len(), TOOLS[dice.below(3) as usize]);
                    let decision = ask(&mut gateway, Asked::call(number, tool)).await;
                    asked.push(Asked { number, tool, decision });
                }
            }
        }
        stage.close().await;
        if dice.below(2) == 0 {
            // Time passes while the daemon is away, too.
            clock.set(clock.now().plus_micros(dice.below(8) as i64 * 60_000_000));
        }
    }
    let stage = Stage::with_policy(dir.path(), &clock, POLICY).await;
    let live = async || stage.engine.ask("default", |state| state.reviews.live()).await.unwrap();
    // A deadline may lead to another one, of the backup or of an approval.
    for _ in 0..3 {
        let before = live().await;
        stage.pass(60);
        eventually("what is due happens", async || {
            let due = stage.engine.ask("default", |state| state.next_deadline()).await.unwrap();
            due.is_none_or(|due| due > clock.now())
        })
        .await;
        println!("an hour later {} of {before} are open", live().await);
    }
    assert_eq!(live().await, 0, "in the end nothing is open");
    let history = History::read(&stage);
    println!(
        "{} reviews over {RESTARTS} restarts: {:?}; by time: {:?}",
        history.opened.len(),
        history.endings,
        history.fired
    );
    let open = asked.iter().filter(|one| !one.decision.review_id.is_empty()).count();
    assert_eq!(
        (open, history.opened.len()),
        (asked.len(), asked.len()),
        "every review that was answered is in the log"
    );
    assert!(history.opened.len() > 60 && history.endings.len() >= 4, "the run covered little");
    assert!(
        history.fired.values().all(|fired| *fired > 5),
        "too little was left to time: {:?}",
        history.fired
    );
    for id in &history.opened {
        let ended = history.ended.get(id).copied().unwrap_or(0);
        assert_eq!(ended, 1, "review {id} ended {ended} times");
    }
    stage.close().await;
}

/// What the log says became of every review.
#[derive(Default)]
struct History {
    opened: BTreeSet<u64>,
    ended: BTreeMap<u64, u32>,
    endings: BTreeMap<String, u32>,
    /// The deadline of each review as it stands.
    deadlines: BTreeMap<u64, Timestamp>,
    /// Deadlines that have fired, with their review.
    past: BTreeSet<(u64, Timestamp)>,
    /// How many fired, by what came of it.
    fired: BTreeMap<String, u32>,
}

impl History {
    fn read(stage: &Stage) -> Self {
        let mut history = Self::default();
        for why in [Why::Expired, Why::Escalated, Why::Silence, Why::ApprovalExpired] {
            history.fired.insert(format!("{why:?}"), 0);
        }
        let mut next = Position::FIRST;
        loop {
            let events = stage.engine.log_events("default", next, 512, EventView::Basic).unwrap();
            let Some(last) = events.last() else { return history };
            next = last.recorded.position.next();
            for event in events {
                let (position, at) = (event.recorded.position.get(), event.recorded.record.receive_time);
                match event.recorded.record.event {
                    Event::ReviewOpened(opened) => {
                        history.opened.insert(position);
                        history.deadlines.insert(position, opened.terms.deadline);
                    }
                    Event::ReviewResolved(resolved) => history.resolved(&resolved, at),
                    Event::CallReleased(released) => history.end(released.review, "Consumed".to_owned()),
                    _ => {}
                }
            }
        }
    }

    fn resolved(&mut self, resolved: &ReviewResolved, at: Timestamp) {
        let review = resolved.review.get();
        let due = self.deadlines[&review];
        if matches!(resolved.why, Why::Expired | Why::Escalated | Why::Silence | Why::ApprovalExpired) {
            assert!(at >= due, "{resolved:?} at {at}, before its deadline {due}");
            assert!(self.past.insert((review, due)), "the deadline {due} fired twice: {resolved:?}");
            *self.fired.entry(format!("{:?}", resolved.why)).or_insert(0) += 1;
        } else {
            assert!(at < due, "{resolved:?} at {at}, after its deadline {due}");
        }
        if let Some(deadline) = resolved.deadline {
            self.deadlines.insert(review, deadline);
        }
        if !resolved.state.is_live() {
            self.end(resolved.review, format!("{:?} {:?}", resolved.state, resolved.why));
        }
    }

    fn end(&mut self, review: Position, how: String) {
        *self.ended.entry(review.get()).or_insert(0) += 1;
        *self.endings.entry(how).or_insert(0) += 1;
    }
}
