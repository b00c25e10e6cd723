//! Compiled schemas of registered tools, read from the log when a tool is first called: a memo that may be
//! forgotten at any time.

use super::query::event_at;
use crate::domain::event::Event;
use crate::domain::position::Position;
use crate::eventlog::Log;
use crate::policy::Schema;
use crate::projection::Tool;
use hashbrown::HashMap;

/// Schemas kept before the memo starts afresh.
const SCHEMAS_MAX: usize = 2_048;

/// The memo, by the position of the definition.
#[derive(Debug, Default)]
pub(super) struct Schemas(HashMap<Position, Schema>);

impl Schemas {
    /// Where and how a tool's arguments do not match its schema; empty: they do.
    pub(super) fn fault(&mut self, log: &Log, tool: &Tool, arguments: &[u8]) -> String {
        if self.0.len() >= SCHEMAS_MAX {
            self.0.clear();
        }
        let schema = self.0.entry(tool.defined_at).or_insert_with(|| {
            // A definition that is on its way to the disk cannot be read yet; `note` has put it here.
            match event_at(log, tool.defined_at).map(|found| found.record.event) {
                Ok(Event::ToolDefined(defined)) => Schema::new(&defined.input_schema),
                _ => Schema::new(b""),
            }
        });
        schema.fault(arguments)
    }

    /// Takes up a definition that was just recorded.
    pub(super) fn note(&mut self, position: Position, event: &Event) {
        if let Event::ToolDefined(defined) = event {
            self.0.insert(position, Schema::new(&defined.input_schema));
        }
    }
}
