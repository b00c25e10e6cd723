//! Tools of a tenant: definitions, and when each was first seen.

use crate::domain::call::CallFeatures;
use crate::domain::call::Digest;
use crate::domain::event::{ToolAccepted, ToolDefined};
use crate::domain::position::Position;
use crate::domain::risk::{Capabilities, RiskCategory};
use crate::stats::fingerprint::FingerprintKey;
use crate::stats::table::{SetTable, Weigh};
use crate::stats::words::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tools remembered a tenant. A flood of invented names cannot push out tools seen more than once.
pub(super) const TOOLS_MAX: usize = 4_096;

/// A tool with a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// MCP server.
    pub server: String,
    /// Tool name.
    pub tool: String,
    /// SHA-256 of the latest definition.
    pub definition_hash: Digest,
    /// Whether the definition changed since it was first seen and nobody accepted the change.
    pub changed: bool,
    /// Base category inferred from the definition.
    pub category: RiskCategory,
    /// Capabilities inferred from the definition.
    pub capabilities: Capabilities,
    /// Position of the latest `ToolDefined`.
    pub defined_at: Position,
    /// Words of name and description, see `stats::words`; sorted, at most [`WORDS_MAX`].
    pub words: Vec<u32>,
    /// Position of the `ToolDefined` that is accepted: the first one, or one that a person looked at.
    pub accepted_at: Position,
}

impl Weigh for Tool {
    /// The longest known is kept longest.
    fn weight(&self) -> u64 {
        u64::MAX - self.defined_at.get()
    }
}

/// All registered tools of a tenant, by the hash of server and tool name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    tools: SetTable<Tool>,
    /// In how many tools' words each word is.
    words: BTreeMap<u32, u32>,
}

/// Words of a tool's name and description.
const WORDS_MAX: usize = 48;
/// Different words of all tools; further ones count as in none.
const VOCABULARY_MAX: usize = 16_384;

impl Default for Inventory {
    fn default() -> Self {
        Self { tools: SetTable::new(TOOLS_MAX), words: BTreeMap::new() }
    }
}

impl Inventory {
    /// The tool of this hash, if it was registered.
    pub fn get(&self, tool: u64) -> Option<&Tool> {
        self.tools.get(tool)
    }

    /// All tools, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Tool)> {
        self.tools.iter()
    }

    /// Registered tools.
    pub fn len(&self) -> usize {
        self.tools.len()
    }

    /// Whether none is registered.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// Tools that were evicted or found no place.
    pub fn refused(&self) -> u64 {
        self.tools.evictions() + self.tools.refusals()
    }

    /// Words of a call's tool with their rarity among all tools, thousandths.
    pub fn words(&self, features: &CallFeatures) -> Vec<(u32, u32)> {
        let own = self.tools.get(features.tool).map_or(&features.words.tool, |tool| &tool.words);
        let tools = self.tools.len() as f64;
        let rarity = |word: &u32| {
            let with = self.words.get(word).copied().unwrap_or(0);
            let idf = libm::log(tools.max(1.0) / (1.0 + f64::from(with)).min(tools.max(1.0)));
            (*word, (idf * 1_000.0) as u32 + 10)
        };
        own.iter().map(rarity).collect()
    }

    fn note_words(&mut self, key: u64, words: Vec<u32>) {
        let Some(tool) = self.tools.get_mut(key) else { return };
        let before = std::mem::replace(&mut tool.words, words);
        for word in &before {
            if let Some(with) = self.words.get_mut(word) {
                *with = with.saturating_sub(1);
            }
        }
        for word in &tool.words {
            if self.words.len() < VOCABULARY_MAX || self.words.contains_key(word) {
                *self.words.entry(*word).or_default() += 1;
            }
        }
    }

    pub(super) fn define(
        &mut self,
        key: u64,
        event: &ToolDefined,
        words_key: &FingerprintKey,
        position: Position,
    ) {
        let make = || Tool {
            server: event.server.clone(),
            tool: event.tool.clone(),
            definition_hash: event.definition_hash,
            changed: false,
            category: event.category,
            capabilities: event.capabilities,
            defined_at: position,
            words: Vec::new(),
            accepted_at: position,
        };
        let Some(tool) = self.tools.entry(key, make) else { return };
        tool.changed |= event.previous_hash.is_some();
        tool.definition_hash = event.definition_hash;
        // A changed definition may raise what is known of a tool, never lower it, until it is accepted.
        tool.category = tool.category.max(event.category);
        tool.capabilities = tool.capabilities.with(event.capabilities);
        tool.defined_at = position;
        let mut found = words(&event.tool, words_key, WORDS_MAX);
        found.extend(words(&event.description, words_key, WORDS_MAX));
        found.sort_unstable();
        found.dedup();
        found.truncate(WORDS_MAX);
        self.note_words(key, found);
    }

    /// Accepts the definition that is known now; another one changes nothing.
    pub(super) fn accept(&mut self, key: u64, event: &ToolAccepted) {
        let Some(tool) = self.tools.get_mut(key) else { return };
        if tool.definition_hash == event.definition_hash {
            tool.changed = false;
            tool.category = event.category;
            tool.capabilities = event.capabilities;
            tool.accepted_at = tool.defined_at;
        }
    }
}
