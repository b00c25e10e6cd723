//! Changes to a JSON text that leave everything else in it as it stands. Pure.

use super::document::{Kind, Member, Node, read};
use serde_json::Value;
use std::ops::Range;

/// Adds an item to the array at this path, and makes what is missing on the way.
pub(super) fn add(text: &str, path: &[&str], item: &Value) -> Result<String, String> {
    let root = read(text)?;
    let mut node = &root;
    for (depth, key) in path.iter().enumerate() {
        if !matches!(node.kind, Kind::Object(_)) {
            return Err(format!("{} is no object", shown(path, depth)));
        }
        match node.get(key) {
            Some(inner) => node = inner,
            None => {
                let inner = path.iter().skip(depth + 1).rev();
                let value = inner.fold(Value::from(vec![item.clone()]), |value, key| {
                    Value::from(serde_json::Map::from_iter([((*key).to_owned(), value)]))
                });
                let value = pretty(&value, &unit(text), depth + 1);
                return Ok(insert(text, node, depth, &format!("{}: {value}", Value::from(*key))));
            }
        }
    }
    if !matches!(node.kind, Kind::Array(_)) {
        return Err(format!("{} is no array", shown(path, path.len())));
    }
    let item = pretty(item, &unit(text), path.len() + 1);
    Ok(insert(text, node, path.len(), &item))
}

/// Puts values in the places of members, and adds members that are missing, in the object at this path.
pub(super) fn set(text: &str, path: &[&str], members: &[(&str, Value)]) -> Result<String, String> {
    let mut text = text.to_owned();
    for (key, value) in members {
        let root = read(&text)?;
        let object = path.iter().try_fold(&root, |node, key| node.get(key));
        let object = object.ok_or_else(|| format!("{} is missing", shown(path, path.len())))?;
        let new = pretty(value, &unit(&text), path.len() + 1);
        text = match object.get(key) {
            Some(old) => replaced(&text, old.span.clone(), &new),
            None => insert(&text, object, path.len(), &format!("{}: {new}", Value::from(*key))),
        };
    }
    Ok(text)
}

/// Takes a member out of the object at this path, if it is there.
pub(super) fn unset(text: &str, path: &[&str], key: &str) -> Result<String, String> {
    let root = read(text)?;
    let Some(object) = path.iter().try_fold(&root, |node, key| node.get(key)) else {
        return Ok(text.to_owned());
    };
    let at = object.members().iter().position(|member| member.key == key);
    Ok(at.map_or_else(|| text.to_owned(), |at| without(text, object, at)))
}

/// Takes out every object with such a command, and arrays and objects under `hooks` that hold nothing else.
pub(super) fn remove_commands(text: &str, is_ours: &dyn Fn(&str) -> bool) -> Result<String, String> {
    let mut text = text.to_owned();
    loop {
        let root = read(&text)?;
        let Some(hooks) = root.members().iter().position(|member| member.key == "hooks") else {
            return Ok(text);
        };
        let mut way = vec![(&root, hooks)];
        if !find(root.get("hooks").unwrap_or(&root), is_ours, &mut way) {
            return Ok(text);
        }
        // The last one on the way that is not the only child of its parent goes.
        while let [.., (_, _), (inner, _)] = way.as_slice() {
            let only = children(inner).len() == 1;
            // The group around a hook may say more than which hooks it holds.
            let group = matches!(inner.kind, Kind::Object(_)) && inner.get("hooks").is_some();
            if !only && !group {
                break;
            }
            way.pop();
        }
        let Some((parent, at)) = way.last() else { return Ok(text) };
        text = without(&text, parent, *at);
    }
}

/// Finds the object with the command: its ancestors, each with the place of the child to go on by.
fn find<'n>(node: &'n Node, is_ours: &dyn Fn(&str) -> bool, way: &mut Vec<(&'n Node, usize)>) -> bool {
    if node.get("command").and_then(Node::text).is_some_and(is_ours) {
        return true;
    }
    for (at, child) in children(node).into_iter().enumerate() {
        way.push((node, at));
        if find(child, is_ours, way) {
            return true;
        }
        way.pop();
    }
    false
}

fn children(node: &Node) -> Vec<&Node> {
    match &node.kind {
        Kind::Object(members) => members.iter().map(|member| &member.value).collect(),
        Kind::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    }
}

/// The text without one child of a node.
fn without(text: &str, node: &Node, at: usize) -> String {
    let spans: Vec<Range<usize>> = match &node.kind {
        Kind::Object(members) => members.iter().map(|Member { span, .. }| span.clone()).collect(),
        _ => node.items().iter().map(|item| item.span.clone()).collect(),
    };
    let Some(own) = spans.get(at) else { return text.to_owned() };
    let gone = match (at.checked_sub(1).and_then(|before| spans.get(before)), spans.get(at + 1)) {
        (Some(before), _) => before.end..own.end,
        (None, Some(after)) => own.start..after.start,
        (None, None) => node.span.start + 1..node.span.end.saturating_sub(1),
    };
    replaced(text, gone, "")
}

/// The text with a further child at a node's end.
fn insert(text: &str, node: &Node, depth: usize, child: &str) -> String {
    let unit = unit(text);
    let (inner, outer) = (unit.repeat(depth + 1), unit.repeat(depth));
    let last = match &node.kind {
        Kind::Object(members) => members.last().map(|member| member.span.end),
        _ => node.items().last().map(|item| item.span.end),
    };
    if let Some(end) = last {
        return replaced(text, end..end, &format!(",\n{inner}{child}"));
    }
    let close = node.span.end.saturating_sub(1);
    let within = text.get(node.span.start + 1..close).unwrap_or_default();
    let from = if within.trim().is_empty() { node.span.start + 1 } else { close };
    replaced(text, from..close, &format!("\n{inner}{child}\n{outer}"))
}

fn replaced(text: &str, span: Range<usize>, new: &str) -> String {
    let (before, after) =
        (text.get(..span.start).unwrap_or_default(), text.get(span.end..).unwrap_or_default());
    format!("{before}{new}{after}")
}

/// By what the text is indented.
fn unit(text: &str) -> String {
    let indents = text.lines().filter_map(|line| {
        let indent: String = line.chars().take_while(|letter| matches!(letter, ' ' | '\t')).collect();
        (!indent.is_empty() && indent.len() < line.len()).then_some(indent)
    });
    let first = indents.min_by_key(String::len);
    first.filter(|indent| indent.len() <= 8).unwrap_or_else(|| "  ".to_owned())
}

/// A value over several lines, to stand at this depth.
fn pretty(value: &Value, unit: &str, depth: usize) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(unit.as_bytes());
    let mut writer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // A value that was made of text is written as text.
    let _written = serde::Serialize::serialize(value, &mut writer);
    String::from_utf8(out).unwrap_or_default().replace('\n', &format!("\n{}", unit.repeat(depth)))
}

fn shown(path: &[&str], depth: usize) -> String {
    if depth == 0 {
        "the file".to_owned()
    } else {
        format!("`{}`", path.get(..depth).unwrap_or_default().join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const PATH: [&str; 2] = ["hooks", "PreToolUse"];

    fn ours(command: &str) -> bool {
        command == "askance hook claude"
    }

    fn item() -> Value {
        json!({ "matcher": "*", "hooks": [{ "type": "command", "command": "askance hook claude" }] })
    }

    #[test]
    fn what_stands_there_stays() {
        let text = "{\n\t// mine\n\t\"model\": \"opus\",\n\t\"hooks\": {\n\t\t\"PreToolUse\": [\n\t\t\t{ \"matcher\": \"Bash\", \"hooks\": [] } // first\n\t\t]\n\t}\n}\n";
        let new = add(text, &PATH, &item()).unwrap();
        assert!(
            new.contains("// mine\n\t\"model\": \"opus\"")
                && new.contains("{ \"matcher\": \"Bash\", \"hooks\": [] },\n\t\t\t{\n\t\t\t\t\"hooks\"")
        );
        assert_eq!(read(&new).unwrap().get("hooks").unwrap().get("PreToolUse").unwrap().items().len(), 2);
        let gone = remove_commands(&new, &ours).unwrap();
        assert_eq!(gone, text);
    }

    #[test]
    fn what_is_missing_is_made_and_goes_again() {
        for text in [
            "{}",
            "{\n}\n",
            "{ \"a\": 1 }\n",
            "{\"hooks\":{}}",
            "{\n    \"hooks\": {\n        \"Stop\": [{\"x\": 1}]\n    }\n}",
        ] {
            let new = add(text, &PATH, &item()).unwrap();
            let value: Value = serde_json::from_str(&new).unwrap();
            assert_eq!(value["hooks"]["PreToolUse"], json!([item()]), "{new}");
            let gone = remove_commands(&new, &ours).unwrap();
            let before: Value = serde_json::from_str(text).unwrap();
            let after: Value = serde_json::from_str(&gone).unwrap();
            let bare = |value: &Value| value.get("hooks").is_none_or(|hooks| hooks == &json!({}));
            assert!(after == before || (bare(&after) && bare(&before)), "{text} {gone}");
        }
        for bad in ["[]", "{\"hooks\":[]}", "{\"hooks\":{\"PreToolUse\":{}}}", "{"] {
            assert!(add(bad, &PATH, &item()).is_err(), "{bad}");
        }
    }

    #[test]
    fn members_are_put_in_their_places() {
        let text = "{\"mcpServers\": {\"files\": {\"command\": \"npx\", \"args\": [\"x\"], \"env\": {}}}}";
        let path = ["mcpServers", "files"];
        let new =
            set(text, &path, &[("command", "askance".into()), ("args", json!(["mcp"])), ("x", json!(1))])
                .unwrap();
        let value: Value = serde_json::from_str(&new).unwrap();
        assert_eq!(
            value["mcpServers"]["files"],
            json!({"command": "askance", "args": ["mcp"], "env": {}, "x": 1})
        );
        let back = set(&new, &path, &[("command", "npx".into()), ("args", json!(["x"]))]).unwrap();
        let back = unset(&back, &path, "x").unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&back).unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }

    proptest! {
        #[test]
        fn adding_and_removing_leaves_other_hooks(others in 0..4usize, empty in any::<bool>()) {
            let other: Vec<Value> = (0..others).map(|n| json!({"hooks": [{"command": format!("c{n}")}]})).collect();
            let start = if empty { json!({"a": [1]}) } else { json!({"hooks": {"PreToolUse": other, "Stop": [{"hooks": [{"command": "s"}]}]}}) };
            let text = serde_json::to_string_pretty(&start).unwrap();
            let new = add(&add(&text, &PATH, &item()).unwrap(), &["hooks", "Stop"], &item()).unwrap();
            prop_assert_eq!(new.matches("askance hook").count(), 2);
            let back: Value = serde_json::from_str(&remove_commands(&new, &ours).unwrap()).unwrap();
            if others > 0 && !empty {
                prop_assert_eq!(back, start);
            } else {
                prop_assert!(!back.to_string().contains("askance"));
            }
        }
    }
}
