//! A file's text with what is to be in it, and without it. Pure.

use super::document::read;
use super::edit::{add, remove_commands, set, unset};
use super::places::Change;
use serde_json::{Value, json};

/// The text with the change in it; the same text if it is in it already.
pub(super) fn put(text: &str, change: &Change) -> Result<String, String> {
    let new = match change {
        Change::Hook { base, command, entries } => {
            let bare = text.trim().is_empty();
            let start = if bare { base } else { text };
            if !bare && is_in(start, entries)? {
                return Ok(text.to_owned());
            }
            // What was put in before, by another version of us.
            let cleared = remove_commands(start, &of_us(command))?;
            entries.iter().try_fold(cleared, |text, (event, entry)| add(&text, &["hooks", event], entry))?
        }
        Change::Wrap { program, before } => wrapped(text, program, before)?,
        // Whatever stands there is its owner's.
        Change::File(whole) => {
            return Ok(if text.is_empty() { (*whole).to_owned() } else { text.to_owned() });
        }
    };
    // Whatever we write must read as it should.
    read(&new).map(|_| new)
}

/// The text without the change, whatever else was changed in it since.
pub(super) fn take_out(text: &str, change: &Change) -> Result<String, String> {
    match change {
        Change::Hook { command, .. } => remove_commands(text, &of_us(command)),
        Change::Wrap { program, before } => unwrapped(text, program, before),
        Change::File(_) => Err("it was changed since, and it is yours now".to_owned()),
    }
}

/// Whether a command is this one, or the same hook with other flags.
fn of_us(command: &str) -> impl Fn(&str) -> bool + '_ {
    let client = command.rsplit_once(" hook ").map_or("", |(_, client)| client);
    let end = format!(" hook {client}");
    move |other| other == command || (other.contains("askance") && other.ends_with(&end))
}

fn is_in(text: &str, entries: &[(&'static str, Value)]) -> Result<bool, String> {
    let root = read(text)?;
    let hooks = root.get("hooks");
    Ok(entries.iter().all(|(event, entry)| {
        let items = hooks.and_then(|hooks| hooks.get(event)).map(|array| array.items()).unwrap_or_default();
        let values = items.iter().filter_map(|item| text.get(item.span.clone()));
        values.filter_map(|value| serde_json::from_str::<Value>(value).ok()).any(|value| value == *entry)
    }))
}

/// A stdio server of an MCP configuration.
struct Server {
    name: String,
    command: String,
    args: Vec<String>,
}

fn servers(text: &str) -> Result<Vec<Server>, String> {
    let root = read(text)?;
    let members = root.get("mcpServers").map(|servers| servers.members()).unwrap_or_default();
    Ok(members
        .iter()
        .filter_map(|member| {
            let command = member.value.get("command")?.text()?.to_owned();
            let args = member.value.get("args").map(|args| args.items()).unwrap_or_default();
            let args = args.iter().map(|arg| arg.text().map(str::to_owned)).collect::<Option<_>>()?;
            Some(Server { name: member.key.clone(), command, args })
        })
        .collect())
}

fn wrapped(text: &str, program: &str, before: &[String]) -> Result<String, String> {
    let mut text = text.to_owned();
    for server in servers(&text)? {
        if ours(&server, program, before).is_some() {
            continue;
        }
        let own = ["--name", &server.name, "--", &server.command].map(str::to_owned);
        let args = [before, &own[..], &server.args[..]].concat();
        text =
            set(&text, &["mcpServers", &server.name], &[("command", program.into()), ("args", json!(args))])?;
    }
    Ok(text)
}

fn unwrapped(text: &str, program: &str, before: &[String]) -> Result<String, String> {
    let mut text = text.to_owned();
    for server in servers(&text)? {
        let Some((command, args)) = ours(&server, program, before) else { continue };
        let path = ["mcpServers", server.name.as_str()];
        text = set(&text, &path, &[("command", command.into()), ("args", json!(args))])?;
        if args.is_empty() {
            text = unset(&text, &path, "args")?;
        }
    }
    Ok(text)
}

/// The command and arguments that we stand before.
fn ours(server: &Server, program: &str, before: &[String]) -> Option<(String, Vec<String>)> {
    let rest = server.args.strip_prefix(before).filter(|_| server.command == program)?;
    let (_, behind) = rest.split_at(rest.iter().position(|arg| arg == "--")? + 1);
    let (command, args) = behind.split_first()?;
    Some((command.clone(), args.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_wrapped_once_and_unwrapped() {
        let change = Change::Wrap {
            program: "/bin/askance".to_owned(),
            before: vec!["mcp".to_owned(), "wrap".to_owned()],
        };
        let text = r#"{"mcpServers": {"a": {"command": "npx", "args": ["-y", "x"]}, "b": {"command": "b", "env": {"K": "v"}}, "c": {"url": "https://c.example/mcp"}}}"#;
        let new = put(text, &change).unwrap();
        let value: Value = serde_json::from_str(&new).unwrap();
        assert_eq!(
            value["mcpServers"]["a"],
            json!({"command": "/bin/askance", "args": ["mcp", "wrap", "--name", "a", "--", "npx", "-y", "x"]})
        );
        assert_eq!(value["mcpServers"]["b"]["args"], json!(["mcp", "wrap", "--name", "b", "--", "b"]));
        assert_eq!(value["mcpServers"]["c"], json!({"url": "https://c.example/mcp"}));
        assert_eq!(put(&new, &change).unwrap(), new);
        let back: Value = serde_json::from_str(&take_out(&new, &change).unwrap()).unwrap();
        assert_eq!(back, serde_json::from_str::<Value>(text).unwrap());
    }
}
