//! Reviews through a hundred ends of the daemon: none is lost, none is settled twice, every deadline fires
//! once.

use crate::stage::{call_of, tuesday};
use askance::clock::Clock;
use askance::domain::Position;
use askance::domain::event::Event;
use askance::domain::review::{ReviewState, Why};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_restarts_lose_nothing_and_settle_nothing_twice() {
    use crate::stage::{Stage, ask, vote};
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let mut dice = Dice(7);
    let mut asked: Vec<v1::Decision> = Vec::new();
    let mut number = 0;
    let mut reviewer = None;
    for _ in 0..RESTARTS {
        let stage = Stage::open(dir.path(), &clock).await;
        let mut gateway = stage.gateway().await;
        let who = match &reviewer {
            Some(who) => who,
            None => reviewer.insert(stage.token("user:bob", v1::Role::Reviewer, &[]).await),
        };
        let mut bob = stage.reviews(who).await;
        for _ in 0..dice.below(6) {
            match dice.below(4) {
                0 | 1 => {
                    number += 1;
                    let session = format!("s-{number}");
                    let call = call_of(&session, &format!("c-{number}"), "delete_database", "{}");
                    asked.push(ask(&mut gateway, call).await);
                }
                2 if !asked.is_empty() => {
                    let one = &asked[dice.below(asked.len() as u64) as usize];
                    let choice = if dice.below(3) == 0 { VoteChoice::Deny } else { VoteChoice::Approve };
                    // It may be settled already: that is refused, which is right.
                    let _voted = vote(&mut bob, one, choice).await;
                }
                _ => stage.pass(dice.below(9) as i64),
            }
        }
        if dice.below(2) == 0 {
            // Time passes while the daemon is away, too.
            stage.close().await;
            clock.set(clock.now().plus_micros(dice.below(8) as i64 * 60_000_000));
        } else {
            stage.close().await;
        }
    }
    let stage = Stage::open(dir.path(), &clock).await;
    stage.pass(60);
    let mut live = usize::MAX;
    for _ in 0..1_000 {
        live = stage.engine.ask("default", |state| state.reviews.live()).await.unwrap();
        if live == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(live, 0, "an hour later nothing is open");
    let history = History::read(&stage);
    println!("{} reviews over {RESTARTS} restarts: {:?}", history.opened.len(), history.endings);
    assert_eq!(history.opened.len(), asked.len(), "every review that was answered is in the log");
    assert!(history.opened.len() > 60 && history.endings.len() >= 3, "the run covered little");
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
}

impl History {
    fn read(stage: &crate::stage::Stage) -> Self {
        let mut history = Self::default();
        let mut next = Position::FIRST;
        loop {
            let events = stage.engine.log_events("default", next, 512, EventView::Basic).unwrap();
            let Some(last) = events.last() else { return history };
            next = last.recorded.position.next();
            for event in events {
                match &event.recorded.record.event {
                    Event::ReviewOpened(_) => {
                        history.opened.insert(event.recorded.position.get());
                    }
                    Event::ReviewResolved(resolved) if !resolved.state.is_live() => {
                        history.end(resolved.review, format!("{:?} {:?}", resolved.state, resolved.why));
                    }
                    Event::ReviewResolved(resolved) => {
                        assert!(matches!(resolved.state, ReviewState::Approved), "{resolved:?}");
                        assert_eq!(resolved.why, Why::Approved);
                    }
                    Event::CallReleased(released) => history.end(released.review, "Consumed".to_owned()),
                    _ => {}
                }
            }
        }
    }

    fn end(&mut self, review: Position, how: String) {
        *self.ended.entry(review.get()).or_insert(0) += 1;
        *self.endings.entry(how).or_insert(0) += 1;
    }
}
