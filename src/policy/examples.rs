//! Examples of calls with the verdict that a policy should give them.

use super::category;
use super::cel::{Arguments, Facts, SessionFacts};
use super::document::{self, Node, Value};
use super::evaluate::{Considered, Outcome};
use super::fault::{Fault, Severity};
use super::file::CATEGORIES;
use super::policy::Policy;
use super::reader::Reader;
use super::rule::Effect;
use crate::domain::decision::{Assessment, Detector, Evidence, Score};
use crate::domain::json::Json;
use crate::domain::risk::RiskCategory;
use crate::domain::time::Timestamp;
use std::borrow::Cow;

/// Examples in a file.
const EXAMPLES_MAX: usize = 10_000;

/// A call that was made up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Tool name.
    pub tool: String,
    /// MCP server.
    pub server: String,
    /// Outermost first.
    pub chain: Vec<String>,
    /// JSON arguments, an object.
    pub arguments: Vec<u8>,
    /// When.
    pub at: Timestamp,
    /// Risk to assume, 0 to 100; none: that of the category.
    pub risk: Option<u8>,
    /// Category to assume; none: as inferred.
    pub category: Option<RiskCategory>,
}

/// What should come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What it is about.
    pub name: String,
    /// Line in the file.
    pub line: u32,
    /// The call.
    pub example: Example,
    /// The effect that the rules alone should have.
    pub effect: Effect,
    /// The rule that should win; none: not asked. Empty: no rule.
    pub rule: Option<String>,
}

/// Asks the rules about a made-up call.
pub fn ask<T>(
    policy: &Policy,
    example: &Example,
    then: impl FnOnce(&Outcome<'_>, &[Considered<'_>]) -> T,
) -> T {
    let inferred = category::infer(&example.tool, "", None, None);
    let labelled = (inferred.category, inferred.capabilities);
    let (base, capabilities) = policy.label(&example.tool, &example.server, labelled);
    let danger =
        Json::parse(&example.arguments).map_or_else(|_| Default::default(), |json| category::danger(&json));
    let category = example.category.unwrap_or_else(|| category::of_call(base, danger));
    let arguments = Arguments::new(&example.arguments);
    let mut assessment = calm();
    assessment.risk = example.risk.unwrap_or_else(|| category.base_risk());
    let facts = Facts {
        tool: &example.tool,
        server: &example.server,
        chain: &example.chain,
        category,
        capabilities,
        registered: false,
        changed: false,
        arguments: &arguments,
        session: SessionFacts::default(),
        assessment: Some(&assessment),
        compositions: &[],
        now: example.at,
    };
    let (outcome, considered) = policy.explain(&facts);
    then(&outcome.after_scoring(&facts), &considered)
}

/// Why a made-up call has its category, in one sentence: by its tool's name, what the file says of the tool, and the
/// arguments.
pub fn category_of(policy: &Policy, tool: &str, server: &str, arguments: &[u8]) -> String {
    let inferred = category::infer(tool, "", None, None);
    let (base, _) = policy.label(tool, server, (inferred.category, inferred.capabilities));
    let why =
        if base == inferred.category { inferred.reason } else { "`tools` in the file says so".to_owned() };
    let danger = Json::parse(arguments).map_or_else(|_| Default::default(), |json| category::danger(&json));
    match category::of_call(base, danger) {
        raised if raised == base => why,
        RiskCategory::Critical => format!("{why}, and its arguments name production"),
        raised => format!("{why}, and its arguments destroy or aim at everything, which is {raised}"),
    }
}

fn calm() -> Assessment {
    let score = |detector| Score { detector, raw: None, surprise: 0, evidence: Evidence::None };
    Assessment { scores: Detector::ALL.map(score), evidence: 0, combined_raw: 0, floors: 0, risk: 0 }
}

/// Reads a file of examples; `now` is when calls are made that say no time.
pub fn read(text: &str, now: Timestamp) -> Result<Vec<Expected>, Vec<Fault>> {
    let root = document::read(text).map_err(|fault| vec![fault])?;
    let mut reader = Reader::default();
    let items = reader.list(&root, "the examples");
    let found: Vec<Expected> =
        items.iter().take(EXAMPLES_MAX).filter_map(|item| expected(&mut reader, item, now)).collect();
    if items.len() > EXAMPLES_MAX {
        reader.wrong::<()>(&root, format!("more than {EXAMPLES_MAX} examples"));
    }
    if reader.faults.iter().any(|fault| fault.severity == Severity::Error) {
        Err(reader.faults)
    } else {
        Ok(found)
    }
}

const KEYS: [&str; 10] =
    ["name", "tool", "server", "principal", "args", "at", "risk", "category", "expect", "rule"];

fn expected(reader: &mut Reader, node: &Node, now: Timestamp) -> Option<Expected> {
    let fields = reader.fields(node, "an example", &KEYS);
    let text = |reader: &mut Reader, name: &str| {
        fields.get(name).and_then(|node| reader.text(node, name)).map(str::to_owned)
    };
    let tool = reader.required(&fields, "tool", node, "an example");
    let tool = tool.and_then(|node| reader.text(node, "tool")).map(str::to_owned);
    let effect = reader.required(&fields, "expect", node, "an example");
    let effect = effect.and_then(|node| reader.one_of(node, "expect", &Effect::NAMES));
    let chain = fields.get("principal").map(|node| reader.texts(node, "principal"));
    let mut arguments = Vec::new();
    match fields.get("args") {
        Some(node) => json(node).write(&mut arguments),
        None => arguments.extend_from_slice(b"{}"),
    }
    let at = fields.get("at").and_then(|node| reader.instant(node, "at"));
    let risk = fields.get("risk").and_then(|node| reader.number(node, "risk", 0, 100));
    let category = fields.get("category").and_then(|node| reader.one_of(node, "category", &CATEGORIES));
    let (name, server, rule) = (text(reader, "name"), text(reader, "server"), text(reader, "rule"));
    let tool = tool?;
    Some(Expected {
        name: name.unwrap_or_else(|| tool.clone()),
        line: node.line,
        example: Example {
            tool,
            server: server.unwrap_or_default(),
            chain: chain.unwrap_or_else(|| vec!["user:example".to_owned()]),
            arguments,
            at: at.unwrap_or(now),
            risk: risk.and_then(|risk| u8::try_from(risk).ok()),
            category,
        },
        effect: effect?,
        rule,
    })
}

/// A part of a document as JSON: what is not in quotes and looks like a number, `true`, `false` or `null` is
/// that; everything else is a text.
fn json(node: &Node) -> Json<'_> {
    match &node.value {
        Value::Scalar(text, true) => Json::Text(Cow::Borrowed(text)),
        Value::Scalar(text, false) => match Json::parse(text.as_bytes()) {
            Ok(value @ (Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Float(_))) => {
                value.into_static()
            }
            _ => Json::Text(Cow::Borrowed(text)),
        },
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(fields) => {
            let named = fields.iter().filter_map(|(key, value)| match &key.value {
                Value::Scalar(name, _) => Some((Cow::Borrowed(name.as_str()), json(value))),
                _ => None,
            });
            Json::Object(named.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_asked_as_they_are_written() {
        let now = Timestamp::parse("2026-11-17T14:00:00Z").unwrap();
        let policy = super::super::file::parse(
            "version: 1\nrules: [{id: small, tool: scale, when: args.n <= 3 && args.to == \"3\", effect: allow}]\n",
            Default::default(),
            now,
        )
        .unwrap();
        let text = "- {tool: scale, args: {n: 3, to: '3'}, expect: allow, rule: small}\n- {tool: scale, args: {n: 4}, expect: review}\n";
        let found = read(text, now).unwrap();
        let effects: Vec<(Effect, bool)> = found
            .iter()
            .map(|one| ask(&policy, &one.example, |outcome, _| (outcome.effect, outcome.rule.is_some())))
            .collect();
        assert_eq!(effects, [(Effect::Allow, true), (Effect::Review, false)]);
        let faults = read("- {tol: x, expect: alow}\n", now).unwrap_err();
        assert_eq!(faults.len(), 3, "{faults:?}");
    }
}
