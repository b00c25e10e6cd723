//! YAML text to a tree in which every part knows its line and column.
//!
//! Refused: more than one document, anchors and aliases, tags, keys that stand twice. Bounds:
//! [`TEXT_BYTES_MAX`], [`NODES_MAX`], [`DEPTH_MAX`].

use super::fault::Fault;
use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};

/// Longest policy text, bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Most parts (texts, lists and maps together).
pub(super) const NODES_MAX: usize = 400_000;
/// Deepest nesting, levels.
pub(super) const DEPTH_MAX: usize = 24;

/// A part of a document.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Line, from 1.
    pub(super) line: u32,
    /// Column in characters, from 1.
    pub(super) column: u32,
    pub(super) value: Value,
}

/// What a part is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A text, and whether it was written in quotes or as a block.
    Scalar(String, bool),
    List(Vec<Node>),
    /// Key and value in the order of the file.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// A fault at this place.
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::error(self.line, self.column, message)
    }

    /// Whether nothing is written there.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(text, false) if text.is_empty() || text == "~" || text == "null")
    }
}

/// Reads a text; the error is the first place where it is no acceptable YAML.
pub(super) fn read(text: &str) -> Result<Node, Fault> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the text is {} bytes long, at most {TEXT_BYTES_MAX}", text.len());
        return Err(Fault::error(1, 1, message));
    }
    let mut builder = Builder { events: Parser::new_from_str(text), nodes: 0, depth: 0 };
    let mut root = None;
    let mut documents = 0;
    while let Some((event, span)) = builder.next()? {
        match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    let (line, column) = place(&span);
                    return Err(Fault::error(line, column, "a policy is one document"));
                }
            }
            event if event.is_node() => root = Some(builder.node(&event, &span)?),
            _ => {}
        }
    }
    let root: Option<Node> = root.filter(|root: &Node| !root.is_null());
    root.ok_or_else(|| Fault::error(1, 1, "the file is empty; it needs at least `version: 1`"))
}

fn place(span: &Span) -> (u32, u32) {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    (number(span.start.line()), number(span.start.col() + 1))
}

struct Builder<'t> {
    events: Parser<'t, StrInput<'t>>,
    nodes: usize,
    depth: usize,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Fault> {
        match self.events.next() {
            None => Ok(None),
            Some(Ok(next)) => Ok(Some(next)),
            Some(Err(fault)) => {
                let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
                let mark = fault.marker();
                let message = format!("not YAML: {}", fault.info());
                Err(Fault::error(number(mark.line()), number(mark.col() + 1), message))
            }
        }
    }

    fn node(&mut self, event: &Event<'t>, span: &Span) -> Result<Node, Fault> {
        let (line, column) = place(span);
        let refuse = |message: String| Err(Fault::error(line, column, message));
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return refuse(format!("more than {NODES_MAX} parts"));
        }
        if event.tag().is_some() {
            return refuse("tags such as `!x` are not read here".to_owned());
        }
        if event.anchor_id().is_some() || !matches!(event, Event::Scalar(..)) && event.is_alias() {
            return refuse("anchors and aliases (`&x`, `*x`) are not read here; write it out".to_owned());
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return refuse(format!("nested deeper than {DEPTH_MAX} levels"));
        }
        let value = match event {
            Event::Scalar(text, style, ..) => Value::Scalar(text.to_string(), *style != ScalarStyle::Plain),
            Event::SequenceStart(..) => self.list()?,
            _ => self.map()?,
        };
        self.depth -= 1;
        Ok(Node { line, column, value })
    }

    fn list(&mut self) -> Result<Value, Fault> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            if event.is_node() {
                items.push(self.node(&event, &span)?);
            }
        }
        Ok(Value::List(items))
    }

    fn map(&mut self) -> Result<Value, Fault> {
        let mut fields: Vec<(Node, Node)> = Vec::new();
        let mut key = None;
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            if !event.is_node() {
                continue;
            }
            let node = self.node(&event, &span)?;
            match key.take() {
                None => key = Some(node),
                Some(key) => fields.push((key, node)),
            }
        }
        Ok(Value::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_knows_its_place() {
        let root = read("# a policy\nversion: 1\nrules:\n  - {id: a, tool: \"x\"}\n").unwrap();
        let Value::Map(fields) = &root.value else { panic!("no map") };
        assert_eq!((fields[0].0.line, fields[0].0.column, fields[0].1.column), (2, 1, 10));
        let Value::List(rules) = &fields[1].1.value else { panic!("no list") };
        let Value::Map(rule) = &rules[0].value else { panic!("no map") };
        assert_eq!((rule[1].1.line, rule[1].1.column), (4, 19));
        assert!(matches!(&rule[1].1.value, Value::Scalar(text, true) if text == "x"));
    }

    #[test]
    fn what_is_not_read() {
        let check = |text: &str, part: &str, place: (u32, u32)| {
            let fault = read(text).unwrap_err();
            assert!(fault.message.contains(part), "{text}: {fault:?}");
            assert_eq!((fault.line, fault.column), place, "{text}: {fault:?}");
        };
        check("", "empty", (1, 1));
        check("# nothing\n", "empty", (1, 1));
        check("a: &x 1\nb: *x\n", "anchors", (1, 7));
        check("a: !!int 1\n", "tags", (1, 10));
        check("a: 1\n---\nb: 2\n", "one document", (2, 1));
        check("a: [1, 2\nb: 3\n", "not YAML", (2, 2));
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        check(&deep, "nested deeper", (1, 25));
        check(&"x".repeat(TEXT_BYTES_MAX + 1), "at most 1048576", (1, 1));
    }
}
