use super::*;
use crate::domain::risk::{Capabilities, RiskCategory};
use crate::domain::time::Timestamp;

fn holds(condition: &str, arguments: &str) -> Result<bool, Failure> {
    let condition = Condition::compile(condition).unwrap_or_else(|fault| panic!("{condition}: {fault}"));
    let arguments = Arguments::new(arguments.as_bytes());
    let chain = ["user:alice".to_owned(), "agent:ops".to_owned()];
    let facts = Facts {
        tool: "deploy_service",
        server: "k8s-eu",
        chain: &chain,
        category: RiskCategory::High,
        capabilities: Capabilities::DEPLOYS.with(Capabilities::MUTATES),
        registered: true,
        changed: false,
        arguments: &arguments,
        session: SessionFacts { calls: 7, age_us: 90_000_000, ..SessionFacts::default() },
        assessment: None,
        compositions: &[],
        now: Timestamp::parse("2026-11-17T13:30:00Z").unwrap(), // a Tuesday
    };
    condition.holds(&facts)
}

fn check(condition: &str, arguments: &str, expected: bool) {
    assert_eq!(holds(condition, arguments), Ok(expected), "{condition} of {arguments}");
}

#[test]
fn arguments_are_compared() {
    check(r#"args.env == "staging""#, r#"{"env":"staging"}"#, true);
    check(r#"args.env == "staging""#, r#"{"env":["staging"]}"#, false);
    check("args.replicas <= 10", r#"{"replicas":10}"#, true);
    check("args.replicas <= 10", r#"{"replicas":10.5}"#, false);
    check("args.replicas < 9007199254740993", r#"{"replicas":9007199254740992.0}"#, true);
    check(r#"args.env in ["staging", "dev"]"#, r#"{"env":"dev"}"#, true);
    check(r#""env" in args"#, r#"{"env":null}"#, true);
    check("has(args.force) && args.force == true", r#"{}"#, false);
    check("!has(args.force) || !args.force", r#"{"force":true}"#, false);
    check(r#"args.a.b[1]["c d"] == 3"#, r#"{"a":{"b":[0,{"c d":3}]}}"#, true);
    check(r#"args.list == [1, 2.0, "x"]"#, r#"{"list":[1,2,"x"]}"#, true);
    check("size(args.name) > 3 && args.name.size() < 5", r#"{"name":"äbcd"}"#, true);
}

#[test]
fn texts_numbers_and_times() {
    check(r#"args.sql.lowerAscii().contains("drop table")"#, r#"{"sql":"DROP TABLE users"}"#, true);
    check(r#"args.db.startsWith("prod") || args.db.endsWith("-prod")"#, r#"{"db":"eu-prod"}"#, true);
    check(r#"args.host.matches("^[a-z0-9-]+\\.example\\.com$")"#, r#"{"host":"a-1.example.com"}"#, true);
    check(r#"args.host.matches("^[a-z0-9-]+\\.example\\.com$")"#, r#"{"host":"a.example.com.evil"}"#, false);
    check("int(args.n) + 1 == 8 && double(args.n) / 2 == 3.5", r#"{"n":"7"}"#, true);
    check("1 + 2 * 3 - 4 % 3 == 6 && -args.n == -5 && 7 / 2 == 3", r#"{"n":5}"#, true);
    check("now.getHours() == 13 && now.getHours(\"Europe/Berlin\") == 14", "{}", true);
    check("now.getDayOfWeek() == 2", "{}", true);
    check(
        r#"now > timestamp("2026-11-17T13:00:00Z") && now - duration("1h30m") < timestamp("2026-11-17T12:00:01Z")"#,
        "{}",
        true,
    );
    check(r#"session.age >= duration("90s") && session.age.getSeconds() == 90"#, "{}", true);
    check(r#"args.n > 3 ? server == "k8s-eu" : false"#, r#"{"n":4}"#, true);
}

#[test]
fn facts_of_the_call() {
    check(r#"tool.name == "deploy_service" && tool.category == "high" && tool.registered"#, "{}", true);
    check(r#""deploys" in tool.capabilities && !("egress" in session.capabilities)"#, "{}", true);
    check(r#"principal.name == "agent:ops" && principal.root == "user:alice""#, "{}", true);
    check(r#"principal.chain.exists(p, p.startsWith("user:"))"#, "{}", true);
    check("session.calls > 5 && session.denies == 0 && !session.nested", "{}", true);
    check("risk.score < 40 && signals.time == 0.0 && size(signals.floors) == 0", "{}", true);
}

#[test]
fn macros_over_lists_and_maps() {
    let arguments = r#"{"ids":[1,2,3],"tags":{"a":1,"b":2}}"#;
    check("args.ids.all(i, i < 4) && args.ids.exists_one(i, i == 2)", arguments, true);
    check("args.ids.filter(i, i > 1).size() == 2", arguments, true);
    check("args.ids.map(i, i * 10)[2] == 30", arguments, true);
    check(r#"args.tags.all(k, args.tags[k] > 0) && args.tags.exists(k, k == "b")"#, arguments, true);
    check("[1, 2].all(a, [3, 4].all(b, a < b))", "{}", true);
}

#[test]
fn what_fails_has_no_answer_unless_the_other_side_settles_it() {
    assert_eq!(holds("args.env == 'x'", "{}"), Err(Failure::Missing("env".to_owned())));
    check("args.env == 'x' || true", "{}", true);
    check("false && args.env == 'x'", "{}", false);
    check("args.env == 'x' && false", "{}", false);
    assert!(matches!(holds("args.env.contains('x')", r#"{"env":1}"#), Err(Failure::Kind(_))));
    assert!(matches!(holds("args.n / 0 == 1", r#"{"n":1}"#), Err(Failure::Range(_))));
    assert!(matches!(holds("args.n * args.n > 0", r#"{"n":9223372036854775807}"#), Err(Failure::Range(_))));
    assert!(matches!(holds("args.list[3] == 1", r#"{"list":[1]}"#), Err(Failure::Missing(_))));
    assert!(matches!(holds("args.flag", r#"{"flag":"yes"}"#), Err(Failure::Kind(_))));
}

fn refused(condition: &str, offset: usize, part: &str) -> Fault {
    let fault = Condition::compile(condition).expect_err(condition);
    assert!(fault.message.contains(part), "{condition}: {fault:?} should say {part:?}");
    assert_eq!(fault.offset, offset, "{condition}: {fault:?}");
    fault
}

#[test]
fn what_does_not_type_check_is_refused_with_its_place() {
    refused("tool.name == 3", 10, "can never hold");
    refused("session.calls > \"5\"", 14, "can never hold");
    refused("args.env && 3", 12, "a boolean is needed");
    refused("session.calls", 7, "must be true or false");
    refused("-args.n", 0, "never either");
    refused("args.a + args.b", 7, "never either");
    refused("args.env == 'x' ? args.a + args.b : 3", 0, "never either");
    refused("size(now) > 1", 5, "has no size");
    refused("now + now > now", 4, "has no meaning");
    refused("tool == 'x'", 0, "needs a field");
    refused("args.all(x)", 4, "takes a name and an expression");
    refused("has(server)", 4, "asks for a field");
    refused("args.a.matches(args.b)", 19, "written out");
    refused("args.a.matches('[')", 15, "no regular expression");
    refused("now.getHours('Mars') == 1", 13, "IANA");
    refused("args.a ==", 9, "ends too early");
    refused("args.a = 1", 7, "one too many");
    refused("{'a': 1} == args", 0, "maps cannot be written");
    refused("'abc", 0, "no end");
    refused("99999999999999999999 > 1", 0, "64 bits");
    refused("args.a # b", 7, "no meaning");
    refused("", 0, "ends too early");
}

#[test]
fn unknown_names_come_with_the_nearest_known_one() {
    let near = |condition: &str, offset: usize, name: &str| {
        assert_eq!(refused(condition, offset, "").nearest.as_deref(), Some(name), "{condition}");
    };
    near("arg.env == 'x'", 0, "args");
    near("session.call > 1", 7, "calls");
    near("risk.scor < 40", 4, "score");
    near("args.a.startWith('x')", 6, "startsWith");
    assert_eq!(refused("zzzzzz == 1", 0, "not known").nearest, None);
}

#[test]
fn what_explodes_is_refused_or_stopped() {
    refused(&"(".repeat(1_000), 32, "nested deeper");
    refused(&"!".repeat(1_000), 31, "nested deeper");
    refused(&format!("{}true", "true && ".repeat(400)), 2_045, "more than 512 parts");
    refused(&"x".repeat(5_000), 0, "at most 4096");
    refused("args.a.all(x, args.b.all(y, args.c.all(z, true)))", 34, "more than 2 macros");
    let list = format!("{{\"a\":[{}0]}}", "0,".repeat(999));
    let square = "args.a.all(x, args.a.all(y, x == y))";
    assert_eq!(holds(square, &list), Err(Failure::Steps));
    assert_eq!(holds(&format!("{square} || true"), &list), Err(Failure::Steps));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(200_000));
    assert_eq!(holds("(args.a + args.a + args.a + args.a).contains('y')", &long), Err(Failure::Steps));
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No text makes the reader or the checker panic or run on.
        #[test]
        fn any_text_is_accepted_or_refused(text in "[ a-z0-9.()\\[\\]\"'!&|<>=+*/%?:,-]{0,80}") {
            if let Ok(condition) = Condition::compile(&text) {
                prop_assert_eq!(condition.text(), text);
            }
        }

        /// Comparing integers and doubles agrees with exact arithmetic.
        #[test]
        fn mixed_comparison_is_exact(int: i64, offset in -3_i32..3) {
            let double = int as f64 + f64::from(offset);
            let exact = i128::from(int).cmp(&(double as i128));
            let found = value::order(&value::Value::Int(int), &value::Value::Double(double));
            prop_assert_eq!(found, Some(exact), "{} {}", int, double);
        }
    }
}
