use super::super::review_terms::WhenSilent;
use super::*;

fn faults(text: &str) -> Vec<String> {
    let checked = check(text, Mode::Enforce, Timestamp::from_micros(0), &Surroundings::default());
    checked.faults.iter().map(ToString::to_string).collect()
}

#[test]
fn every_fault_is_told_at_once_with_its_place() {
    let text = "version: 2
mdoe: observe
defaults: {low: alow}
thresholds: {deny: 0}
rules:
  - {id: a, tol: x, effect: allow}
  - {id: b, tool: 'x[', effect: allow}
  - id: c
    tool: y
    effect: allow
    when: args.env = 3
  - {id: c, tool: z, effect: allow, when: 'arg.env == 1'}
  - {id: d, tool: z, effect: review, window: ofice, timeout: {after: 5, then: escalate}}
  - {id: e, tool: z, effect: deny, expect: 'risk.score < 3', ttl: 3 weeks}
windows:
  office: {days: [mon-fir], hours: 9-5, zone: Europe/Berlin}
";
    let expected = [
        "1:10: this build reads version 1",
        "2:1: the policy has no key `mdoe`; did you mean `mode`?",
        "3:17: low is one of allow, review, deny, not `alow`; did you mean `allow`?",
        "4:20: deny must be a whole number from 1 to 100, not `0`",
        "6:5: rule `a`: a rule needs `tool`",
        "6:13: rule `a`: a rule has no key `tol`; did you mean `tool`?",
        "7:19: rule `b`: tool: unclosed character class; missing ']'",
        "11:20: rule `c`: when: `=` is one too many",
        "12:5: rule `c`: two rules have the id `c`; the other is in line 8",
        "12:44: rule `c`: when: `arg` is not known; did you mean `args`?",
        "13:46: rule `d`: there is no window `ofice`; did you mean `office`?",
        "13:62: rule `d`: a timeout that escalates needs `to`",
        "13:70: rule `d`: after must be a duration such as 30s, 5m, 2h or 7d, not `5`",
        "14:5: rule `e`: `expect` is for rules that allow",
        "14:67: rule `e`: ttl must be a duration such as 30s, 5m, 2h or 7d, not `3 weeks`",
        "16:18: days are mon to sun, or mon-fri, not `mon-fir`",
        "16:36: hours are written 09:00-17:00, not `9-5`",
    ];
    let found = faults(text);
    for expected in expected {
        assert!(found.iter().any(|fault| fault == expected), "missing {expected:?} in {found:#?}");
    }
}

#[test]
fn a_rule_for_everything_must_be_acknowledged() {
    let rule = |more: &str| format!("version: 1\nrules:\n  - {{id: all, tool: '*', effect: allow{more}}}\n");
    assert_eq!(
        faults(&rule("")),
        [
            "3:5: rule `all`: allows every tool, critical ones too; narrow it, or write `acknowledge: true` if it is meant"
        ]
    );
    assert_eq!(
        faults(&rule(", acknowledge: true")),
        ["3:5: warning: rule `all`: allows every tool, critical ones too"]
    );
    assert_eq!(faults(&rule(", server: docs")), [""; 0]);
    assert_eq!(faults(&rule(", when: session.calls < 3")), [""; 0]);
    // However it is written.
    let other = |tool: &str, more: &str| rule(more).replace("'*'", &format!("'{tool}'"));
    for (tool, more) in [
        ("*", ", risk: low"),
        ("?*", ""),
        ("**", ", risk: medium"),
        ("{get_*,*}", ""),
        ("*", ", when: 'true'"),
    ] {
        let told = faults(&other(tool, more));
        assert!(
            matches!(&told[..], [one] if one.contains("allows every tool, critical ones too")),
            "{told:?}"
        );
        let told = faults(&other(tool, &format!("{more}, acknowledge: true")));
        assert!(told.iter().all(|one| one.contains("warning")), "{told:?}");
    }
    for tool in ["get_*", "*_*", "[a-z]*"] {
        assert_eq!(faults(&other(tool, "")), [""; 0], "{tool}");
    }
    assert!(
        parse(&rule(", risk: low"), Mode::Enforce, Timestamp::from_micros(0)).is_ok(),
        "one in force goes on"
    );
}

#[test]
fn consent_by_silence_is_refused_where_it_never_holds() {
    let rule = |risk: &str| {
        format!(
            "version: 1\nrules:\n  - {{id: r, tool: x, effect: review{risk}, timeout: {{after: 5m, then: approve}}}}\n"
        )
    };
    for risk in ["high", "critical"] {
        let [told] = &faults(&rule(&format!(", risk: {risk}")))[..] else { panic!("one fault") };
        assert!(told.contains("silence approves low and medium calls only") && told.contains(risk), "{told}");
    }
    for risk in ["", ", risk: low", ", risk: medium"] {
        assert_eq!(faults(&rule(risk)), [""; 0], "{risk}");
    }
    // Said of all categories it is a warning: low and medium are meant.
    let all = "version: 1\nreview: {timeout: {after: 5m, then: approve}}\nrules:\n  - {id: r, tool: x, effect: review, risk: high, approvers: 1}\n";
    let [told] = &faults(all)[..] else { panic!("one warning") };
    assert!(told.contains("warning") && told.contains("denied when nobody answers"), "{told}");
}

#[test]
fn reviews_that_nobody_could_settle_are_refused() {
    let policy = |rule: &str| {
        format!(
            "version: 1\ngroups: {{sre: [user:ann], dba: [user:ann, user:bob]}}\nrules:\n  - {{id: r, tool: x, effect: review, {rule}}}\n"
        )
    };
    let check = |rule: &str, expected: &[&str]| assert_eq!(faults(&policy(rule)), expected, "{rule}");
    check(
        "approvers: {count: 2, groups: [sre]}",
        &["4:1: rule `r`: 2 approvers are needed and 1 can be reached"],
    );
    check("approvers: {count: 2, groups: [sre, dba]}", &[]);
    // What the file does not say, a file alone cannot tell: that is a warning.
    let unlisted = |group: &str| {
        format!(
            "4:1: warning: rule `r`: group `{group}` is not in this file; whether tokens stand for it only a daemon knows"
        )
    };
    check("approvers: {count: 2, groups: [ops]}", &[&unlisted("ops")]);
    check("approvers: {count: 2, groups: [ops, sre]}", &[&unlisted("ops")]);
    check("timeout: {after: 5m, then: escalate, to: [nobody]}", &[&unlisted("nobody")]);
    let person = |names: &[&str], groups: &[&str]| Reviewer {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
    };
    let among = |around: &Surroundings, rule: &str| -> Vec<String> {
        let checked = super::check(&policy(rule), Mode::Enforce, Timestamp::from_micros(0), around);
        checked.faults.iter().map(ToString::to_string).collect()
    };
    let eve = Surroundings::Tokens(vec![person(&["user:eve"], &["ops"])]);
    assert_eq!(among(&eve, "approvers: {groups: [ops]}"), [""; 0]);
    assert_eq!(
        among(&eve, "approvers: {count: 2, groups: [ops]}"),
        ["4:1: rule `r`: 2 approvers are needed and 1 can be reached"]
    );
    assert_eq!(
        among(&eve, "approvers: {groups: [dba]}"),
        [
            "4:1: rule `r`: group `dba` has no members who can vote",
            "4:1: rule `r`: 1 approvers are needed and 0 can be reached"
        ],
        "those whom the file names have no credential"
    );
    assert_eq!(
        among(&eve, "timeout: {after: 5m, then: escalate, to: [nobody]}"),
        ["4:1: rule `r`: nobody is in the groups it escalates to (nobody)"]
    );
    // Two credentials of one person are one approver.
    let two = vec![person(&["user:eve"], &[]), person(&["eve@example.com", "Eve"], &[])];
    assert_eq!(
        among(&Surroundings::Tokens(two), "approvers: 2"),
        ["4:1: rule `r`: 2 approvers are needed and 1 can be reached"]
    );
    let [warning] = &among(&Surroundings::NoTokens, "approvers: 2")[..] else { panic!("one warning") };
    assert!(warning.contains("only the user of the Unix socket votes"), "{warning}");
    assert_eq!(among(&Surroundings::NoTokens, "approvers: {groups: [ops]}"), [""; 0]);
    assert_eq!(faults("version: 1\ngroups: {sre: []}\n"), ["2:10: group `sre` has no members"]);
}

#[test]
fn terms_build_on_the_defaults() {
    let text = "version: 1
groups: {sre: [a, b], oncall: [c]}
review:
  approvers: {count: 1, groups: [sre]}
  timeout: {after: 10m, then: escalate, to: oncall, deny_after: 20m}
  critical: {approvers: 2}
  low: {timeout: {after: 1h, then: approve}}
rules:
  - {id: r, tool: x, effect: review, risk: critical, release_within: 1h}
";
    assert_eq!(faults(text), [""; 0]);
    let policy = parse(text, Mode::Enforce, Timestamp::from_micros(0)).unwrap();
    let minutes = |span: i64| span / crate::domain::time::MINUTE_US;
    let critical = policy.review_terms("", RiskCategory::Critical);
    assert_eq!((critical.approvers, minutes(critical.after_us)), (2, 10));
    assert_eq!(critical.groups, ["sre"]);
    let own = policy.review_terms("r", RiskCategory::Critical);
    assert_eq!((own.approvers, minutes(own.release_within_us)), (2, 60));
    let escalates = WhenSilent::Escalate {
        to: vec!["oncall".to_owned()],
        deny_after_us: 20 * crate::domain::time::MINUTE_US,
    };
    assert_eq!(own.when_silent, escalates);
    let low = policy.review_terms("", RiskCategory::Low);
    assert_eq!((low.when_silent(RiskCategory::Low), minutes(low.after_us)), (&WhenSilent::Approve, 60));
}

#[test]
fn tools_and_compositions_of_ones_own() {
    let text = "version: 1
tools:
  - {tool: kb_search, capabilities: [reads_untrusted], risk: low}
  - {tool: x, capabilities: [reads_untrustd]}
compositions:
  - id: lethal-trifecta
    level: high
    steps: {a: {tool: read_*}, b: {all: [egress]}, c: {any: [bad]}}
    correlation: {type: temporal_ordered, rules: [a, bb], timespan: 1h, same_value: [{from: a, to: b}]}
";
    let expected = [
        "4:29: there is no capability `reads_untrustd`; did you mean `reads_untrusted`?",
        "8:55: rule `lethal-trifecta`: step `c` matches every call",
        "8:61: rule `lethal-trifecta`: there is no capability `bad`",
        "9:50: rule `lethal-trifecta`: there is no step `bb`; did you mean `b`?",
    ];
    let found = faults(text);
    for expected in expected {
        assert!(found.iter().any(|fault| fault == expected), "missing {expected:?} in {found:#?}");
    }
    let text = text.replace("reads_untrustd", "egress").replace(", c: {any: [bad]}", "").replace("bb", "b");
    assert_eq!(faults(&text), [""; 0]);
    let policy = parse(&text, Mode::Enforce, Timestamp::from_micros(0)).unwrap();
    let inferred = (RiskCategory::High, crate::domain::risk::Capabilities::MUTATES);
    assert_eq!(policy.label("kb_search", "any", inferred).0, RiskCategory::Low);
    assert_eq!(policy.label("x", "any", inferred).0, RiskCategory::High);
    let of_id = |id: &str| policy.compositions().iter().filter(|rule| rule.id == id).count();
    assert_eq!((of_id("lethal-trifecta"), of_id("destruction-spree")), (1, 1));
    let bare =
        parse("version: 1\nshipped_compositions: false\n", Mode::Enforce, Timestamp::from_micros(0)).unwrap();
    assert!(bare.compositions().is_empty());
}

#[test]
fn what_is_no_policy() {
    assert!(faults("")[0].contains("empty"));
    assert!(faults("- a\n")[0].contains("must be a map"));
    assert_eq!(faults("mode: observe\n"), ["1:1: the policy needs `version`"]);
    assert!(faults("version: 1\nversion: 1\n")[0].contains("stands twice"));
    let many: String =
        (0..RULES_MAX + 1).map(|n| format!("  - {{id: r{n}, tool: t, effect: deny}}\n")).collect();
    assert!(faults(&format!("version: 1\nrules:\n{many}"))[0].contains("10001 rules, at most 10000"));
}
