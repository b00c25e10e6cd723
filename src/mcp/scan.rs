//! What a server's message says, read while its bytes pass: id, whether it is an error, the text the model will
//! see. Nothing is built, so that a result of any size costs the same few kilobytes.
//!
//! Forgiving where [`super::peek`] is strict: what a server says is passed on anyhow, and what is no JSON says
//! nothing.

use super::peek::{ID_BYTES_MAX, Id};
use crate::domain::call::limits::RESULT_BYTES_MAX;

/// Levels of nesting whose keys are followed; everything of interest lies above.
const LEVELS_MAX: usize = 8;
/// Bytes of a key that are kept; no key of interest is as long.
const KEY_BYTES_MAX: usize = 64;
/// Bytes of a server's name that are kept.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of an error's message that are kept.
const ERROR_BYTES_MAX: usize = 16 * 1024;

/// What was found in a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub id: Option<Id>,
    /// Whether it is a request or notification.
    pub has_method: bool,
    /// Whether it has a result.
    pub has_result: bool,
    /// Whether it has an error of the protocol.
    pub has_error: bool,
    /// Whether its result says that the tool failed.
    pub is_error: bool,
    /// Type of its result; empty: none is told.
    pub result_type: String,
    /// The texts of the result, one below the other, at most [`RESULT_BYTES_MAX`] bytes.
    pub text: String,
    /// The error's message.
    pub error: String,
    /// The server's name for itself.
    pub server: String,
}

impl Found {
    /// Whether it answers a request.
    pub const fn is_answer(&self) -> bool {
        !self.has_method && (self.has_result || self.has_error)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Id,
    Method,
    Result,
    Error,
    Message,
    IsError,
    Content,
    Text,
    Resource,
    ServerInfo,
    Own,
    Meta,
    ResultType,
    Other,
}

impl Name {
    fn of(key: &[u8]) -> Self {
        match key {
            b"id" => Self::Id,
            b"method" => Self::Method,
            b"result" => Self::Result,
            b"error" => Self::Error,
            b"message" => Self::Message,
            b"isError" => Self::IsError,
            b"content" => Self::Content,
            b"text" => Self::Text,
            b"resource" => Self::Resource,
            b"serverInfo" | b"io.modelcontextprotocol/serverInfo" => Self::ServerInfo,
            b"name" => Self::Own,
            b"_meta" => Self::Meta,
            b"resultType" => Self::ResultType,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Level {
    is_object: bool,
    awaits_key: bool,
    key: Name,
}

/// Where a value's bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Into {
    Nothing,
    Key,
    Id,
    IsError,
    ResultType,
    Text,
    Error,
    Server,
}

impl Into {
    const fn most(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Key | Self::IsError | Self::ResultType => KEY_BYTES_MAX,
            Self::Id => ID_BYTES_MAX,
            Self::Text => RESULT_BYTES_MAX,
            Self::Error => ERROR_BYTES_MAX,
            Self::Server => NAME_BYTES_MAX,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Between,
    String(Into),
    Escape(Into),
    /// Four hex digits: how many came, and their number.
    Unicode(Into, u8, u32),
    Scalar(Into),
}

/// Reads one message as it passes.
#[derive(Debug)]
pub struct Scan {
    mode: Mode,
    levels: Vec<Level>,
    /// Levels below those that are followed.
    deeper: usize,
    /// Bytes of the string or scalar at hand.
    kept: Vec<u8>,
    /// The first half of a surrogate pair.
    high: u32,
    text: Vec<u8>,
    found: Found,
}

impl Default for Scan {
    fn default() -> Self {
        Self {
            mode: Mode::Between,
            levels: Vec::with_capacity(LEVELS_MAX),
            deeper: 0,
            kept: Vec::new(),
            high: 0,
            text: Vec::new(),
            found: Found::default(),
        }
    }
}

impl Scan {
    /// Takes the next bytes of the message.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.mode {
                Mode::String(into) => {
                    let end = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'));
                    let (run, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    self.keep(into, run);
                    bytes = rest;
                    if let Some((&byte, rest)) = rest.split_first() {
                        bytes = rest;
                        if byte == b'"' {
                            self.mode = Mode::Between;
                            self.string_ends(into);
                        } else {
                            self.mode = Mode::Escape(into);
                        }
                    }
                    continue;
                }
                Mode::Escape(into) => self.escape(into, byte),
                Mode::Unicode(into, digits, number) => self.unicode(into, digits, number, byte),
                Mode::Scalar(into) => {
                    if matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n') {
                        self.mode = Mode::Between;
                        self.scalar_ends(into);
                        self.between(byte);
                    } else {
                        self.keep(into, &[byte]);
                    }
                }
                Mode::Between => self.between(byte),
            }
            bytes = rest;
        }
    }

    /// The message's id, if it has come.
    pub const fn id(&self) -> Option<&Id> {
        self.found.id.as_ref()
    }

    /// What the message said.
    pub fn finish(mut self) -> Found {
        if let Mode::Scalar(into) = self.mode {
            self.scalar_ends(into);
        }
        let mut text = self.text;
        // The last letter may have been cut.
        if let Err(fault) = std::str::from_utf8(&text)
            && fault.error_len().is_none()
        {
            text.truncate(fault.valid_up_to());
        }
        self.found.text = String::from_utf8(text)
            .unwrap_or_else(|fault| String::from_utf8_lossy(fault.as_bytes()).into_owned());
        let cut = self.found.text.floor_char_boundary(RESULT_BYTES_MAX);
        self.found.text.truncate(cut);
        self.found
    }

    fn between(&mut self, byte: u8) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b':' => {}
            b'{' | b'[' => self.open(byte == b'{'),
            b'}' | b']' if self.deeper > 0 => self.deeper -= 1,
            b'}' | b']' => {
                self.levels.pop();
            }
            b',' => {
                if self.deeper == 0
                    && let Some(level) = self.levels.last_mut()
                {
                    level.awaits_key = level.is_object;
                }
            }
            b'"' => {
                let is_key = self.deeper == 0 && self.levels.last().is_some_and(|level| level.awaits_key);
                let into = if is_key { Into::Key } else { self.aim() };
                self.begin(into);
                self.mode = Mode::String(into);
            }
            other => {
                let into = self.aim();
                self.begin(into);
                self.mode = Mode::Scalar(into);
                self.keep(into, &[other]);
            }
        }
    }

    fn open(&mut self, is_object: bool) {
        if self.deeper > 0 || self.levels.len() == LEVELS_MAX {
            self.deeper += 1;
        } else {
            self.levels.push(Level { is_object, awaits_key: is_object, key: Name::Other });
        }
    }

    /// Where the value that begins here goes.
    fn aim(&self) -> Into {
        if self.deeper > 0 {
            return Into::Nothing;
        }
        let mut path = [Name::Other; LEVELS_MAX];
        for (slot, level) in path.iter_mut().zip(&self.levels) {
            *slot = level.key;
        }
        let [first, second, third, fourth, fifth, ..] = path;
        match (self.levels.len(), first, second, third, fourth, fifth) {
            (1, Name::Id, ..) => Into::Id,
            (2, Name::Error, Name::Message, ..) => Into::Error,
            (2, Name::Result, Name::IsError, ..) => Into::IsError,
            (2, Name::Result, Name::ResultType, ..) => Into::ResultType,
            (4, Name::Result, Name::Content, _, Name::Text, _) => Into::Text,
            (5, Name::Result, Name::Content, _, Name::Resource, Name::Text) => Into::Text,
            (3, Name::Result, Name::ServerInfo, Name::Own, ..) => Into::Server,
            (4, Name::Result, Name::Meta, Name::ServerInfo, Name::Own, _) => Into::Server,
            _ => Into::Nothing,
        }
    }

    fn begin(&mut self, into: Into) {
        self.kept.clear();
        self.high = 0;
        if into == Into::Text && !self.text.is_empty() {
            self.keep(Into::Text, b"\n");
        }
    }

    fn keep(&mut self, into: Into, bytes: &[u8]) {
        let kept = if into == Into::Text { &mut self.text } else { &mut self.kept };
        // One byte more than the limit tells that it was passed.
        let room = (into.most() + usize::from(into != Into::Nothing)).saturating_sub(kept.len());
        kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn escape(&mut self, into: Into, byte: u8) {
        self.mode = Mode::String(into);
        let plain: &[u8] = match byte {
            b'n' => b"\n",
            b't' => b"\t",
            b'r' => b"\r",
            b'b' => b"\x08",
            b'f' => b"\x0c",
            b'u' => {
                self.mode = Mode::Unicode(into, 0, 0);
                return;
            }
            other => return self.keep(into, &[other]),
        };
        self.keep(into, plain);
    }

    fn unicode(&mut self, into: Into, digits: u8, number: u32, byte: u8) {
        let digit = char::from(byte).to_digit(16).unwrap_or(0);
        let number = number * 16 + digit;
        if digits < 3 {
            self.mode = Mode::Unicode(into, digits + 1, number);
            return;
        }
        self.mode = Mode::String(into);
        if (0xd800..0xdc00).contains(&number) {
            self.high = number;
            return;
        }
        let whole = match (std::mem::take(&mut self.high), number) {
            (0, single) => single,
            (high, 0xdc00..0xe000) => 0x1_0000 + ((high - 0xd800) << 10) + (number - 0xdc00),
            (_, single) => single,
        };
        let letter = char::from_u32(whole).unwrap_or(char::REPLACEMENT_CHARACTER);
        self.keep(into, letter.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn string_ends(&mut self, into: Into) {
        match into {
            Into::Key => return self.key_ends(),
            Into::Nothing | Into::Text | Into::IsError => return,
            _ => {}
        }
        let mut text = String::from_utf8_lossy(&self.kept).into_owned();
        let is_cut = self.kept.len() > into.most();
        match into {
            Into::Id => self.found.id = (!is_cut).then(|| Id::of_text(&text)),
            Into::ResultType => self.found.result_type = text,
            Into::Error => {
                text.truncate(text.floor_char_boundary(into.most()));
                self.found.error = text;
            }
            Into::Server if !is_cut => self.found.server = text,
            _ => {}
        }
    }

    fn key_ends(&mut self) {
        let name = Name::of(&self.kept);
        let is_top = self.levels.len() == 1;
        if let Some(level) = self.levels.last_mut() {
            level.key = name;
            level.awaits_key = false;
        }
        if is_top {
            self.found.has_method |= name == Name::Method;
            self.found.has_result |= name == Name::Result;
            self.found.has_error |= name == Name::Error;
        }
    }

    fn scalar_ends(&mut self, into: Into) {
        match into {
            Into::Id => {
                self.found.id = std::str::from_utf8(&self.kept).ok().and_then(Id::parse);
            }
            Into::IsError => self.found.is_error = self.kept == b"true",
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(text: &[u8], step: usize) -> Found {
        let mut scan = Scan::default();
        text.chunks(step).for_each(|part| scan.feed(part));
        scan.finish()
    }

    #[test]
    fn a_result_says_what_the_model_reads() {
        let text = r#"{"result":{"content":[{"type":"text","text":"a\u00e9\ud83d\ude00\n"},{"type":"image","data":"AAAA"},
            {"type":"resource","resource":{"uri":"x","te\u0078t":"in it"}}],"isError":true,"resultType":"complete",
            "_meta":{"io.modelcontextprotocol/serverInfo":{"name":"srv"}}},"jsonrpc":"2.0","id":"q\"1"}"#;
        for step in [1, 3, 4_096] {
            let found = scan(text.as_bytes(), step);
            assert_eq!(found.id, Some(Id::of_text("q\"1")));
            assert_eq!(found.text, "aé😀\n\nin it");
            assert!(found.is_error && found.is_answer());
            assert_eq!((found.result_type.as_str(), found.server.as_str()), ("complete", "srv"));
        }
    }

    #[test]
    fn what_lies_elsewhere_is_not_taken_for_it() {
        let text = r#"{"jsonrpc":"2.0","id":5,"result":{"structuredContent":{"content":[{"text":"no"}],"isError":true,"id":9},
            "content":[{"annotations":{"text":"no"},"text":"yes"}],"deep":[[[[[[[[[[{"id":1}]]]]]]]]]],"x":"\"id\":7"}}"#;
        let found = scan(text.as_bytes(), 7);
        assert_eq!((found.id, found.text.as_str(), found.is_error), (Id::parse("5"), "yes", false));
    }

    #[test]
    fn errors_requests_and_garbage() {
        let found = scan(br#"{"id":1,"error":{"code":-1,"message":"bad"}}"#, 5);
        assert!(found.has_error && found.is_answer());
        assert_eq!(found.error, "bad");
        let request = scan(br#"{"id":1,"method":"sampling/createMessage","params":{}}"#, 5);
        assert!(!request.is_answer());
        assert_eq!(scan(b"Traceback (most recent call last): }}]]", 5).id, None);
        let hello = scan(br#"{"id":0,"result":{"serverInfo":{"version":"1","name":"everything"}}}"#, 50);
        assert_eq!(hello.server, "everything");
    }

    #[test]
    fn long_texts_are_clipped_between_letters() {
        let text = format!(r#"{{"result":{{"content":[{{"text":"{}"}}]}},"id":1}}"#, "é".repeat(100_000));
        let found = scan(text.as_bytes(), 1_000);
        assert_eq!(found.text.len(), RESULT_BYTES_MAX);
        assert_eq!(found.id, Id::parse("1"));
    }

    proptest! {
        #[test]
        fn agrees_with_a_parser(text in "\\PC{0,40}", other in "\\PC{0,20}", id in any::<u32>(), error: bool, step in 1..9usize) {
            let message = serde_json::json!({
                "x": other, "id": id,
                "result": {"content": [{"type": "text", "text": text, "z": [other]}], "isError": error},
            });
            let found = scan(message.to_string().as_bytes(), step);
            prop_assert_eq!(found.id, Id::parse(&id.to_string()));
            prop_assert_eq!(found.is_error, error);
            prop_assert_eq!(found.text, text);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _found = scan(&bytes, 3);
        }
    }
}
