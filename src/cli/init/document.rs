//! A JSON text with the places of its values, so that it can be changed without being written anew. Pure.
//!
//! Comments and commas before a closing bracket are let pass: some clients allow them in their settings.

use std::ops::Range;

/// Levels of nesting.
const DEPTH_MAX: usize = 64;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// From its first byte to behind its last.
    pub(super) span: Range<usize>,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// An object.
    Object(Vec<Member>),
    /// An array.
    Array(Vec<Node>),
    /// A text.
    Text(String),
    /// A number, true, false or null.
    Other,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    /// The key.
    pub(super) key: String,
    /// From the key's first byte to behind the value.
    pub(super) span: Range<usize>,
    /// The value.
    pub(super) value: Node,
}

impl Node {
    /// The members of an object; none of anything else.
    pub(super) fn members(&self) -> &[Member] {
        if let Kind::Object(members) = &self.kind { members } else { &[] }
    }

    /// The items of an array; none of anything else.
    pub(super) fn items(&self) -> &[Self] {
        if let Kind::Array(items) = &self.kind { items } else { &[] }
    }

    /// A member's value.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.members().iter().find(|member| member.key == key).map(|member| &member.value)
    }

    /// A text.
    pub(super) fn text(&self) -> Option<&str> {
        if let Kind::Text(text) = &self.kind { Some(text) } else { None }
    }
}

/// Reads a text; an error says what is wrong in which line.
pub(super) fn read(text: &str) -> Result<Node, String> {
    let mut reader = Reader { text, at: 0 };
    // A mark that some editors put in front.
    if text.starts_with('\u{feff}') {
        reader.at = '\u{feff}'.len_utf8();
    }
    let node = reader.value(0)?;
    reader.space()?;
    if reader.at < text.len() { Err(reader.wrong("something follows its end")) } else { Ok(node) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, what: &str) -> String {
        let line = self.text.get(..self.at).unwrap_or_default().matches('\n').count() + 1;
        format!("line {line}: {what}")
    }

    fn space(&mut self) -> Result<(), String> {
        loop {
            let trimmed = self.rest().trim_start_matches([' ', '\t', '\r', '\n']);
            self.at = self.text.len() - trimmed.len();
            let end = if trimmed.starts_with("//") {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else if trimmed.starts_with("/*") {
                trimmed.find("*/").map(|end| end + 2).ok_or_else(|| self.wrong("a comment does not end"))?
            } else {
                return Ok(());
            };
            self.at += end;
        }
    }

    fn takes(&mut self, letter: char) -> bool {
        let found = self.rest().starts_with(letter);
        if found {
            self.at += letter.len_utf8();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Node, String> {
        self.space()?;
        if depth > DEPTH_MAX {
            return Err(self.wrong("it is nested too deeply"));
        }
        let start = self.at;
        let kind = match self.rest().chars().next() {
            Some('{') => self.object(depth)?,
            Some('[') => self.array(depth)?,
            Some('"') => Kind::Text(self.string()?),
            _ => self.other()?,
        };
        Ok(Node { span: start..self.at, kind })
    }

    fn object(&mut self, depth: usize) -> Result<Kind, String> {
        let mut members: Vec<Member> = Vec::new();
        self.takes('{');
        loop {
            self.space()?;
            if self.takes('}') {
                return Ok(Kind::Object(members));
            }
            let start = self.at;
            let key = self.string()?;
            if members.iter().any(|member| member.key == key) {
                return Err(self.wrong(&format!("the key `{key}` stands there twice")));
            }
            self.space()?;
            if !self.takes(':') {
                return Err(self.wrong("a colon is missing"));
            }
            let value = self.value(depth + 1)?;
            members.push(Member { key, span: start..self.at, value });
            self.space()?;
            if !self.takes(',') && !self.rest().starts_with('}') {
                return Err(self.wrong("a comma or `}` is missing"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Kind, String> {
        let mut items = Vec::new();
        self.takes('[');
        loop {
            self.space()?;
            if self.takes(']') {
                return Ok(Kind::Array(items));
            }
            items.push(self.value(depth + 1)?);
            self.space()?;
            if !self.takes(',') && !self.rest().starts_with(']') {
                return Err(self.wrong("a comma or `]` is missing"));
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let rest = self.rest();
        if !rest.starts_with('"') {
            return Err(self.wrong("a text in quotes is missing"));
        }
        let mut escaped = false;
        let end = rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let end = end.ok_or_else(|| self.wrong("a text does not end"))? + 2;
        let read = serde_json::from_str(rest.get(..end).unwrap_or_default());
        let text = read.map_err(|_| self.wrong("a text holds what no text may"))?;
        self.at += end;
        Ok(text)
    }

    fn other(&mut self) -> Result<Kind, String> {
        let rest = self.rest();
        let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || "+-.".contains(letter)));
        let word = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if word.is_empty() || serde_json::from_str::<serde_json::Value>(word).is_err() {
            return Err(self.wrong("a value is missing"));
        }
        self.at += word.len();
        Ok(Kind::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_of_values() {
        let text = "\u{feff}{ // settings\n  \"a\": [1, {\"b\\\"\": \"c\"},], /* x */ \"d\": {} }\n";
        let node = read(text).unwrap();
        let array = node.get("a").unwrap();
        assert_eq!(&text[array.span.clone()], "[1, {\"b\\\"\": \"c\"},]");
        assert_eq!(array.items()[1].get("b\"").and_then(Node::text), Some("c"));
        assert_eq!(&text[node.members()[1].span.clone()], "\"d\": {}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, what) in [
            ("{\n\"a\": }", "line 2: a value"),
            ("{\"a\":1,\n\"a\":2}", "twice"),
            ("{\"a\" 1}", "colon"),
            ("{\"a\":1 \"b\":2}", "comma"),
            ("", "value"),
            ("{} x", "follows"),
            ("{\"a\":\"b}", "does not end"),
            ("{/* ", "comment"),
            ("{\"a\":\"\n\"}", "no text may"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(what), "{text}: {found}");
        }
        assert!(read(&"[".repeat(100)).unwrap_err().contains("deeply"));
    }

    proptest! {
        #[test]
        fn what_serde_reads_is_read_alike(text in "[\\[\\]{}:,\"a1 tfnul.\\\\-]{0,40}") {
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
                // Twice the same key is the one thing that we do not take.
                match read(&text) {
                    Ok(node) => prop_assert_eq!(value.is_object(), matches!(node.kind, Kind::Object(_))),
                    Err(why) => prop_assert!(why.contains("twice"), "{}: {}", text, why),
                }
            }
        }
    }
}
