use super::*;
use crate::domain::time::{MINUTE_US, Timestamp};

/// A call of a story: minute, tool, what it can do, telling argument values, values its result brought.
type Told = (i64, &'static str, &'static [&'static str], &'static [u32], &'static [u32]);

fn fires(id: &str, story: &[Told]) -> bool {
    let rules = shipped();
    let rule = rules.iter().find(|rule| rule.id == id).unwrap_or_else(|| panic!("no rule {id}"));
    let mut calls: Vec<Happened<'_>> = story
        .iter()
        .map(|(minute, tool, capabilities, values, brought)| Happened {
            at: Timestamp::from_micros(minute * MINUTE_US),
            server: tool.split('/').next().unwrap(),
            tool: tool.split('/').nth(1).unwrap(),
            capabilities: capabilities
                .iter()
                .map(|name| Capabilities::named(name).unwrap())
                .fold(Capabilities::NONE, Capabilities::with),
            values,
            brought,
        })
        .collect();
    let last = calls.pop().unwrap();
    calls.reverse();
    rule.fires(&last, &calls)
}

fn check(id: &str, attack: &[Told], near_miss: &[Told]) {
    assert!(fires(id, attack), "{id} should fire on its story");
    assert!(!fires(id, near_miss), "{id} should not fire on the near miss");
}

const SECRET: &[&str] = &["reads_secret"];
const OUT: &[&str] = &["egress", "mutates"];
const UNTRUSTED: &[&str] = &["reads_untrusted"];
const PRIVATE: &[&str] = &["reads_private"];
const DESTROY: &[&str] = &["destroys", "mutates"];
const DEPLOY: &[&str] = &["deploys", "mutates"];
const RUN: &[&str] = &["executes", "mutates"];
const SPEND: &[&str] = &["spends", "mutates"];
const GRANT: &[&str] = &["grants_access", "mutates"];
const CHANGE: &[&str] = &["mutates"];

#[test]
fn the_shipped_rules_read_without_a_fault() {
    let root = super::super::document::read(SHIPPED_TEXT).unwrap();
    let mut reader = super::super::reader::Reader::default();
    let rules = read(&mut reader, &root, &[]);
    assert_eq!(reader.faults, Vec::new());
    assert!(rules.len() >= 12, "{} rules", rules.len());
    for rule in &rules {
        let known =
            |tag: &String| ["atlas.aml.t", "owasp.", "attack.t"].iter().any(|start| tag.starts_with(start));
        assert!(!rule.tags.is_empty() && rule.tags.iter().all(known), "{}: {:?}", rule.id, rule.tags);
    }
}

#[test]
fn config_then_key_then_outbound() {
    check(
        "config-key-outbound",
        &[
            (0, "fs/read_config", &[], &[], &[]),
            (1, "vault/get_key", SECRET, &[], &[]),
            (2, "web/post", OUT, &[], &[]),
        ],
        &[
            (0, "vault/get_key", SECRET, &[], &[]),
            (1, "fs/read_config", &[], &[], &[]),
            (2, "web/post", OUT, &[], &[]),
        ],
    );
}

#[test]
fn a_secret_s_value_is_sent_out() {
    check(
        "secret-value-leaves",
        &[(0, "vault/get_secret", SECRET, &[], &[77]), (900, "mail/send", OUT, &[77], &[])],
        &[(0, "vault/get_secret", SECRET, &[], &[77]), (900, "mail/send", OUT, &[78], &[])],
    );
}

#[test]
fn a_credential_is_read_before_a_deployment() {
    check(
        "credential-then-deploy",
        &[(0, "vault/get_secret", SECRET, &[], &[]), (29, "k8s/deploy", DEPLOY, &[], &[])],
        &[(0, "vault/get_secret", SECRET, &[], &[]), (31, "k8s/deploy", DEPLOY, &[], &[])],
    );
}

#[test]
fn untrusted_text_private_data_and_a_way_out() {
    check(
        "lethal-trifecta",
        &[
            (0, "crm/get_user", PRIVATE, &[], &[]),
            (1, "mail/read", UNTRUSTED, &[], &[]),
            (2, "mail/send", OUT, &[], &[]),
        ],
        &[
            (0, "crm/get_user", PRIVATE, &[], &[]),
            (1, "crm/get_user", PRIVATE, &[], &[]),
            (2, "mail/send", OUT, &[], &[]),
        ],
    );
    // One call that is both untrusted and private fills one step only.
    assert!(!fires(
        "lethal-trifecta",
        &[(0, "mail/read", &["reads_untrusted", "reads_private"], &[], &[]), (2, "mail/send", OUT, &[], &[])]
    ));
}

#[test]
fn the_parts_of_a_trifecta_in_nested_sessions() {
    check(
        "trifecta-over-sessions",
        &[
            (0, "web/fetch", UNTRUSTED, &[], &[]),
            (60, "vault/get", SECRET, &[], &[]),
            (200, "mail/send", OUT, &[], &[]),
        ],
        &[
            (0, "web/fetch", UNTRUSTED, &[], &[]),
            (60, "vault/get", SECRET, &[], &[]),
            (290, "mail/send", OUT, &[], &[]),
        ],
    );
}

#[test]
fn mass_reading_then_a_way_out() {
    let story = |reads: usize| {
        let mut calls: Vec<Told> = vec![(0, "crm/get_user", PRIVATE, &[], &[]); reads];
        calls.push((14, "mail/send", OUT, &[], &[]));
        calls
    };
    check("mass-read-then-egress", &story(20), &story(19));
}

#[test]
fn access_is_given_and_used() {
    check(
        "grant-then-use",
        &[(0, "iam/grant_role", GRANT, &[5], &[]), (300, "k8s/deploy", DEPLOY, &[5], &[])],
        &[(0, "iam/grant_role", GRANT, &[5], &[]), (300, "k8s/deploy", DEPLOY, &[6], &[])],
    );
}

#[test]
fn logging_is_switched_off_before_something_is_destroyed() {
    check(
        "blind-then-destroy",
        &[(0, "ops/disable_audit_log", CHANGE, &[], &[]), (5, "db/drop_table", DESTROY, &[], &[])],
        &[(0, "ops/get_audit_log", &[], &[], &[]), (5, "db/drop_table", DESTROY, &[], &[])],
    );
}

#[test]
fn backups_go_first() {
    check(
        "backup-then-destroy",
        &[(0, "db/delete_snapshot", DESTROY, &[], &[]), (600, "db/drop_database", DESTROY, &[], &[])],
        &[(0, "db/create_snapshot", CHANGE, &[], &[]), (600, "db/drop_database", DESTROY, &[], &[])],
    );
}

#[test]
fn a_stranger_s_text_names_what_is_run() {
    check(
        "untrusted-then-execute",
        &[(0, "git/read_issue", UNTRUSTED, &[], &[9]), (3, "sh/run", RUN, &[9], &[])],
        &[(0, "git/read_issue", UNTRUSTED, &[], &[9]), (3, "sh/run", RUN, &[10], &[])],
    );
}

#[test]
fn a_stranger_s_text_names_who_is_paid() {
    check(
        "untrusted-then-spend",
        &[(0, "mail/read", UNTRUSTED, &[], &[41, 42]), (3, "bank/transfer", SPEND, &[42], &[])],
        &[(0, "bank/get_payees", PRIVATE, &[], &[41, 42]), (3, "bank/transfer", SPEND, &[42], &[])],
    );
}

#[test]
fn a_spree_of_destruction() {
    let story = |minutes: i64| {
        let calls: Vec<Told> =
            (0..10).map(|n| (n * minutes, "db/delete", DESTROY, &[][..], &[][..])).collect();
        calls
    };
    check("destruction-spree", &story(1), &story(2));
}

#[test]
fn many_different_secrets() {
    const VALUES: [[u32; 1]; 8] = [[1], [2], [3], [4], [5], [6], [7], [8]];
    let story = |different: usize| {
        let calls: Vec<Told> =
            (0..8).map(|n| (n, "vault/get", SECRET, &VALUES[n as usize % different][..], &[][..])).collect();
        calls
    };
    check("secret-harvest", &story(8), &story(7));
}

#[test]
fn an_agent_changes_its_own_rights() {
    check(
        "self-reconfiguration",
        &[(0, "host/update_mcp_config", CHANGE, &[], &[]), (9, "sh/run", RUN, &[], &[])],
        &[(0, "host/get_mcp_config", &[], &[], &[]), (9, "sh/run", RUN, &[], &[])],
    );
}

#[test]
fn data_leaves_by_many_doors() {
    check(
        "fan-out-egress",
        &[
            (0, "a/send", OUT, &[], &[]),
            (1, "b/send", OUT, &[], &[]),
            (2, "c/send", OUT, &[], &[]),
            (3, "d/send", OUT, &[], &[]),
        ],
        &[
            (0, "a/send", OUT, &[], &[]),
            (1, "b/send", OUT, &[], &[]),
            (2, "c/send", OUT, &[], &[]),
            (3, "a/send", OUT, &[], &[]),
        ],
    );
}

#[test]
fn a_search_that_explodes_is_given_up() {
    let many: Vec<Told> = (0..48).map(|n| (n, "mail/read", UNTRUSTED, &[][..], &[][..])).collect();
    let mut story = many;
    story.push((49, "bank/transfer", SPEND, &[42], &[]));
    assert!(!fires("untrusted-then-spend", &story));
}
