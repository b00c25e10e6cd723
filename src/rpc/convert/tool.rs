//! Tools and their definitions, both ways.

use crate::decide::ingest::{Violation, check_name};
use crate::decide::observe::Definition;
use crate::domain::call::limits;
use crate::domain::json::Json;
use crate::domain::risk::{Capabilities, RiskCategory};
use crate::projection::Tool;
use crate::proto::v1;
use crate::rpc::status::Failure;
use prost::bytes::Bytes;
use std::borrow::Cow;
use std::collections::HashSet;

/// Definitions in one request.
const DEFINITIONS_MAX: usize = 1_024;
/// Bytes of a title.
const TITLE_BYTES_MAX: usize = 256;
/// Bytes of a description.
const DESCRIPTION_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one schema.
const SCHEMA_BYTES_MAX: usize = 128 * 1024;

/// Checks the definitions of one server. All or none.
pub(in crate::rpc) fn definitions(
    server: &str,
    tools: Vec<v1::ToolDefinition>,
) -> Result<Vec<Definition>, Failure> {
    let mut faults = Vec::new();
    faults.extend(check_name("server", server, false).err().into_iter().flatten());
    if tools.len() > DEFINITIONS_MAX {
        let description = format!("has {} entries, at most {DEFINITIONS_MAX}", tools.len());
        faults.push(Violation { field: "tools", description });
    }
    let mut names = HashSet::new();
    for tool in &tools {
        if !names.insert(tool.name.as_str()) {
            let description = "is there twice in one request".to_owned();
            faults.push(Violation { field: "tools.name", description });
        }
        check(tool, &mut faults);
    }
    if !faults.is_empty() {
        return Err(Failure::invalid(faults));
    }
    Ok(tools.into_iter().map(|tool| definition(server, tool)).collect())
}

fn check(tool: &v1::ToolDefinition, faults: &mut Vec<Violation>) {
    faults.extend(check_name("tools.name", &tool.name, true).err().into_iter().flatten());
    let schemas = [
        ("tools.input_schema_json", &tool.input_schema_json),
        ("tools.output_schema_json", &tool.output_schema_json),
    ];
    let mut limit = |field, length: usize, most: usize| {
        if length > most {
            let description = format!("is {length} bytes long, at most {most}");
            faults.push(Violation { field, description });
        }
    };
    limit("tools.title", tool.title.len(), TITLE_BYTES_MAX);
    limit("tools.description", tool.description.len(), DESCRIPTION_BYTES_MAX);
    let mut whole = tool.description.len() + tool.title.len();
    for (field, schema) in schemas {
        limit(field, schema.len(), SCHEMA_BYTES_MAX);
        whole += schema.len();
    }
    limit("tools", whole, limits::DEFINITION_BYTES_MAX);
    for (field, schema) in schemas {
        if schema.is_empty() {
            continue;
        }
        let description = match Json::parse(schema) {
            Ok(Json::Object(_)) => continue,
            Ok(_) => "is not a JSON object".to_owned(),
            Err(fault) => format!("is not acceptable JSON: {fault}"),
        };
        faults.push(Violation { field, description });
    }
}

fn definition(server: &str, tool: v1::ToolDefinition) -> Definition {
    let annotations = annotations(&tool);
    Definition {
        server: server.to_owned(),
        tool: tool.name,
        description: tool.description,
        input_schema: tool.input_schema_json.into(),
        annotations,
    }
}

/// Hints, title and output schema as one JSON object, so that all of them are kept and count for the
/// digest; empty if there is none.
fn annotations(tool: &v1::ToolDefinition) -> Vec<u8> {
    let hints = tool.annotations.unwrap_or_default();
    let mut fields: Vec<(Cow<'_, str>, Json<'_>)> = Vec::new();
    if !tool.title.is_empty() {
        fields.push(("title".into(), Json::Text(Cow::Borrowed(&tool.title))));
    }
    for (name, hint) in [
        ("readOnlyHint", hints.read_only_hint),
        ("destructiveHint", hints.destructive_hint),
        ("idempotentHint", hints.idempotent_hint),
        ("openWorldHint", hints.open_world_hint),
    ] {
        fields.extend(hint.map(|hint| (name.into(), Json::Bool(hint))));
    }
    if !tool.output_schema_json.is_empty() {
        let schema = Json::parse(&tool.output_schema_json).unwrap_or(Json::Null);
        fields.push(("outputSchema".into(), schema));
    }
    if fields.is_empty() {
        return Vec::new();
    }
    let mut out = Vec::new();
    Json::Object(fields).write(&mut out);
    out
}

/// A definition as it was handed in.
pub(in crate::rpc) fn handed_in(
    name: String,
    description: String,
    input_schema: Vec<u8>,
    annotations: &[u8],
) -> v1::ToolDefinition {
    let mut tool = v1::ToolDefinition {
        name,
        description,
        input_schema_json: input_schema.into(),
        ..v1::ToolDefinition::default()
    };
    let Ok(Json::Object(fields)) = Json::parse(annotations) else { return tool };
    let mut hints = v1::ToolAnnotations::default();
    let mut any = false;
    for (field, value) in fields {
        let slot = match field.as_ref() {
            "readOnlyHint" => &mut hints.read_only_hint,
            "destructiveHint" => &mut hints.destructive_hint,
            "idempotentHint" => &mut hints.idempotent_hint,
            "openWorldHint" => &mut hints.open_world_hint,
            "title" => {
                if let Json::Text(title) = value {
                    tool.title = title.into_owned();
                }
                continue;
            }
            "outputSchema" => {
                let mut schema = Vec::new();
                value.write(&mut schema);
                tool.output_schema_json = schema.into();
                continue;
            }
            _ => continue,
        };
        if let Json::Bool(hint) = value {
            *slot = Some(hint);
            any = true;
        }
    }
    tool.annotations = any.then_some(hints);
    tool
}

/// What is made of a tool.
pub(in crate::rpc) fn assessment(category: RiskCategory, capabilities: Capabilities) -> v1::ToolAssessment {
    let inferred = v1::LabelSource::Inferred.into();
    v1::ToolAssessment {
        category: v1::RiskCategory::from(category).into(),
        category_source: inferred,
        category_reason: String::new(),
        capabilities: capabilities
            .names()
            .map(|name| v1::Capability { name: name.to_owned(), source: inferred, reason: String::new() })
            .collect(),
    }
}

/// Whether a tool's definition is the accepted one.
pub(in crate::rpc) const fn status(changed: bool) -> v1::ToolStatus {
    if changed { v1::ToolStatus::Changed } else { v1::ToolStatus::Accepted }
}

/// A registered tool.
pub(in crate::rpc) fn tool(tenant: &str, tool: &Tool) -> v1::Tool {
    let digest = Bytes::copy_from_slice(&tool.definition_hash);
    v1::Tool {
        tenant: tenant.to_owned(),
        server: tool.server.clone(),
        name: tool.tool.clone(),
        status: status(tool.changed).into(),
        assessment: Some(assessment(tool.category, tool.capabilities)),
        accepted_digest: if tool.changed { Bytes::new() } else { digest.clone() },
        definition_digest: digest,
        ..v1::Tool::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_come_back_as_they_were_handed_in() {
        let given = v1::ToolDefinition {
            name: "t".to_owned(),
            title: "T \"x\"".to_owned(),
            description: "does t".to_owned(),
            input_schema_json: Bytes::from_static(b"{\"type\":\"object\"}"),
            output_schema_json: Bytes::from_static(b"{\"a\":[1,2.5,null]}"),
            annotations: Some(v1::ToolAnnotations { read_only_hint: Some(true), ..Default::default() }),
        };
        let made = definitions("s", vec![given.clone()]).unwrap().remove(0);
        let back = handed_in(made.tool, made.description, made.input_schema, &made.annotations);
        assert_eq!(back, given);
    }

    #[test]
    fn faulty_definitions_are_refused_whole() {
        let tool = |name: &str, schema: &'static str| v1::ToolDefinition {
            name: name.to_owned(),
            input_schema_json: Bytes::from_static(schema.as_bytes()),
            ..Default::default()
        };
        let check = |tools: Vec<v1::ToolDefinition>, fields: &[&str]| {
            let failure = definitions("s", tools).unwrap_err();
            let found: Vec<&str> = failure.violations.iter().map(|violation| violation.field).collect();
            assert_eq!(found, fields);
        };
        check(vec![tool("", "")], &["tools.name"]);
        check(vec![tool("a", ""), tool("a", "")], &["tools.name"]);
        check(vec![tool("a", "[]")], &["tools.input_schema_json"]);
        check(vec![tool("a", "{"), tool("b\u{202e}", "")], &["tools.input_schema_json", "tools.name"]);
    }
}
