//! Names of tools and servers, each kept once for a tenant: trails of thousands of sessions share them.
//!
//! Memory only: what is shared changes nothing that is decided, is in no snapshot and in no comparison. Bounded:
//! [`NAMES_MAX`] names; where all of them are in use, a further one is its trail's own.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes kept of a tool's and of a server's name.
pub(super) const NAME_BYTES_MAX: usize = 96;
/// Names of a tenant that are shared.
const NAMES_MAX: usize = 4_096;
/// Names that found no place before those are looked through again that nobody uses any more.
const REFUSED_MAX: u32 = 1_024;

/// The MCP server's name and the tool's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// One behind the other.
    text: Box<str>,
    server_bytes: u8,
}

impl Name {
    /// Of names clipped to [`NAME_BYTES_MAX`].
    pub(super) fn new(server: &str, tool: &str) -> Self {
        let (server, tool) = (clip(server), clip(tool));
        Self { text: [server, tool].concat().into(), server_bytes: server.len() as u8 }
    }

    /// MCP server.
    pub fn server(&self) -> &str {
        self.text.get(..self.server_bytes.into()).unwrap_or("")
    }

    /// Tool name.
    pub fn tool(&self) -> &str {
        self.text.get(self.server_bytes.into()..).unwrap_or("")
    }

    fn is(&self, server: &str, tool: &str) -> bool {
        self.server() == clip(server) && self.tool() == clip(tool)
    }
}

fn clip(name: &str) -> &str {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or("")
}

/// Names of a tenant, by the tool's hash.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    known: BTreeMap<u64, Arc<Name>>,
    refused: u32,
}

impl PartialEq for Names {
    /// What is shared is no difference.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Names {
    /// The name of the tool of this hash.
    pub(super) fn name(&mut self, tool_hash: u64, server: &str, tool: &str) -> Arc<Name> {
        match self.known.get(&tool_hash) {
            Some(known) if known.is(server, tool) => Arc::clone(known),
            Some(_) => Arc::new(Name::new(server, tool)),
            None => self.keep(tool_hash, Arc::new(Name::new(server, tool))),
        }
    }

    /// The name that is shared in this one's place; from now on this one, if there was none.
    pub(super) fn share(&mut self, tool_hash: u64, name: &Arc<Name>) -> Arc<Name> {
        match self.known.get(&tool_hash) {
            Some(known) if known == name => Arc::clone(known),
            Some(_) => Arc::clone(name),
            None => self.keep(tool_hash, Arc::clone(name)),
        }
    }

    fn keep(&mut self, tool_hash: u64, name: Arc<Name>) -> Arc<Name> {
        if self.known.len() >= NAMES_MAX {
            if self.refused == 0 {
                self.known.retain(|_, known| Arc::strong_count(known) > 1);
            }
            if self.known.len() >= NAMES_MAX {
                self.refused = (self.refused + 1) % REFUSED_MAX;
                return name;
            }
        }
        self.refused = 0;
        self.known.insert(tool_hash, Arc::clone(&name));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shared_and_bounded() {
        let mut names = Names::default();
        let first = names.name(0, "s", "t");
        assert!(Arc::ptr_eq(&first, &names.name(0, "s", "t")));
        assert_eq!((first.server(), first.tool()), ("s", "t"));
        // Another tool of the same hash is not taken for it.
        assert_eq!(names.name(0, "st", "").tool(), "");
        let held: Vec<_> = (1..6_000).map(|hash| names.name(hash, "s", &format!("tool {hash}"))).collect();
        assert_eq!((names.known.len(), held[5_500].tool()), (NAMES_MAX, "tool 5501"));
        drop(held);
        (0..REFUSED_MAX).for_each(|number| drop(names.name(10_000 + u64::from(number), "s", "t")));
        assert!(names.known.len() < NAMES_MAX, "{}", names.known.len());
        assert!(Arc::ptr_eq(&first, &names.name(0, "s", "t")));
    }

    #[test]
    fn long_names_are_clipped_between_letters() {
        let name = Name::new(&"é".repeat(100), &"x".repeat(200));
        assert_eq!((name.server().len(), name.tool().len()), (96, 96));
        assert_eq!(Name::new(&format!("x{}", "é".repeat(100)), "").server().len(), 95);
    }
}
