//! Base category and capabilities of a tool, from what is known of it before any call.
//!
//! A pure function of name, description and annotations with a table of words. The first word of the
//! name that is a known verb sets the category; nouns and the description add capabilities; annotations
//! are claims of the server and may only raise. A name without a known verb is HIGH: unknown is not safe.

use crate::domain::json::Json;
use crate::domain::risk::{Capabilities, RiskCategory};

/// What was inferred, and the word that decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inferred {
    /// Base category.
    pub category: RiskCategory,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// The verb behind the category; empty if none was known.
    pub verb: &'static str,
}

/// The table of words: verbs by category, strictest last.
pub fn verbs() -> [(RiskCategory, &'static [&'static str]); 4] {
    [
        (RiskCategory::Low, LOW_VERBS),
        (RiskCategory::Medium, MEDIUM_VERBS),
        (RiskCategory::High, HIGH_VERBS),
        (RiskCategory::Critical, CRITICAL_VERBS),
    ]
}

/// The table of words: capabilities by verbs (first) and by what a reading tool reads (second).
pub const fn capabilities() -> [&'static [(Capabilities, &'static [&'static str])]; 2] {
    [VERB_CAPABILITIES, NOUNS]
}

const LOW_VERBS: &[&str] = &[
    "get",
    "list",
    "read",
    "search",
    "find",
    "describe",
    "show",
    "view",
    "fetch",
    "query",
    "check",
    "browse",
    "count",
    "status",
    "lookup",
    "inspect",
    "grep",
    "glob",
    "explain",
    "validate",
    "summarize",
    "think",
    "calculate",
    "compare",
    "preview",
    "diff",
    "ls",
    "cat",
    "head",
    "tail",
    "download",
    "open",
    "add",
    "append",
    "draft",
    "comment",
    "annotate",
    "label",
    "log",
    "note",
    "star",
    "bookmark",
    "ask",
    "help",
];
const MEDIUM_VERBS: &[&str] = &[
    "update",
    "set",
    "scale",
    "modify",
    "edit",
    "write",
    "patch",
    "enable",
    "disable",
    "toggle",
    "rename",
    "move",
    "copy",
    "configure",
    "schedule",
    "reschedule",
    "create",
    "put",
    "save",
    "upload",
    "commit",
    "merge",
    "clone",
    "fork",
    "assign",
    "change",
    "insert",
    "archive",
    "restore",
    "start",
    "reserve",
    "book",
    "mark",
    "register",
    "login",
    "notebookedit",
    "multiedit",
    "todowrite",
    "checkout",
    "pull",
    "sync",
];
const HIGH_VERBS: &[&str] = &[
    "delete",
    "remove",
    "drop",
    "destroy",
    "purge",
    "erase",
    "wipe",
    "send",
    "email",
    "publish",
    "post",
    "pay",
    "transfer",
    "purchase",
    "buy",
    "order",
    "cancel",
    "share",
    "grant",
    "revoke",
    "execute",
    "exec",
    "run",
    "bash",
    "shell",
    "eval",
    "kill",
    "stop",
    "invite",
    "push",
    "refund",
    "exchange",
    "withdraw",
    "webfetch",
    "reply",
    "forward",
    "dm",
    "tweet",
    "unsubscribe",
    "rotate",
    "reset",
    "truncate",
    "task",
];
const CRITICAL_VERBS: &[&str] = &[
    "deploy",
    "migrate",
    "migration",
    "restart",
    "reboot",
    "shutdown",
    "rollback",
    "rollout",
    "provision",
    "terminate",
    "failover",
    "release",
];

const NOUNS: &[(Capabilities, &[&str])] = &[
    (
        Capabilities::READS_SECRET,
        &[
            "secret",
            "secrets",
            "credential",
            "credentials",
            "password",
            "passwords",
            "vault",
            "ssh",
            "env",
            "apikey",
            "token",
            "tokens",
            "keys",
        ],
    ),
    (
        Capabilities::READS_UNTRUSTED,
        &[
            "email",
            "emails",
            "mail",
            "inbox",
            "web",
            "webpage",
            "website",
            "url",
            "http",
            "page",
            "issue",
            "issues",
            "comment",
            "comments",
            "review",
            "reviews",
            "message",
            "messages",
            "channel",
            "feed",
            "webfetch",
            "websearch",
            "browse",
            "pull",
        ],
    ),
    (
        Capabilities::READS_PRIVATE,
        &[
            "user",
            "users",
            "account",
            "accounts",
            "balance",
            "iban",
            "transaction",
            "transactions",
            "contact",
            "contacts",
            "calendar",
            "file",
            "files",
            "document",
            "documents",
            "customer",
            "payment",
            "profile",
            "patient",
            "record",
            "records",
            "inbox",
            "email",
            "emails",
        ],
    ),
];

const VERB_CAPABILITIES: &[(Capabilities, &[&str])] = &[
    (
        Capabilities::EGRESS,
        &[
            "send", "email", "publish", "post", "share", "upload", "forward", "reply", "tweet", "dm", "push",
            "webfetch", "invite", "curl", "webhook",
        ],
    ),
    (
        Capabilities::DESTROYS,
        &["delete", "remove", "drop", "destroy", "purge", "erase", "wipe", "truncate", "kill", "terminate"],
    ),
    (
        Capabilities::SPENDS,
        &[
            "pay",
            "transfer",
            "purchase",
            "buy",
            "order",
            "refund",
            "withdraw",
            "reserve",
            "book",
            "transaction",
            "money",
        ],
    ),
    (Capabilities::EXECUTES, &["execute", "exec", "run", "bash", "shell", "eval", "command", "terminal"]),
    (Capabilities::GRANTS_ACCESS, &["grant", "invite", "share", "role", "permission", "permissions", "acl"]),
    (
        Capabilities::DEPLOYS,
        &[
            "deploy",
            "migrate",
            "migration",
            "restart",
            "reboot",
            "rollback",
            "rollout",
            "release",
            "provision",
        ],
    ),
];

/// Infers category and capabilities of a tool. `annotations` is the MCP annotations object, if any.
pub fn infer(tool: &str, description: &str, annotations: Option<&Json<'_>>) -> Inferred {
    let words = words(tool);
    let (category, verb) = category_of(&words);
    let reads = category == RiskCategory::Low;
    let mut capabilities = Capabilities::NONE;
    for (capability, list) in VERB_CAPABILITIES {
        if words.iter().any(|word| list.contains(&word.as_str())) {
            capabilities = capabilities.with(*capability);
        }
    }
    let description_words = if reads { crate::policy::category::words(description) } else { Vec::new() };
    for (capability, list) in NOUNS {
        let named = |words: &[String]| words.iter().any(|word| list.contains(&word.as_str()));
        if reads
            && (named(&words) || *capability == Capabilities::READS_UNTRUSTED && named(&description_words))
        {
            capabilities = capabilities.with(*capability);
        }
    }
    if !reads {
        capabilities = capabilities.with(Capabilities::MUTATES);
    }
    let (category, capabilities) = raise_by_annotations(category, capabilities, annotations);
    Inferred { category, capabilities, verb }
}

/// The strictest verb among the first two known words: `run_migration` is a migration, and
/// `get_delete_log` reads.
fn category_of(words: &[String]) -> (RiskCategory, &'static str) {
    let lists = [
        (RiskCategory::Critical, CRITICAL_VERBS),
        (RiskCategory::High, HIGH_VERBS),
        (RiskCategory::Medium, MEDIUM_VERBS),
        (RiskCategory::Low, LOW_VERBS),
    ];
    let known = |word: &String| {
        lists.iter().find_map(|(category, verbs)| {
            verbs.iter().find(|verb| *verb == word).map(|verb| (*category, *verb))
        })
    };
    let mut verbs = words.iter().filter_map(known);
    match (verbs.next(), verbs.find(|(category, _)| *category == RiskCategory::Critical)) {
        (Some((RiskCategory::Low, verb)), _) => (RiskCategory::Low, verb),
        (Some(_), Some(critical)) => critical,
        (Some(first), None) => first,
        (None, _) => (RiskCategory::High, ""),
    }
}

/// Annotations are hints of the server and not trusted: they may raise, never lower.
fn raise_by_annotations(
    category: RiskCategory,
    capabilities: Capabilities,
    annotations: Option<&Json<'_>>,
) -> (RiskCategory, Capabilities) {
    let Some(Json::Object(fields)) = annotations else { return (category, capabilities) };
    let says = |name: &str| fields.iter().any(|(key, value)| key == name && *value == Json::Bool(true));
    let mut raised = (category, capabilities);
    if says("destructiveHint") {
        raised = (category.max(RiskCategory::High), raised.1.with(Capabilities::DESTROYS));
    }
    if says("openWorldHint") && category == RiskCategory::Low {
        raised.1 = raised.1.with(Capabilities::READS_UNTRUSTED);
    }
    raised
}

/// Lower-case words of a name: `getUserInfo`, `get_user-info` and `mcp__x__get.user` alike.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut previous_lower = false;
    for letter in name.chars() {
        let boundary = !letter.is_alphanumeric() || (previous_lower && letter.is_uppercase());
        if boundary && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if letter.is_alphanumeric() {
            word.extend(letter.to_lowercase());
        }
        previous_lower = letter.is_lowercase();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Whether the arguments aim at production: a value such as `production` or `prod-db` under a key that
/// names a place.
pub fn aims_at_production(arguments: &Json<'_>) -> bool {
    let Json::Object(fields) = arguments else { return false };
    fields.iter().any(|(key, value)| {
        let Json::Text(text) = value else { return false };
        let names_place = ["env", "environment", "stage", "db", "database", "cluster", "target"]
            .iter()
            .any(|name| key.eq_ignore_ascii_case(name));
        names_place && words(text).iter().any(|word| matches!(word.as_str(), "prod" | "production" | "live"))
    })
}

/// Category of a call: of its tool, raised by its arguments. Any change of production is critical.
pub fn of_call(tool: RiskCategory, aims_at_production: bool) -> RiskCategory {
    if aims_at_production && tool >= RiskCategory::Medium { RiskCategory::Critical } else { tool }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tool: &str, category: RiskCategory, capabilities: &[&str]) {
        let inferred = infer(tool, "", None);
        assert_eq!(inferred.category, category, "{tool}: {inferred:?}");
        let names: Vec<&str> = inferred.capabilities.names().collect();
        for capability in capabilities {
            assert!(names.contains(capability), "{tool} should be {capability}: {names:?}");
        }
    }

    #[test]
    fn the_article_s_risk_table() {
        use RiskCategory::{Critical, High, Low, Medium};
        for tool in ["list_files", "get_logs", "search_docs", "fetch_metrics", "add_comment", "append_log"] {
            check(tool, Low, &[]);
        }
        for tool in ["update_config", "set_feature_flag", "scale_replicas"] {
            check(tool, Medium, &["mutates"]);
        }
        check("delete_resource", High, &["destroys"]);
        check("drop_table", High, &["destroys"]);
        check("send_email", High, &["egress"]);
        check("deploy_service", Critical, &["deploys"]);
        check("run_migration", Critical, &["deploys", "executes"]);
        check("restart_cluster", Critical, &["deploys"]);
    }

    #[test]
    fn names_of_other_styles_and_unknown_ones() {
        check("getUserInfo", RiskCategory::Low, &["reads_private"]);
        check("mcp__mail__read_inbox", RiskCategory::Low, &["reads_untrusted", "reads_private"]);
        check("vault.read_secret", RiskCategory::Low, &["reads_secret"]);
        check("frobnicate", RiskCategory::High, &["mutates"]);
        check("", RiskCategory::High, &[]);
    }

    #[test]
    fn annotations_only_raise() {
        let claims = Json::parse(br#"{"readOnlyHint":true,"destructiveHint":false}"#).unwrap();
        assert_eq!(infer("delete_all", "", Some(&claims)).category, RiskCategory::High);
        let admits = Json::parse(br#"{"destructiveHint":true}"#).unwrap();
        assert_eq!(infer("list_files", "", Some(&admits)).category, RiskCategory::High);
    }

    #[test]
    fn production_in_the_arguments_makes_a_change_critical() {
        let check = |text: &str, tool: RiskCategory, expected: RiskCategory| {
            let json = Json::parse(text.as_bytes()).unwrap();
            assert_eq!(of_call(tool, aims_at_production(&json)), expected, "{text}");
        };
        check(r#"{"env":"production"}"#, RiskCategory::Medium, RiskCategory::Critical);
        check(r#"{"env":"staging"}"#, RiskCategory::Medium, RiskCategory::Medium);
        check(r#"{"db":"prod-postgres"}"#, RiskCategory::High, RiskCategory::Critical);
        check(r#"{"env":"production"}"#, RiskCategory::Low, RiskCategory::Low);
    }
}
