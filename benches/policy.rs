//! What asking a policy of 1,000 rules, 100 of them with conditions, adds to a decision.
//!
//! Asked: at most 20 us in the median. Measured are the rules alone (names, conditions, arguments read for
//! them), for a call whose tool many rules name, for one under a condition that looks through a list, for
//! one that no rule matches, and for the shipped compositions over a full trail.

use askance::domain::decision::Mode;
use askance::domain::risk::{Capabilities, RiskCategory};
use askance::domain::time::{SECOND_US, Timestamp};
use askance::policy::{Arguments, Facts, Happened, Policy, SessionFacts, parse};
use criterion::{Criterion, criterion_group, criterion_main};
use std::fmt::Write as _;
use std::hint::black_box;

/// 900 rules by name alone, 100 with a condition; every tool of `svc_0` meets 12 of them.
fn policy() -> Policy {
    let mut text = String::from("version: 1\nrules:\n");
    let effects = ["allow", "review", "deny"];
    for number in 0..900 {
        let (service, effect) = (number % 90, effects.get(number % 2).unwrap_or(&"review"));
        let tool = match number % 3 {
            0 => format!("svc_{service}_get_{number}"),
            1 => format!("svc_{service}_*_{number}"),
            _ => format!("svc_{service}_list_{number}*"),
        };
        let _written = writeln!(text, "  - {{id: r{number}, tool: '{tool}', effect: {effect}}}");
    }
    for number in 0..100 {
        let service = number % 10;
        let when = match number % 4 {
            0 => format!("args.env == \"staging\" && args.replicas < {number}"),
            1 => format!("args.tags.exists(t, t == \"t{number}\")"),
            2 => format!("args.name.startsWith(\"n{number}\") || session.calls > {number}00"),
            _ => "now.getHours(\"Europe/Berlin\") in [9, 10, 11] && risk.score < 5".to_owned(),
        };
        let _written = writeln!(
            text,
            "  - {{id: c{number}, tool: 'svc_{service}_scale*', when: '{when}', effect: review}}"
        );
    }
    parse(&text, Mode::Enforce, Timestamp::from_micros(0)).unwrap_or_default()
}

fn ask(policy: &Policy, tool: &str, arguments: &[u8]) {
    let chain = ["user:ann".to_owned(), "agent:planner".to_owned(), "agent:ops".to_owned()];
    let arguments = Arguments::new(arguments);
    let facts = Facts {
        tool,
        server: "k8s",
        chain: &chain,
        category: RiskCategory::Medium,
        capabilities: Capabilities::MUTATES,
        registered: true,
        changed: false,
        arguments: &arguments,
        session: SessionFacts::default(),
        assessment: None,
        compositions: &[],
        now: Timestamp::from_micros(1_763_000_000 * SECOND_US),
    };
    black_box(policy.evaluate(&facts));
}

const ARGUMENTS: &[u8] = br#"{"env":"production","replicas":30,"name":"api","tags":["a","b","c","d","e","f"],"note":"scale up before the sale"}"#;

fn rules(criterion: &mut Criterion) {
    let policy = policy();
    assert_eq!(policy.rules().count(), 1_000);
    let mut group = criterion.benchmark_group("policy_of_1000_rules");
    group.bench_function("ten_conditions", |bench| bench.iter(|| ask(&policy, "svc_1_scale_up", ARGUMENTS)));
    group.bench_function("exact_name", |bench| bench.iter(|| ask(&policy, "svc_0_get_0", ARGUMENTS)));
    group.bench_function("no_rule", |bench| bench.iter(|| ask(&policy, "mail_send", ARGUMENTS)));
    group.finish();
}

fn compositions(criterion: &mut Criterion) {
    let policy = Policy::built_in(Mode::Enforce);
    let reads = Capabilities::READS_PRIVATE.with(Capabilities::READS_UNTRUSTED);
    let values = [1, 2, 3, 4];
    let call = |minute: i64, capabilities| Happened {
        at: Timestamp::from_micros(minute * SECOND_US),
        server: "mail",
        tool: "read_inbox",
        capabilities,
        values: &values,
        brought: &[],
    };
    let before: Vec<Happened<'_>> = (0..48).rev().map(|second| call(second, reads)).collect();
    let last = call(60, Capabilities::EGRESS.with(Capabilities::MUTATES));
    criterion.bench_function("shipped_compositions_full_trail", |bench| {
        bench.iter(|| {
            policy.compositions().iter().filter(|rule| rule.fires(black_box(&last), &before)).count()
        });
    });
}

criterion_group!(benches, rules, compositions);
criterion_main!(benches);
