//! How settings are written: sizes and durations as text with their unit, switches by name.

use crate::domain::call::SessionSource;
use crate::domain::decision::{Mode, Verdict};
use crate::telemetry::LogFormat;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A kind of value that a setting can have.
pub trait Value: Sized + PartialEq {
    /// What a value looks like, for people.
    const KIND: &'static str;

    /// Reads a value; the error says what would be right.
    fn parse(text: &str) -> Result<Self, String>;

    /// Writes the value as [`Value::parse`] reads it.
    fn show(&self) -> String;

    /// The value as a number, to be held against a minimum and a maximum; none if it has no order.
    fn measure(&self) -> Option<u64> {
        None
    }
}

/// A size in bytes, written `64MiB`, `512KiB`, `4GiB` or `100B`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// Scheme and authority that callers find a door by, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site(pub Option<String>);

/// A collector's address, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(pub Option<String>);

/// A TCP address, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

/// Where the Unix socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socket {
    /// `askance.sock` in the data directory.
    InDataDir,
    /// At this path.
    At(PathBuf),
    /// There is none.
    Off,
}

/// A file, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOrNone(pub Option<PathBuf>);

/// An order of trust in session ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOrder(pub Vec<SessionSource>);

const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
/// Units of durations in microseconds.
const DURATIONS: [(&str, u64); 6] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

/// Splits `64MiB` into number and unit and multiplies.
fn measured(text: &str, units: &[(&str, u64)], example: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` needs a whole number and a unit, such as {example}");
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = unit.trim();
    if number == 0 && unit.is_empty() {
        return Ok(0);
    }
    let factor = units.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too large"))
}

/// Writes a number with the largest unit that divides it.
fn with_unit(number: u64, units: impl Iterator<Item = (&'static str, u64)>, smallest: &str) -> String {
    let fits = units.filter(|(_, factor)| number != 0 && number.is_multiple_of(*factor));
    match fits.max_by_key(|(_, factor)| *factor) {
        Some((name, factor)) => format!("{}{name}", number / factor),
        None => format!("{number}{smallest}"),
    }
}

fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let found = choices.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| format!("`{text}` is none of {}", names.join(", ")))
}

fn name_of<T: PartialEq>(value: &T, choices: &[(&'static str, T)]) -> String {
    let found = choices.iter().find(|(_, choice)| choice == value);
    found.map_or("?", |(name, _)| *name).to_owned()
}

impl Value for Bytes {
    const KIND: &'static str = "size, such as 64MiB";

    fn parse(text: &str) -> Result<Self, String> {
        measured(text, &SIZES, "64MiB").map(Self)
    }

    fn show(&self) -> String {
        with_unit(self.0, SIZES.into_iter(), "B")
    }

    fn measure(&self) -> Option<u64> {
        Some(self.0)
    }
}

impl Value for Duration {
    const KIND: &'static str = "duration, such as 250ms, 2s, 30m, 24h";

    fn parse(text: &str) -> Result<Self, String> {
        measured(text, &DURATIONS, "250ms").map(Self::from_micros)
    }

    fn show(&self) -> String {
        with_unit(self.measure().unwrap_or(0), DURATIONS.into_iter(), "s")
    }

    fn measure(&self) -> Option<u64> {
        Some(u64::try_from(self.as_micros()).unwrap_or(u64::MAX))
    }
}

impl Value for u64 {
    const KIND: &'static str = "whole number";

    fn parse(text: &str) -> Result<Self, String> {
        text.replace('_', "").parse().map_err(|_| format!("`{text}` is not a whole number from 0"))
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn measure(&self) -> Option<u64> {
        Some(*self)
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";

    fn parse(text: &str) -> Result<Self, String> {
        choice(text, &[("true", true), ("false", false)])
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "path";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("is empty; name a path".to_owned()) } else { Ok(Self::from(text)) }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for FileOrNone {
    const KIND: &'static str = "path, or none";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self((text != "none" && !text.is_empty()).then(|| PathBuf::from(text))))
    }

    fn show(&self) -> String {
        self.0.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string())
    }
}

impl Value for Endpoint {
    const KIND: &'static str = "http://host:port, or off";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let is_one = text.strip_prefix("http://").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
        });
        if is_one {
            return Ok(Self(Some(text.to_owned())));
        }
        Err(format!("`{text}` is not such as http://127.0.0.1:4317, nor off; TLS is not spoken"))
    }

    fn show(&self) -> String {
        self.0.clone().unwrap_or_else(|| "off".to_owned())
    }
}

impl Value for Site {
    const KIND: &'static str = "https://host, or off";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_one = rest.is_some_and(|rest| {
            !rest.is_empty()
                && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte))
        });
        if is_one {
            return Ok(Self(Some(text.to_owned())));
        }
        Err(format!("`{text}` is not such as https://askance.example, nor off"))
    }

    fn show(&self) -> String {
        self.0.clone().unwrap_or_else(|| "off".to_owned())
    }
}

impl Value for Listen {
    const KIND: &'static str = "address and port, or off";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let wrong = |_| format!("`{text}` is not an address and a port such as 127.0.0.1:4750, nor off");
        text.parse().map(|address| Self(Some(address))).map_err(wrong)
    }

    fn show(&self) -> String {
        self.0.map_or_else(|| "off".to_owned(), |address| address.to_string())
    }
}

impl Value for Socket {
    const KIND: &'static str = "path, in-data-dir, or off";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "off" => Self::Off,
            "in-data-dir" => Self::InDataDir,
            "" => return Err("is empty; name a path, in-data-dir, or off".to_owned()),
            path => Self::At(PathBuf::from(path)),
        })
    }

    fn show(&self) -> String {
        match self {
            Self::Off => "off".to_owned(),
            Self::InDataDir => "in-data-dir".to_owned(),
            Self::At(path) => path.display().to_string(),
        }
    }
}

impl Value for LogFormat {
    const KIND: &'static str = "auto, text or json";

    fn parse(text: &str) -> Result<Self, String> {
        choice(text, &[("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json)])
    }

    fn show(&self) -> String {
        name_of(self, &[("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json)])
    }
}

const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("observe", Mode::Observe)];

impl Value for Mode {
    const KIND: &'static str = "enforce or observe";

    fn parse(text: &str) -> Result<Self, String> {
        choice(text, &MODES)
    }

    fn show(&self) -> String {
        name_of(self, &MODES)
    }
}

const VERDICTS: [(&str, Verdict); 3] =
    [("allow", Verdict::Allow), ("review", Verdict::Review), ("deny", Verdict::Deny)];

impl Value for Verdict {
    const KIND: &'static str = "allow, review or deny";

    fn parse(text: &str) -> Result<Self, String> {
        choice(text, &VERDICTS)
    }

    fn show(&self) -> String {
        name_of(self, &VERDICTS)
    }
}

const SOURCES: [(&str, SessionSource); 6] = [
    ("session_id", SessionSource::Explicit),
    ("conversation_id", SessionSource::Conversation),
    ("host_session_id", SessionSource::Host),
    ("trace_id", SessionSource::Trace),
    ("mcp_session_id", SessionSource::McpSession),
    ("gap", SessionSource::Gap),
];

impl Value for SessionOrder {
    const KIND: &'static str =
        "list of session_id, conversation_id, host_session_id, trace_id, mcp_session_id, gap";

    fn parse(text: &str) -> Result<Self, String> {
        let mut order = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let source = choice(name, &SOURCES)?;
            if order.contains(&source) {
                return Err(format!("`{name}` stands there twice"));
            }
            order.push(source);
        }
        if order.is_empty() { Err("is empty; name one source at least".to_owned()) } else { Ok(Self(order)) }
    }

    fn show(&self) -> String {
        self.0.iter().map(|source| name_of(source, &SOURCES)).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_need_their_unit() {
        let size = |text: &str| Bytes::parse(text).map(|bytes| bytes.0);
        assert_eq!((size("64MiB"), size("100B"), size("0")), (Ok(64 << 20), Ok(100), Ok(0)));
        assert_eq!(Bytes(64 << 20).show(), "64MiB");
        for wrong in ["64", "64MB", "MiB", "-1MiB", "1.5GiB", "99999999999TiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Duration::parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(
            (Duration::parse("24h").unwrap().show(), Duration::ZERO.show()),
            ("1d".into(), "0s".into())
        );
        assert!(Duration::parse("10").unwrap_err().contains("250ms"));
    }

    #[test]
    fn what_is_shown_reads_back() {
        fn check<T: Value + fmt::Debug>(text: &str) {
            let value = T::parse(text).unwrap();
            assert_eq!(T::parse(&value.show()).unwrap(), value, "{text}");
        }
        check::<Bytes>("1536KiB");
        check::<Duration>("90s");
        check::<Listen>("[::1]:4750");
        check::<Listen>("off");
        check::<Socket>("in-data-dir");
        check::<Socket>("/run/askance.sock");
        check::<Endpoint>("off");
        check::<Endpoint>("http://collector:4317");
        assert!(Endpoint::parse("https://collector:4317").unwrap_err().contains("TLS"));
        check::<FileOrNone>("none");
        check::<Mode>("observe");
        check::<Verdict>("deny");
        check::<LogFormat>("auto");
        check::<SessionOrder>("gap, session_id");
        assert!(SessionOrder::parse("gap,gap").is_err());
    }
}
