//! Tool definitions out of an answer to `tools/list`, and what stands for a tool when the daemon is away.

use crate::domain::json::Json;
use crate::domain::risk::RiskCategory;
use crate::policy::category;
use crate::proto::v1::{ToolAnnotations, ToolDefinition};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Bytes of an answer to `tools/list` that are kept to be read; tools of a larger one are not registered.
pub const LIST_BYTES_MAX: usize = 4 << 20;
/// Tools of one server whose category is remembered.
pub const TOOLS_MAX: usize = 1_024;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    result: Option<Page<'a>>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow, default)]
    tools: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Tool<'a> {
    name: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(borrow, default, rename = "inputSchema")]
    input_schema: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "outputSchema")]
    output_schema: Option<&'a RawValue>,
    #[serde(default)]
    annotations: Option<Hints>,
}

#[derive(Deserialize)]
struct Hints {
    #[serde(default)]
    title: Option<String>,
    #[serde(default, rename = "readOnlyHint")]
    read_only: Option<bool>,
    #[serde(default, rename = "destructiveHint")]
    destructive: Option<bool>,
    #[serde(default, rename = "idempotentHint")]
    idempotent: Option<bool>,
    #[serde(default, rename = "openWorldHint")]
    open_world: Option<bool>,
}

/// The definitions in an answer to `tools/list`, and how many of its tools could not be read.
pub fn definitions(answer: &[u8]) -> (Vec<ToolDefinition>, usize) {
    let Ok(Message { result: Some(page) }) = serde_json::from_slice::<Message<'_>>(answer) else {
        return (Vec::new(), 0);
    };
    let mut unread = 0;
    let mut found: Vec<ToolDefinition> = Vec::with_capacity(page.tools.len());
    for raw in page.tools {
        match serde_json::from_str::<Tool<'_>>(raw.get()) {
            Ok(tool) if !found.iter().any(|known| known.name == tool.name) => found.push(definition(tool)),
            _ => unread += 1,
        }
    }
    (found, unread)
}

fn definition(tool: Tool<'_>) -> ToolDefinition {
    let json =
        |raw: Option<&RawValue>| raw.map(|raw| raw.get().as_bytes().to_vec().into()).unwrap_or_default();
    let own = tool.annotations.as_ref().and_then(|hints| hints.title.clone());
    ToolDefinition {
        name: tool.name,
        title: tool.title.or(own).unwrap_or_default(),
        description: tool.description.unwrap_or_default(),
        input_schema_json: json(tool.input_schema),
        output_schema_json: json(tool.output_schema),
        annotations: tool.annotations.map(|hints| ToolAnnotations {
            read_only_hint: hints.read_only,
            destructive_hint: hints.destructive,
            idempotent_hint: hints.idempotent,
            open_world_hint: hints.open_world,
        }),
    }
}

/// Risk categories of a server's tools, known without the daemon.
#[derive(Debug, Default)]
pub struct Categories(BTreeMap<String, RiskCategory>);

impl Categories {
    /// Infers the categories of these tools as the daemon would. Annotations may raise, never lower.
    pub fn learn(&mut self, tools: &[ToolDefinition]) {
        for tool in tools {
            if self.0.len() < TOOLS_MAX || self.0.contains_key(&tool.name) {
                self.0.insert(tool.name.clone(), inferred(tool));
            }
        }
    }

    /// The category of a tool; one that was never listed is judged by its name.
    pub fn of(&self, tool: &str) -> RiskCategory {
        self.0.get(tool).copied().unwrap_or_else(|| category::infer(tool, "", None, None).category)
    }
}

fn inferred(tool: &ToolDefinition) -> RiskCategory {
    let hints = tool.annotations.unwrap_or_default();
    let fields = [
        ("readOnlyHint", hints.read_only_hint),
        ("destructiveHint", hints.destructive_hint),
        ("idempotentHint", hints.idempotent_hint),
        ("openWorldHint", hints.open_world_hint),
    ];
    let told = fields.into_iter().filter_map(|(name, hint)| Some((name.into(), Json::Bool(hint?))));
    let schema = Json::parse(&tool.input_schema_json).ok();
    category::infer(&tool.name, &tool.description, Some(&Json::Object(told.collect())), schema.as_ref())
        .category
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_keep_their_schemas_as_they_stand() {
        let (found, unread) = definitions(
            br#"{"id":1,"result":{"tools":[{"name":"a","description":"d","inputSchema":{"type": "object"},"annotations":{"readOnlyHint":true,"title":"T"},"x":1},
            {"name":7},{"name":"a"},{"name":"b","inputSchema":{}}],"nextCursor":"c"}}"#,
        );
        assert_eq!((found.len(), unread), (2, 2));
        let first = found.first().unwrap();
        assert_eq!(first.input_schema_json.as_ref(), br#"{"type": "object"}"#);
        assert_eq!((first.title.as_str(), first.description.as_str()), ("T", "d"));
        assert_eq!(first.annotations.unwrap().read_only_hint, Some(true));
        assert_eq!(definitions(b"{\"id\":1,\"error\":{}}").0.len(), 0);
        assert_eq!(definitions(b"garbage").0.len(), 0);
    }

    #[test]
    fn categories_without_the_daemon() {
        let mut categories = Categories::default();
        assert_eq!(categories.of("get_logs"), RiskCategory::Low);
        assert!(categories.of("delete_everything") > RiskCategory::Medium);
        assert!(categories.of("frobnicate") > RiskCategory::Low, "nothing is known about it");
        let harmful = ToolDefinition {
            name: "get_logs".to_owned(),
            annotations: Some(ToolAnnotations { destructive_hint: Some(true), ..Default::default() }),
            ..Default::default()
        };
        categories.learn(&[harmful]);
        assert!(categories.of("get_logs") > RiskCategory::Low);
    }
}
