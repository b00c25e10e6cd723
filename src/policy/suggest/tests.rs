use super::*;
use crate::domain::call::{CallFeatures, Origin};
use crate::domain::decision::{Assessment, Decision, Detector, Evidence, Reason, Score};
use crate::domain::position::Position;
use crate::domain::risk::{Capabilities, RiskCategory};

struct History {
    suggester: Suggester,
    calls: u32,
    enforced: bool,
}

impl History {
    fn new() -> Self {
        Self { suggester: Suggester::default(), calls: 0, enforced: true }
    }

    fn call(&mut self, tool: &str, arguments: &str, verdict: Verdict) -> CallKey {
        self.calls += 1;
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.calls.to_le_bytes());
        let (stream, key) =
            (StreamId::from_bytes([(self.calls % 3) as u8 + 1; 16]), CallKey::from_bytes(bytes));
        let features = CallFeatures {
            tool: 1,
            principal: 1,
            capabilities: Capabilities::NONE,
            at: None,
            utc_offset_minutes: 0,
            arguments: Vec::new(),
            words: Default::default(),
        };
        let proposed = CallProposed {
            tenant: "t".to_owned(),
            call_id: self.calls.to_string(),
            digest: [0; 32],
            server: "k8s".to_owned(),
            tool: tool.to_owned(),
            principal_chain: vec!["user:ann".to_owned(), "agent:ops".to_owned()],
            turn: None,
            traceparent: String::new(),
            origin: Origin::Live,
            masked: 0,
            category: RiskCategory::Medium,
            skewed: false,
            schema_fault: String::new(),
            features,
            actor: String::new(),
        };
        let score = |detector| Score { detector, raw: None, surprise: 0, evidence: Evidence::None };
        let decision = Decision {
            verdict,
            enforced: self.enforced,
            reason: Reason::CategoryDefault,
            rule_id: String::new(),
            category: RiskCategory::Medium,
            threshold: 0,
            counted: false,
            account: crate::domain::account::Account::default(),
            compositions: Vec::new(),
            assessment: Assessment {
                scores: Detector::ALL.map(score),
                evidence: 0,
                combined_raw: 0,
                floors: 0,
                risk: 30,
            },
        };
        let decided = CallDecided {
            tenant: "t".to_owned(),
            decision,
            policy_revision: Position::ZERO,
            scoring_version: 1,
        };
        self.suggester.decided(stream, key, &proposed, &decided, arguments.as_bytes(), true);
        key
    }

    fn approve(&mut self, key: CallKey) {
        self.suggester.approved(StreamId::from_bytes([1; 16]), key, &["user:bob".to_owned()]);
    }
}

#[test]
fn a_rule_is_as_narrow_as_history() {
    let mut history = History::new();
    for count in 0..6 {
        let arguments =
            format!(r#"{{"service":"api","count":{},"note":"n{count}","tags":["x"]}}"#, 2 + count % 2);
        let key = history.call("scale", &arguments, Verdict::Review);
        history.approve(key);
    }
    let denied =
        history.call("scale", r#"{"service":"db","count":3,"note":"n","tags":["x"]}"#, Verdict::Review);
    history.suggester.denied(denied);
    let found = history.suggester.suggestions();
    assert_eq!(found.len(), 1);
    let one = &found[0];
    assert_eq!(
        one.rule_text,
        "id: suggested\ntool: 'scale'\nserver: 'k8s'\nprincipal: 'agent:ops'\nwhen: 'args.count in [2, 3] && args.service == \"api\"'\neffect: allow\n"
    );
    assert_eq!((one.calls, one.reviewed, one.approved, one.denied_siblings), (6, 7, 6, 1));
    assert_eq!(one.approvers, ["user:bob"]);
    assert_eq!(one.widened, [""; 0]);
    assert!(one.sentence.contains("covers none of them"), "{}", one.sentence);
}

#[test]
fn what_was_denied_is_never_covered() {
    let mut history = History::new();
    for _ in 0..6 {
        history.call("scale", r#"{"service":"api"}"#, Verdict::Review);
    }
    history.call("scale", r#"{"service":"api"}"#, Verdict::Deny);
    assert_eq!(history.suggester.suggestions(), []);
}

#[test]
fn what_always_was_the_same_is_told_when_left_free() {
    let mut history = History::new();
    for _ in 0..5 {
        history.call("scale", r#"{"x-y":"fixed","opt":1}"#, Verdict::Review);
    }
    history.call("scale", r#"{"x-y":"fixed"}"#, Verdict::Review);
    let found = history.suggester.suggestions();
    assert_eq!(found[0].widened, ["/x-y"]);
    assert!(found[0].rule_text.contains("(!has(args.opt) || args.opt == 1)"), "{}", found[0].rule_text);
}

#[test]
fn too_little_is_no_ground() {
    let mut history = History::new();
    for _ in 0..4 {
        history.call("scale", "{}", Verdict::Review);
    }
    for _ in 0..50 {
        history.call("get", "{}", Verdict::Allow);
    }
    assert_eq!(history.suggester.suggestions(), []);
}

/// In observe mode, and in history that was handed in, calls ran without anybody being asked.
#[test]
fn what_ran_unasked_is_said_to_have() {
    let mut history = History::new();
    history.enforced = false;
    for count in 0..6 {
        history.call("scale", &format!(r#"{{"service":"api","note":"{count}"}}"#), Verdict::Review);
    }
    let found = history.suggester.suggestions();
    let one = &found[0];
    assert_eq!((one.calls, one.sessions, one.reviewed, one.approved), (6, 3, 6, 0));
    assert_eq!(
        one.sentence,
        "scale was called 6 times by agent:ops in 3 sessions, and the rule would have let all of them pass; 6 ran without \
         the review that the policy asks for; none of this kind was ever denied; it says nothing of /note, which differed"
    );
}

#[test]
fn who_approved_is_named_and_sessions_of_open_reviews_count() {
    let mut history = History::new();
    for _ in 0..5 {
        let key = history.call("scale", r#"{"service":"api"}"#, Verdict::Review);
        history.approve(key);
    }
    history.call("scale", r#"{"service":"api"}"#, Verdict::Review);
    let found = history.suggester.suggestions();
    assert!(found[0].sentence.contains("6 were reviewed, 5 approved by user:bob"), "{}", found[0].sentence);
    assert_eq!((found[0].calls, found[0].sessions), (6, 1));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No suggestion matches a denied call, whatever was called.
        #[test]
        fn no_denied_call_is_covered(
            calls in proptest::collection::vec((0_u8..3, "[a-c'\"\\\\ ]{0,2}", 0_u8..3), 5..40),
        ) {
            let mut history = History::new();
            let mut denied = Vec::new();
            for (count, text, verdict) in calls {
                let arguments = serde_json::json!({ "n": count, "s": text }).to_string();
                let verdict = [Verdict::Review, Verdict::Allow, Verdict::Deny][usize::from(verdict)];
                history.call("scale", &arguments, verdict);
                if verdict == Verdict::Deny {
                    denied.push(arguments);
                }
            }
            for suggestion in history.suggester.suggestions() {
                let rule = parse_rule(&suggestion.rule_text, Timestamp::from_micros(0)).unwrap();
                let kind = ("k8s".to_owned(), "scale".to_owned(), "agent:ops".to_owned());
                for arguments in &denied {
                    prop_assert!(!covers(&rule, &kind, arguments.as_bytes()), "{} {}", suggestion.rule_text, arguments);
                }
            }
        }
    }
}
