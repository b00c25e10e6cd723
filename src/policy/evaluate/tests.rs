use super::super::cel::{Arguments, SessionFacts};
use super::super::file::{Surroundings, check, parse};
use super::super::rule::{Defaults, Thresholds};
use super::*;
use crate::domain::risk::Capabilities;
use crate::domain::time::Timestamp;

const TUESDAY: &str = "2026-11-17T14:00:00Z";

fn policy(text: &str) -> Policy {
    parse(text, Mode::Enforce, Timestamp::parse(TUESDAY).unwrap()).unwrap_or_else(|faults| {
        panic!("{}", faults.iter().map(|fault| format!("{fault}\n")).collect::<String>())
    })
}

struct Asked<'a> {
    tool: &'a str,
    server: &'a str,
    chain: &'a [&'a str],
    arguments: &'a str,
    at: &'a str,
    risk: u8,
}

const ASKED: Asked<'_> = Asked {
    tool: "",
    server: "k8s",
    chain: &["user:ann", "agent:ops"],
    arguments: "{}",
    at: TUESDAY,
    risk: 0,
};

fn with_facts<T>(asked: &Asked<'_>, then: impl FnOnce(&Facts<'_>) -> T) -> T {
    let chain: Vec<String> = asked.chain.iter().map(|link| (*link).to_owned()).collect();
    let arguments = Arguments::new(asked.arguments.as_bytes());
    let mut assessment = unscored();
    assessment.risk = asked.risk;
    then(&Facts {
        tool: asked.tool,
        server: asked.server,
        chain: &chain,
        category: RiskCategory::Medium,
        capabilities: Capabilities::MUTATES,
        registered: false,
        changed: false,
        arguments: &arguments,
        session: SessionFacts::default(),
        assessment: Some(&assessment),
        compositions: &[],
        now: Timestamp::parse(asked.at).unwrap(),
    })
}

fn check_outcome(policy: &Policy, asked: &Asked<'_>, rule: Option<&str>, effect: Effect, cause: Cause) {
    with_facts(asked, |facts| {
        let outcome = policy.evaluate(facts);
        assert_eq!(outcome.rule.map(|rule| rule.id.as_str()), rule, "{} {}", asked.tool, asked.arguments);
        assert_eq!((outcome.effect, outcome.cause), (effect, cause), "{} {}", asked.tool, asked.arguments);
        assert_eq!(policy.explain(facts).0, outcome, "explaining changes nothing");
    });
}

fn simple(policy: &Policy, tool: &str, arguments: &str, rule: Option<&str>, effect: Effect) {
    check_outcome(policy, &Asked { tool, arguments, ..ASKED }, rule, effect, Cause::AsWritten);
}

/// The five lines of the whitelist that askance began with.
const FIVE: &str = r#"
version: 1
groups: {sre: [user:bob, user:eve]}
rules:
  - {id: status, tool: get_service_*, effect: allow, risk: low}
  - {id: scale, tool: scale_replicas, effect: allow, risk: medium}
  - {id: deploy-staging, tool: deploy_service, when: args.env == "staging", effect: allow, risk: low}
  - {id: deploy-production, tool: deploy_service, when: args.env == "production", effect: review, risk: critical}
  - {id: migrate, tool: run_migration, effect: review, risk: critical, approvers: {count: 2, groups: [sre]}}
"#;

#[test]
fn the_five_lines_of_the_article() {
    let policy = policy(FIVE);
    simple(&policy, "get_service_status", "{}", Some("status"), Effect::Allow);
    simple(&policy, "scale_replicas", r#"{"count":3}"#, Some("scale"), Effect::Allow);
    simple(&policy, "deploy_service", r#"{"env":"staging"}"#, Some("deploy-staging"), Effect::Allow);
    simple(&policy, "deploy_service", r#"{"env":"production"}"#, Some("deploy-production"), Effect::Review);
    simple(&policy, "deploy_service", r#"{"env":"qa"}"#, None, Effect::Review);
    simple(&policy, "run_migration", r#"{"db":"prod"}"#, Some("migrate"), Effect::Review);
    let terms = policy.review_terms("migrate", RiskCategory::Critical);
    assert_eq!((terms.approvers, terms.groups.as_slice()), (2, ["sre".to_owned()].as_slice()));
    assert_eq!(policy.rule("deploy-production").unwrap().risk, Some(RiskCategory::Critical));
    assert!(check(FIVE, Mode::Enforce, Timestamp::from_micros(0), &Surroundings::default()).is_adoptable());
}

#[test]
fn the_narrower_rule_wins_and_deny_wins_over_all() {
    let policy = policy(
        r#"
version: 1
rules:
  - {id: any-get, tool: get_*, effect: allow}
  - {id: secrets, tool: get_secret*, effect: review}
  - {id: never, tool: "*_root_key", effect: deny}
  - {id: long-glob, tool: get_log_file_lin?s, effect: allow}
  - {id: exact, tool: get_log, effect: review}
  - {id: on-server, tool: get_metric*, server: k8s, effect: review}
  - {id: anywhere, tool: get_metric*, effect: allow}
  - {id: first, tool: scale, when: args.n < 5, effect: allow}
  - {id: second, tool: scale, when: args.n < 9, effect: review}
  - {id: plain, tool: scale, effect: deny, server: other}
"#,
    );
    simple(&policy, "get_logs", "{}", Some("any-get"), Effect::Allow);
    simple(&policy, "get_secret_names", "{}", Some("secrets"), Effect::Review);
    simple(&policy, "get_secret_root_key", "{}", Some("never"), Effect::Deny);
    simple(&policy, "get_log", "{}", Some("exact"), Effect::Review);
    simple(&policy, "get_metrics", "{}", Some("on-server"), Effect::Review);
    simple(&policy, "scale", r#"{"n":3}"#, Some("first"), Effect::Allow);
    simple(&policy, "scale", r#"{"n":7}"#, Some("second"), Effect::Review);
    simple(&policy, "scale", r#"{"n":70}"#, None, Effect::Review);
    check_outcome(
        &policy,
        &Asked { tool: "scale", server: "other", ..ASKED },
        Some("plain"),
        Effect::Deny,
        Cause::AsWritten,
    );
}

#[test]
fn globs_are_anchored_and_stop_at_separators() {
    let policy = policy("version: 1\nrules: [{id: files, tool: fs/*, effect: allow}]\n");
    simple(&policy, "fs/read", "{}", Some("files"), Effect::Allow);
    simple(&policy, "fs/a/b", "{}", None, Effect::Review);
    simple(&policy, "xfs/read", "{}", None, Effect::Review);
}

#[test]
fn the_strictest_of_the_links_own_rules_holds() {
    let policy = policy(
        r#"
version: 1
rules:
  - {id: ann, tool: deploy, principal: user:ann, effect: allow}
  - {id: bots, tool: deploy, principal: "agent:new-*", effect: review}
  - {id: rest, tool: deploy, effect: review}
  - {id: exact-wins, tool: restart, effect: review}
  - {id: wide-own, tool: rest*, principal: user:ann, effect: allow}
"#,
    );
    let ask = |tool, chain: &[&str], rule, effect| {
        check_outcome(&policy, &Asked { tool, chain, ..ASKED }, Some(rule), effect, Cause::AsWritten);
    };
    ask("deploy", &["user:ann", "agent:ops"], "ann", Effect::Allow);
    ask("deploy", &["user:ann", "agent:new-1"], "bots", Effect::Review);
    ask("deploy", &["agent:new-1", "user:ann"], "bots", Effect::Review);
    ask("deploy", &["user:bob", "agent:ops"], "rest", Effect::Review);
    ask("restart", &["user:ann", "agent:ops"], "exact-wins", Effect::Review);
}

#[test]
fn what_cannot_be_judged_is_never_waved_through() {
    let policy = policy(
        r#"
version: 1
defaults: {medium: allow}
rules:
  - {id: ok, tool: send, when: 'args.to.endsWith("@us.example")', effect: allow}
  - {id: bad, tool: drop, when: 'args.table.startsWith("prod")', effect: deny}
"#,
    );
    simple(&policy, "send", r#"{"to":["a@us.example"]}"#, None, Effect::Allow);
    let odd = Asked { tool: "drop", arguments: r#"{"table":["prod"]}"#, ..ASKED };
    check_outcome(&policy, &odd, Some("bad"), Effect::Review, Cause::ConditionFailed);
    simple(&policy, "drop", "{}", None, Effect::Allow);
}

#[test]
fn change_windows_and_expiry() {
    let policy = policy(
        r#"
version: 1
windows:
  office: {days: [mon-fri], hours: 09:00-17:00, zone: Europe/Berlin}
rules:
  - {id: deploy, tool: deploy, effect: allow, window: office}
  - {id: migrate, tool: migrate, effect: review, window: {hours: 22:00-02:00, zone: UTC, outside: deny}}
  - {id: short, tool: patch, effect: allow, ttl: 2h}
  - {id: dated, tool: patch, effect: review, expires: 2026-11-18}
"#,
    );
    let ask = |tool, at, rule, effect, cause| {
        check_outcome(&policy, &Asked { tool, at, ..ASKED }, rule, effect, cause)
    };
    ask("deploy", "2026-11-17T14:00:00Z", Some("deploy"), Effect::Allow, Cause::AsWritten);
    ask("deploy", "2026-11-17T03:12:00Z", Some("deploy"), Effect::Review, Cause::WindowClosed);
    ask("migrate", "2026-11-17T14:00:00Z", Some("migrate"), Effect::Deny, Cause::WindowClosed);
    ask("migrate", "2026-11-17T23:00:00Z", Some("migrate"), Effect::Review, Cause::AsWritten);
    ask("patch", "2026-11-17T15:59:59Z", Some("short"), Effect::Allow, Cause::AsWritten);
    ask("patch", "2026-11-17T16:00:00Z", Some("dated"), Effect::Review, Cause::AsWritten);
    ask("patch", "2026-11-19T00:00:00Z", None, Effect::Review, Cause::AsWritten);
}

#[test]
fn an_allow_rule_can_demand_calm() {
    let policy = policy("version: 1\nrules: [{id: calm, tool: t, effect: allow, expect: risk.score < 40}]\n");
    let check = |risk, effect, cause| {
        with_facts(&Asked { tool: "t", risk, ..ASKED }, |facts| {
            let outcome = policy.evaluate(facts).after_scoring(facts);
            assert_eq!((outcome.effect, outcome.cause), (effect, cause), "risk {risk}");
        });
    };
    check(39, Effect::Allow, Cause::AsWritten);
    check(40, Effect::Review, Cause::Unexpected);
}

fn unscored() -> crate::domain::decision::Assessment {
    use crate::domain::decision::{Assessment, Detector, Evidence, Score};
    let score = |detector| Score { detector, raw: None, surprise: 0, evidence: Evidence::None };
    Assessment { scores: Detector::ALL.map(score), evidence: 0, combined_raw: 0, floors: 0, risk: 0 }
}

#[test]
fn explaining_shows_every_rule_whose_names_match() {
    let policy = policy(FIVE);
    with_facts(&Asked { tool: "deploy_service", arguments: r#"{"env":"production"}"#, ..ASKED }, |facts| {
        let (_, considered) = policy.explain(facts);
        let shown: Vec<(&str, &Match)> =
            considered.iter().map(|one| (one.rule.id.as_str(), &one.became)).collect();
        assert_eq!(shown, [("deploy-staging", &Match::False), ("deploy-production", &Match::Won)]);
    });
}

#[test]
fn further_rules_take_their_place_and_cannot_replace_one() {
    let base = policy("version: 1\nrules: [{id: a, tool: x_*, effect: review}]\n");
    let more = base
        .with_rules([Rule::plain("grant-1", "x_read", Effect::Allow), Rule::plain("a", "*", Effect::Allow)]);
    simple(&more, "x_read", "{}", Some("grant-1"), Effect::Allow);
    simple(&more, "x_write", "{}", Some("a"), Effect::Review);
    simple(&more, "other", "{}", None, Effect::Review);
}

#[test]
fn every_fault_of_rules_made_by_hand_is_reported() {
    let rules = vec![Rule::plain("a", "[", Effect::Allow), Rule::plain("a", "", Effect::Allow)];
    let thresholds = Thresholds { deny: Some(101) };
    let faults = Policy::new(Mode::Enforce, Defaults::default(), thresholds, rules).unwrap_err();
    assert_eq!(faults.len(), 4, "{faults:?}");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The index and the early stop change nothing: the same as asking every rule in order.
        #[test]
        fn the_same_as_asking_every_rule(
            rules in proptest::collection::vec(("[ab*]{1,3}", 0_u8..3, any::<bool>()), 1..12),
            tool in "[ab]{1,3}",
        ) {
            let effects = [Effect::Allow, Effect::Review, Effect::Deny];
            let rules: Vec<Rule> = rules
                .iter()
                .enumerate()
                .map(|(number, (pattern, effect, when))| Rule {
                    when: when.then(|| Condition::compile("has(args.x)").unwrap()),
                    ..Rule::plain(&format!("r{number}"), pattern, effects[usize::from(*effect)])
                })
                .collect();
            let policy = Policy::new(Mode::Enforce, Defaults::default(), Thresholds::default(), rules).unwrap();
            let slow = policy
                .rules()
                .find(|rule| {
                    rule.when.is_none() && super::super::super::names::Pattern::new(&rule.tool).unwrap().matches(&tool)
                })
                .map(|rule| rule.id.clone());
            let fast = with_facts(&Asked { tool: &tool, ..ASKED }, |facts| {
                policy.evaluate(facts).rule.map(|rule| rule.id.clone())
            });
            prop_assert_eq!(fast, slow);
        }
    }
}
