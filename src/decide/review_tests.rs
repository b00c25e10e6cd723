//! Terms beyond the built-in ones: several approvers from named groups, backups, silence.

use super::*;
use crate::domain::event::Recorded;
use crate::policy::{Policy, ReviewTerms};

const MINUTE: i64 = 60_000_000;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_micros(minutes * MINUTE)
}

fn both(minutes: i64) -> Now {
    Now { late: at(minutes), early: at(minutes) }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn policy(terms: ReviewTerms) -> Policy {
    let mut policy = Policy::default();
    policy.reviews.by_category = std::array::from_fn(|_| terms.clone());
    policy
}

fn voter(subject: &str, groups: &[&str]) -> Voter {
    Voter { subject: subject.to_owned(), aliases: Vec::new(), groups: names(groups), any_group: false }
}

/// A state with one open review.
struct Case {
    state: State,
    policy: Policy,
    review: Position,
}

impl Case {
    fn new(terms: ReviewTerms, category: RiskCategory) -> Self {
        let mut case = Self { state: State::empty(), policy: policy(terms), review: Position::ZERO };
        let asking = Asking {
            tenant: "acme",
            stream: StreamId::from_bytes([1; 16]),
            call: CallKey::from_bytes([2; 16]),
            call_id: "c-1",
            digest: [3; 32],
            server: "db",
            tool: "run_migration",
            principal_chain: &names(&["user:alice", "agent:deployer"]),
            category,
            rule_id: "",
            decided_at: Position::new(2),
        };
        let Asked::Opens(event) = ask(&case.state, &asking, &case.policy, at(0)) else { panic!("it opens") };
        case.review = case.state.position.next();
        case.apply(vec![(asking.call, *event)], at(0));
        case
    }

    fn apply(&mut self, events: Vec<About>, now: Timestamp) {
        for (call, event) in events {
            let last = Revision::new(self.state.position.get());
            let stream = StreamId::from_bytes([1; 16]);
            let record = pending(event, stream, last, call, Position::ZERO, now);
            let position = self.state.position.next();
            self.state.apply(&Recorded { position, record });
        }
    }

    fn vote(&mut self, voter: Voter, choice: Choice, minutes: i64) -> Result<(), VoteFault> {
        let ballot = Ballot {
            tenant: "acme".to_owned(),
            review: self.review,
            voter,
            choice,
            digest: [3; 32],
            comment: String::new(),
        };
        match vote(&self.state, ballot, &self.policy, at(minutes))? {
            Voted::Counts(events) => self.apply(events, at(minutes)),
            Voted::Again => {}
        }
        Ok(())
    }

    fn review(&self) -> &Review {
        self.state.reviews.get(self.review).expect("it is at hand")
    }

    fn tick(&mut self, now: Now) -> usize {
        let events = overdue(self.review(), now);
        let count = events.len();
        self.apply(events, now.late);
        count
    }
}

fn two_of_sre_or_dba() -> ReviewTerms {
    ReviewTerms { approvers: 2, groups: names(&["sre", "dba"]), ..ReviewTerms::default() }
}

#[test]
fn two_distinct_people_of_the_named_groups() {
    let mut case = Case::new(two_of_sre_or_dba(), RiskCategory::Critical);
    assert_eq!(case.vote(voter("user:eve", &["sales"]), Choice::Approve, 1), Err(VoteFault::NotAsked));
    case.vote(voter("user:bob", &["sre"]), Choice::Approve, 1).unwrap();
    assert_eq!(case.review().state, ReviewState::Pending);
    let mut alias = voter("robert@example.com", &["dba"]);
    alias.aliases = names(&["Bob"]);
    assert_eq!(
        case.vote(alias, Choice::Approve, 2),
        Err(VoteFault::Voted),
        "the same person under another name"
    );
    case.vote(voter("user:carol", &["dba"]), Choice::Approve, 2).unwrap();
    assert_eq!(case.review().state, ReviewState::Approved);
    let groups: Vec<&str> = case.review().votes.iter().map(|vote| vote.group.as_str()).collect();
    assert_eq!(groups, ["sre", "dba"]);
}

#[test]
fn one_no_settles_it_however_many_approved() {
    let mut case = Case::new(two_of_sre_or_dba(), RiskCategory::Critical);
    case.vote(voter("user:bob", &["sre"]), Choice::Approve, 1).unwrap();
    case.vote(voter("user:carol", &["dba"]), Choice::Deny, 2).unwrap();
    assert_eq!(case.review().state, ReviewState::Denied);
    assert_eq!(case.vote(voter("user:dan", &["sre"]), Choice::Approve, 3), Err(VoteFault::Closed));
    let settled = case.state.reviews.final_of(&CallKey::from_bytes([2; 16])).unwrap();
    assert_eq!((settled.released, settled.why), (false, Why::DeniedByReviewer));
}

#[test]
fn members_that_the_policy_file_names_vote_too() {
    let mut case = Case::new(two_of_sre_or_dba(), RiskCategory::High);
    case.policy.groups.0.entry("dba".to_owned()).or_default().insert("user:dora".to_owned());
    case.vote(voter("user:dora", &[]), Choice::Approve, 1).unwrap();
    assert_eq!(case.review().votes[0].group, "dba");
}

#[test]
fn the_reviewer_is_away_then_the_backup_then_denial() {
    let when_silent = WhenSilent::Escalate { to: names(&["on-call"]), deny_after_us: 10 * MINUTE };
    let terms = ReviewTerms { groups: names(&["sre"]), when_silent, ..ReviewTerms::default() };
    let mut case = Case::new(terms, RiskCategory::Critical);
    assert_eq!(case.vote(voter("user:olga", &["on-call"]), Choice::Approve, 14), Err(VoteFault::NotAsked));
    assert_eq!(case.tick(both(14)), 0);
    assert_eq!(case.tick(both(15)), 1);
    assert_eq!((case.review().state, case.review().deadline), (ReviewState::Escalated, at(25)));
    assert_eq!(case.tick(both(15)), 0, "a deadline fires once");
    let mut backup = Case { state: case.state.clone(), policy: case.policy.clone(), review: case.review };
    backup.vote(voter("user:olga", &["on-call"]), Choice::Approve, 20).unwrap();
    assert_eq!(backup.review().state, ReviewState::Approved);
    assert_eq!(case.tick(both(25)), 2);
    assert_eq!(case.review().state, ReviewState::Expired);
    assert_eq!(case.state.next_deadline(), None);
}

#[test]
fn silence_is_consent_for_low_and_medium_and_no_clock_makes_it_so() {
    let terms = ReviewTerms { when_silent: WhenSilent::Approve, ..ReviewTerms::default() };
    let mut medium = Case::new(terms.clone(), RiskCategory::Medium);
    let ahead = Now { late: at(600), early: at(14) };
    assert_eq!(medium.tick(ahead), 0, "one clock ran ahead: nothing is approved");
    assert_eq!(medium.tick(both(15)), 1);
    assert_eq!(medium.review().state, ReviewState::Approved);
    assert_eq!(medium.review().settled.map(|(_, why)| why), Some(Why::Silence));
    let mut high = Case::new(terms, RiskCategory::High);
    assert_eq!(high.tick(both(15)), 2);
    assert_eq!(high.review().state, ReviewState::Expired);
}

#[test]
fn a_session_has_so_many_reviews_and_no_more() {
    let mut case = Case::new(ReviewTerms::default(), RiskCategory::High);
    for number in 0..limits::PER_SESSION_MAX {
        let mut digest = [9; 32];
        digest[..4].copy_from_slice(&number.to_le_bytes());
        let mut key = [7; 16];
        key[..4].copy_from_slice(&number.to_le_bytes());
        let asking = Asking {
            tenant: "acme",
            stream: StreamId::from_bytes([1; 16]),
            call: CallKey::from_bytes(key),
            call_id: "c",
            digest,
            server: "db",
            tool: "drop",
            principal_chain: &names(&["agent:x"]),
            category: RiskCategory::High,
            rule_id: "",
            decided_at: Position::new(2),
        };
        let asked = ask(&case.state, &asking, &case.policy, at(0));
        match asked {
            Asked::Opens(event) => case.apply(vec![(asking.call, *event)], at(0)),
            Asked::Refused(event) => {
                assert_eq!(number, limits::PER_SESSION_MAX - 1);
                assert!(matches!(*event, Event::CallRefused(refused) if refused.why == Why::TooManyReviews));
            }
            other => panic!("{other:?}"),
        }
    }
}
