//! Which clients are on this machine, which of their files a hook goes into, and what goes there. Each fact of a client
//! stands here once.

use crate::adapter::hook::Client;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Seconds after which a client gives its hook up; `askance hook` answers sooner.
const TIMEOUT_S: u64 = 30;

/// A file that is to be changed.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Whose it is, for people.
    pub(super) owner: &'static str,
    /// The file.
    pub(super) path: PathBuf,
    /// What is to be in it.
    pub(super) change: Change,
    /// What to do in the client afterwards; empty: nothing.
    pub(super) then: &'static str,
}

/// What is to be in a file.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A hook.
    Hook {
        /// What the file holds where it is made.
        base: &'static str,
        /// The command, as it stands in every entry.
        command: String,
        /// An entry for each event.
        entries: Vec<(&'static str, Value)>,
    },
    /// A file of ours, where there is none.
    File(&'static str),
    /// A wrapper around each stdio server under `mcpServers`.
    Wrap {
        /// Our program.
        program: String,
        /// Its arguments before the server's name.
        before: Vec<String>,
    },
}

/// A policy under which coding agents can work.
const POLICY: &str = include_str!("coding-agents.yaml");

/// Where to look.
pub(super) struct Machine<'a> {
    /// The user's home directory.
    pub(super) home: &'a Path,
    /// The project.
    pub(super) project: &'a Path,
    /// A variable of the environment.
    pub(super) env: &'a dyn Fn(&str) -> Option<PathBuf>,
    /// Our program.
    pub(super) program: String,
    /// Its arguments that say where the daemon is.
    pub(super) daemon: Vec<String>,
    /// Where a policy for it goes; none: it is somebody else's daemon.
    pub(super) policy: Option<PathBuf>,
}

impl Machine<'_> {
    /// Every place for these clients' hooks, and the MCP configurations that no hook covers.
    pub(super) fn places(&self, wanted: &[Client]) -> Vec<Place> {
        let here: Vec<Client> = Client::ALL.into_iter().filter(|client| self.has(*client)).collect();
        let policy = self.policy.iter().filter(|_| here.iter().any(|client| wanted.contains(client)));
        let policy = policy.map(|path| Place {
            owner: "a policy for coding agents",
            path: path.clone(),
            change: Change::File(POLICY),
            then: "",
        });
        let hooks = here.iter().filter(|client| wanted.contains(client)).map(|client| self.hook(*client));
        let covered = here.contains(&Client::Claude);
        let all = wanted.len() == Client::ALL.len();
        let configurations =
            self.configurations(covered).into_iter().filter(|place| all && place.path.exists());
        hooks.chain(configurations).chain(policy).collect()
    }

    fn dir(&self, variable: &str, usual: &str) -> PathBuf {
        (self.env)(variable).unwrap_or_else(|| self.home.join(usual))
    }

    fn has(&self, client: Client) -> bool {
        let any = |names: &[&str]| names.iter().any(|name| self.home.join(name).exists());
        match client {
            Client::Claude => self.dir("CLAUDE_CONFIG_DIR", ".claude").is_dir() || any(&[".claude.json"]),
            Client::VsCode => {
                any(&[".vscode", ".vscode-server", ".config/Code", "Library/Application Support/Code"])
                    || self.dir("COPILOT_HOME", ".copilot").is_dir()
            }
            Client::Codex => self.dir("CODEX_HOME", ".codex").is_dir(),
            Client::Gemini => any(&[".gemini"]),
            Client::Cursor => any(&[".cursor"]),
        }
    }

    fn command(&self, client: Client) -> String {
        let words = self.daemon.iter().map(String::as_str).chain(["hook", client.name()]);
        std::iter::once(self.program.as_str()).chain(words).map(quoted).collect::<Vec<_>>().join(" ")
    }

    fn hook(&self, client: Client) -> Place {
        let command = self.command(client);
        let (owner, path, base, then) = match client {
            Client::Claude => {
                ("Claude Code", self.dir("CLAUDE_CONFIG_DIR", ".claude").join("settings.json"), "{}\n", "")
            }
            Client::VsCode => (
                "VS Code and Copilot CLI",
                self.dir("COPILOT_HOME", ".copilot").join("hooks/askance.json"),
                "{\n  \"version\": 1\n}\n",
                "",
            ),
            Client::Codex => (
                "Codex",
                self.dir("CODEX_HOME", ".codex").join("hooks.json"),
                "{}\n",
                "Codex runs a hook only once you trust it: start it, type /hooks, and trust askance's",
            ),
            Client::Gemini => ("Gemini CLI", self.home.join(".gemini/settings.json"), "{}\n", ""),
            Client::Cursor => {
                ("Cursor", self.home.join(".cursor/hooks.json"), "{\n  \"version\": 1\n}\n", "")
            }
        };
        let entries = entries(client, &command);
        Place { owner, path, change: Change::Hook { base, command, entries }, then }
    }

    /// Configurations of clients that have no hooks; the project's is read by Claude Code, whose hook covers it.
    fn configurations(&self, covered: bool) -> Vec<Place> {
        let desktop = [".config/Claude", "Library/Application Support/Claude"];
        let desktop =
            desktop.map(|dir| ("Claude Desktop", self.home.join(dir).join("claude_desktop_config.json")));
        let project = (!covered).then(|| ("this project", self.project.join(".mcp.json")));
        let change = Change::Wrap {
            program: self.program.clone(),
            before: self
                .daemon
                .iter()
                .map(String::as_str)
                .chain(["mcp", "wrap"])
                .map(str::to_owned)
                .collect(),
        };
        let all = desktop.into_iter().chain(project);
        all.map(|(owner, path)| Place { owner, path, change: change.clone(), then: "" }).collect()
    }
}

/// The entries of a client's hook, each for one event.
fn entries(client: Client, command: &str) -> Vec<(&'static str, Value)> {
    let handler = json!({ "type": "command", "command": command, "timeout": TIMEOUT_S });
    let with = |key: &str, value: Value| {
        let mut handler = handler.clone();
        if let Some(fields) = handler.as_object_mut() {
            fields.insert(key.to_owned(), value);
        }
        handler
    };
    let group = |handler: Value| json!({ "hooks": [handler] });
    let each = |events: &[&'static str], entry: &Value| -> Vec<(&'static str, Value)> {
        events.iter().map(|event| (*event, entry.clone())).collect()
    };
    match client {
        Client::Claude => {
            // Without it a hook that crashes or is late lets the call run. Since 2.1.295.
            let first = ("PreToolUse", group(with("onFailure", "block".into())));
            let rest = ["PostToolUse", "PostToolUseFailure", "UserPromptSubmit", "SessionEnd"];
            std::iter::once(first).chain(each(&rest, &group(handler.clone()))).collect()
        }
        Client::VsCode => each(
            &["PreToolUse", "PostToolUse", "PostToolUseFailure", "UserPromptSubmit", "SessionEnd"],
            &handler,
        ),
        Client::Codex => each(&["PreToolUse", "PostToolUse", "UserPromptSubmit"], &group(handler.clone())),
        Client::Gemini => {
            let mut handler = with("timeout", (TIMEOUT_S * 1_000).into());
            if let Some(fields) = handler.as_object_mut() {
                fields.insert("name".to_owned(), "askance".into());
            }
            each(&["BeforeTool", "AfterTool", "BeforeAgent", "SessionEnd"], &group(handler))
        }
        Client::Cursor => {
            let first = ("preToolUse", with("failClosed", true.into()));
            let rest = ["postToolUse", "postToolUseFailure", "beforeSubmitPrompt", "sessionEnd"];
            std::iter::once(first).chain(each(&rest, &handler)).collect()
        }
    }
}

/// A word as a shell takes it for one.
pub(super) fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-:=@%+,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell() {
        assert_eq!(quoted("/usr/bin/askance"), "/usr/bin/askance");
        assert_eq!(quoted("/home/ann b/it's"), r"'/home/ann b/it'\''s'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
        assert_eq!(quoted(""), "''");
    }
}
