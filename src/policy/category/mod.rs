//! Base category and capabilities of a tool, from what is known of it before any call.
//!
//! A pure function of name, description, annotations and schema, with tables of words. The first word of
//! the name that is a known verb sets the category; objects, phrases of the description and parameters
//! raise it; annotations are claims of the server and may only raise. A name without a known verb is HIGH:
//! unknown is not safe. The inference says why, in one sentence.

mod arguments;
mod reach;
mod verbs;
mod words;

pub use arguments::{Danger, danger, of_call};
pub use reach::reach;
pub use verbs::Verbs;

use crate::domain::json::Json;
use crate::domain::risk::{Capabilities, RiskCategory};
use words::{
    ACTING_PHRASES, FORCING_PARAMETERS, GRAVE_OBJECTS, GRAVE_PHRASES, GRAVE_VERBS, NEW, NOUNS, PERSONS,
    PLACES, PRODUCTION, VERBS, WORD_CAPABILITIES,
};

/// The table of words: verbs by category, strictest first.
pub const fn verbs() -> [(RiskCategory, &'static [&'static str]); 4] {
    VERBS
}

/// The table of words: capabilities by what a reading tool reads (first) and by any word of the name (second).
pub const fn capabilities() -> [&'static [(Capabilities, &'static [&'static str])]; 2] {
    [NOUNS, WORD_CAPABILITIES]
}

/// What was inferred, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inferred {
    /// Base category.
    pub category: RiskCategory,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// Why it has this category, in one sentence.
    pub reason: String,
}

/// Bytes of a description that are looked at.
const DESCRIPTION_BYTES_MAX: usize = 8_192;

/// A category on its way, with the reasons so far.
struct Judged {
    category: RiskCategory,
    reasons: Vec<String>,
}

impl Judged {
    fn raise(&mut self, to: RiskCategory, why: impl Into<String>) {
        if to > self.category {
            self.category = to;
            self.reasons.push(why.into());
        }
    }
}

/// Infers category and capabilities of a tool. `annotations` is the MCP annotations object and `schema` the
/// JSON Schema of its arguments, if there are any.
pub fn infer(
    tool: &str,
    description: &str,
    annotations: Option<&Json<'_>>,
    schema: Option<&Json<'_>>,
) -> Inferred {
    infer_with(&known, tool, description, annotations, schema)
}

/// The same by another table of verbs.
pub fn infer_by(
    verbs: &Verbs,
    tool: &str,
    description: &str,
    annotations: Option<&Json<'_>>,
    schema: Option<&Json<'_>>,
) -> Inferred {
    infer_with(&|word| verbs.get(word), tool, description, annotations, schema)
}

/// The category of a verb, with the verb as its table has it.
type Lookup<'t> = dyn Fn(&str) -> Option<(RiskCategory, &'t str)> + 't;

fn known(word: &str) -> Option<(RiskCategory, &'static str)> {
    let of = |(category, verbs): &(RiskCategory, &'static [&'static str])| {
        verbs.iter().find(|verb| **verb == word).map(|verb| (*category, *verb))
    };
    VERBS.iter().find_map(of)
}

fn infer_with<'t>(
    verbs: &Lookup<'t>,
    tool: &str,
    description: &str,
    annotations: Option<&Json<'_>>,
    schema: Option<&Json<'_>>,
) -> Inferred {
    let words = words(tool);
    let (category, verb) = category_of(&words, verbs);
    let reads = category == RiskCategory::Low && !NEW.contains(&verb);
    let why = if verb.is_empty() {
        "no word of its name is a known verb, and unknown is not safe".to_owned()
    } else {
        format!("its name says `{verb}`, which is {category}")
    };
    let mut judged = Judged { category, reasons: vec![why] };
    let mut capabilities = Capabilities::NONE;
    for (capability, list) in WORD_CAPABILITIES {
        if words.iter().any(|word| list.contains(&word.as_str())) {
            capabilities = capabilities.with(*capability);
        }
    }
    let description = lower(description);
    raise_by_objects(&words, verb, reads, &mut judged);
    raise_by_description(&description, reads, &mut judged);
    raise_by_schema(schema, &mut judged);
    let named = |list: &[&str], words: &[String]| words.iter().any(|word| list.contains(&word.as_str()));
    let described = if reads { crate::policy::category::words(&description) } else { Vec::new() };
    for (capability, list) in NOUNS {
        let untrusted = *capability == Capabilities::READS_UNTRUSTED;
        if reads && (named(list, &words) || untrusted && named(list, &described)) {
            capabilities = capabilities.with(*capability);
        }
    }
    if !reads || judged.category > RiskCategory::Low {
        capabilities = capabilities.with(Capabilities::MUTATES);
    }
    raise_by_annotations(annotations, &mut judged, &mut capabilities);
    Inferred { category: judged.category, capabilities, reason: judged.reasons.join("; ") }
}

fn lower(description: &str) -> String {
    let end = (0..=description.len().min(DESCRIPTION_BYTES_MAX))
        .rev()
        .find(|end| description.is_char_boundary(*end));
    let text = description.get(..end.unwrap_or(0)).unwrap_or("").to_lowercase();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The strictest verb among the first known one and a critical one behind it: `run_migration` is a
/// migration, and `get_delete_log` reads.
fn category_of<'t>(words: &[String], known: &Lookup<'t>) -> (RiskCategory, &'t str) {
    let mut verbs = words.iter().filter_map(|word| known(word));
    match (verbs.next(), verbs.find(|(category, _)| *category == RiskCategory::Critical)) {
        (Some((RiskCategory::Low, verb)), _) => (RiskCategory::Low, verb),
        (Some(_), Some(critical)) => critical,
        (Some(first), None) => first,
        (None, _) => (RiskCategory::High, ""),
    }
}

fn raise_by_objects(words: &[String], verb: &str, reads: bool, judged: &mut Judged) {
    if reads {
        return;
    }
    if GRAVE_VERBS.contains(&verb) {
        for (what, list) in GRAVE_OBJECTS {
            // `cart` is money only where it is paid for.
            let hit =
                |word: &&String| list.contains(&word.as_str()) && (*word != "cart" || verb == "checkout");
            if let Some(word) = words.iter().find(hit) {
                judged.raise(RiskCategory::High, format!("`{word}` in its name is {what}"));
            }
        }
    }
    if let Some(word) = words.iter().find(|word| PERSONS.contains(&word.as_str()))
        && verb == "add"
    {
        judged.raise(RiskCategory::Medium, format!("it adds a `{word}`, who gets access"));
    }
}

fn raise_by_description(description: &str, reads: bool, judged: &mut Judged) {
    let grave = if reads { &[] } else { GRAVE_PHRASES };
    let known = grave.iter().chain(ACTING_PHRASES);
    for (phrase, meaning) in known {
        if description.contains(phrase) {
            judged.raise(RiskCategory::High, format!("its description says that {meaning}"));
        }
    }
}

/// A parameter that forces makes a change HIGH; one whose every value names production makes it CRITICAL.
fn raise_by_schema(schema: Option<&Json<'_>>, judged: &mut Judged) {
    if judged.category < RiskCategory::Medium {
        return;
    }
    let Some(Json::Object(properties)) = schema.and_then(|schema| field(schema, "properties")) else {
        return;
    };
    for (name, property) in properties {
        let plain = name.to_lowercase();
        if FORCING_PARAMETERS.contains(&plain.as_str()) {
            judged.raise(RiskCategory::High, format!("it has a parameter `{plain}`"));
        }
        if PLACES.contains(&plain.as_str()) && only_production(property) {
            judged.raise(RiskCategory::Critical, format!("its parameter `{plain}` knows production only"));
        }
    }
}

fn field<'j>(object: &'j Json<'_>, name: &str) -> Option<&'j Json<'j>> {
    match object {
        Json::Object(fields) => fields.iter().find(|(key, _)| key == name).map(|(_, value)| value),
        _ => None,
    }
}

fn only_production(property: &Json<'_>) -> bool {
    let says = |value: &Json<'_>| matches!(value, Json::Text(text) if words(text).iter().any(|word| PRODUCTION.contains(&word.as_str())));
    match (field(property, "enum"), field(property, "const"), field(property, "default")) {
        (Some(Json::Array(values)), _, _) => !values.is_empty() && values.iter().all(says),
        (_, Some(value), _) | (_, _, Some(value)) => says(value),
        _ => false,
    }
}

/// Annotations are hints of the server and not trusted: they may raise, never lower.
fn raise_by_annotations(
    annotations: Option<&Json<'_>>,
    judged: &mut Judged,
    capabilities: &mut Capabilities,
) {
    let Some(Json::Object(fields)) = annotations else { return };
    let says = |name: &str| fields.iter().any(|(key, value)| key == name && *value == Json::Bool(true));
    if says("openWorldHint") && judged.category == RiskCategory::Low {
        *capabilities = capabilities.with(Capabilities::READS_UNTRUSTED);
    }
    if says("destructiveHint") {
        judged.raise(RiskCategory::High, "its server says that it is destructive");
        *capabilities = capabilities.with(Capabilities::DESTROYS);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tool: &str, category: RiskCategory, capabilities: &[&str]) {
        let inferred = infer(tool, "", None, None);
        assert_eq!(inferred.category, category, "{tool}: {inferred:?}");
        let names: Vec<&str> = inferred.capabilities.names().collect();
        for capability in capabilities {
            assert!(names.contains(capability), "{tool} should be {capability}: {names:?}");
        }
    }

    #[test]
    fn the_article_s_risk_table() {
        use RiskCategory::{Critical, High, Low, Medium};
        for tool in ["list_files", "get_logs", "search_docs", "fetch_metrics"] {
            check(tool, Low, &[]);
        }
        for tool in ["create_branch", "draft_email", "add_comment", "append_log"] {
            check(tool, Low, &["mutates"]);
        }
        for tool in ["update_config", "set_feature_flag", "scale_replicas"] {
            check(tool, Medium, &["mutates"]);
        }
        check("delete_resource", High, &["destroys"]);
        check("drop_table", High, &["destroys"]);
        check("send_email", High, &["egress"]);
        check("publish_release", Critical, &["egress", "deploys"]);
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

    fn told(
        tool: &str,
        description: &str,
        annotations: &str,
        schema: &str,
        category: RiskCategory,
        reason: &str,
    ) {
        fn read(text: &str) -> Option<Json<'_>> {
            (!text.is_empty()).then(|| Json::parse(text.as_bytes()).unwrap())
        }
        let (annotations, schema) = (read(annotations), read(schema));
        let inferred = infer(tool, description, annotations.as_ref(), schema.as_ref());
        assert_eq!((inferred.category, inferred.reason.as_str()), (category, reason), "{tool}");
    }

    #[test]
    fn the_inference_says_why() {
        use RiskCategory::{Critical, High, Low, Medium};
        told("get_logs", "", "", "", Low, "its name says `get`, which is low");
        told("frobnicate", "", "", "", High, "no word of its name is a known verb, and unknown is not safe");
        told(
            "create_event",
            "Creates an event.\n  It also sends an\n email to the participants.",
            "",
            "",
            High,
            "its name says `create`, which is low; its description says that it sends an email",
        );
        told(
            "get_mail",
            "Every mail that sends an email back.",
            "",
            "",
            Low,
            "its name says `get`, which is low",
        );
        told(
            "update_password",
            "",
            "",
            "",
            High,
            "its name says `update`, which is medium; `password` in its name is a credential",
        );
        told("get_password", "", "", "", Low, "its name says `get`, which is low");
        told(
            "add_member",
            "",
            "",
            "",
            Medium,
            "its name says `add`, which is low; it adds a `member`, who gets access",
        );
        told(
            "move_node",
            "",
            "",
            r#"{"properties":{"force":{"type":"boolean"}}}"#,
            High,
            "its name says `move`, which is medium; it has a parameter `force`",
        );
        told(
            "scale",
            "",
            "",
            r#"{"properties":{"env":{"enum":["prod-eu","prod-us"]}}}"#,
            Critical,
            "its name says `scale`, which is medium; its parameter `env` knows production only",
        );
        told(
            "scale",
            "",
            "",
            r#"{"properties":{"env":{"enum":["prod","staging"]}}}"#,
            Medium,
            "its name says `scale`, which is medium",
        );
        told(
            "list_files",
            "",
            r#"{"destructiveHint":true}"#,
            "",
            High,
            "its name says `list`, which is low; its server says that it is destructive",
        );
        told(
            "delete_all",
            "",
            r#"{"readOnlyHint":true,"destructiveHint":false}"#,
            "",
            High,
            "its name says `delete`, which is high",
        );
    }
}
