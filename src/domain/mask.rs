//! Keeps secrets out of the log: finds them in arguments and puts a keyed digest in their place.
//!
//! A masked value reads `[masked:KIND:LENGTH:DIGEST]`, DIGEST being the first 16 hex digits of
//! HMAC-SHA-256(key, value): equal secrets stay equal, so that novelty and binding still work, and nobody
//! without the key can test a guess. What counts as a secret: a value under a key that names one, or a
//! string that has the shape of a known credential. Deliberately absent: a guarantee. An unlabelled
//! secret of an unknown shape passes.

use super::json::Json;
use aho_corasick::{AhoCorasick, MatchKind};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::borrow::Cow;
use std::fmt::Write as _;

/// Object keys (lower case, letters only) under which a string or number is a secret.
const SECRET_KEYS: &[&str] = &[
    "accesskey",
    "apikey",
    "authorization",
    "clientsecret",
    "credential",
    "credentials",
    "newpassword",
    "oldpassword",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "pwd",
    "secret",
    "secretkey",
    "sessiontoken",
    "token",
    "accesstoken",
    "refreshtoken",
    "authtoken",
    "bearertoken",
];

/// Credential shapes: the text that starts them, the kind's name, and how many token characters must
/// follow for it to count.
const SHAPES: &[(&str, &str, usize)] = &[
    ("AKIA", "aws_access_key", 16),
    ("ASIA", "aws_access_key", 16),
    ("ghp_", "github_token", 30),
    ("gho_", "github_token", 30),
    ("ghs_", "github_token", 30),
    ("github_pat_", "github_token", 30),
    ("glpat-", "gitlab_token", 16),
    ("xoxb-", "slack_token", 16),
    ("xoxp-", "slack_token", 16),
    ("npm_", "npm_token", 30),
    ("AIza", "google_key", 30),
    ("sk-", "api_key", 20),
    ("sk_live_", "stripe_key", 16),
    ("eyJ", "jwt", 30),
    ("Bearer ", "bearer_token", 16),
    ("-----BEGIN ", "pem", 16),
];

/// Finds and replaces secrets. Build it once: it holds the compiled search.
#[derive(Clone, Debug)]
pub struct Masker {
    key: [u8; 32],
    shapes: AhoCorasick,
}

impl Masker {
    /// A masker whose digests are keyed by `key`.
    pub fn new(key: [u8; 32]) -> Self {
        let shapes = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(SHAPES.iter().map(|(start, _, _)| start))
            .expect("a fixed handful of short patterns compiles");
        Self { key, shapes }
    }

    /// HMAC-SHA-256 over a text under a key of its own: equal texts have equal digests, and nobody without the key can
    /// test a guess. What leaves the machine in place of arguments.
    pub fn keyed_digest(&self, text: &[u8]) -> [u8; 32] {
        let sign = |key: &[u8], text: &[u8]| -> [u8; 32] {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
            mac.update(text);
            mac.finalize().into_bytes().into()
        };
        sign(&sign(&self.key, b"askance arguments digest 1"), text)
    }

    /// Masks every secret in `json` in place; returns how many were masked.
    pub fn mask(&self, json: &mut Json<'_>) -> usize {
        match json {
            Json::Text(text) => usize::from(self.mask_text(text)),
            Json::Array(items) => items.iter_mut().map(|item| self.mask(item)).sum(),
            Json::Object(fields) => fields.iter_mut().map(|(key, value)| self.mask_field(key, value)).sum(),
            Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Float(_) => 0,
        }
    }

    fn mask_field(&self, key: &str, value: &mut Json<'_>) -> usize {
        if !names_a_secret(key) {
            return self.mask(value);
        }
        let text = match value {
            Json::Text(text) if text.is_empty() => return 0,
            Json::Text(text) => text.clone().into_owned(),
            Json::Integer(number) => number.to_string(),
            Json::Float(number) => number.to_string(),
            Json::Array(items) => return items.iter_mut().map(|item| self.mask_field(key, item)).sum(),
            Json::Null | Json::Bool(_) | Json::Object(_) => return self.mask(value),
        };
        *value = Json::Text(Cow::Owned(self.digest("secret", &text)));
        1
    }

    /// Masks the credentials inside `text`; whether there were any.
    pub fn mask_text(&self, text: &mut Cow<'_, str>) -> bool {
        let mut masked = String::new();
        let mut copied = 0;
        let mut from = 0;
        while let Some(found) = self.shapes.find(&text[from..]) {
            let start = from + found.start();
            let (_, kind, need) = SHAPES[found.pattern().as_usize()];
            let end = if kind == "pem" { pem_end(text, start) } else { token_end(text, from + found.end()) };
            from += found.end();
            let joined = text[..start].bytes().next_back().is_some_and(is_token_byte);
            if end < from + need || joined {
                continue;
            }
            masked.push_str(&text[copied..start]);
            masked.push_str(&self.digest(kind, &text[start..end]));
            (copied, from) = (end, end);
        }
        if copied == 0 {
            return false;
        }
        masked.push_str(&text[copied..]);
        *text = Cow::Owned(masked);
        true
    }

    fn digest(&self, kind: &str, value: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(value.as_bytes());
        let digest = mac.finalize().into_bytes();
        let mut out = format!("[masked:{kind}:{}:", value.chars().count());
        for byte in &digest[..8] {
            write!(out, "{byte:02x}").expect("writing to memory cannot fail");
        }
        out.push(']');
        out
    }
}

fn names_a_secret(key: &str) -> bool {
    let mut name = [0_u8; 16];
    let mut length = 0;
    for byte in key.bytes().filter(u8::is_ascii_alphabetic) {
        let Some(slot) = name.get_mut(length) else { return false };
        *slot = byte.to_ascii_lowercase();
        length += 1;
    }
    SECRET_KEYS.iter().any(|secret| secret.as_bytes() == &name[..length])
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'+' | b'=')
}

fn token_end(text: &str, from: usize) -> usize {
    from + text.as_bytes()[from..].iter().take_while(|byte| is_token_byte(**byte)).count()
}

/// A PEM block runs to the line that ends it, or to the end of the text.
fn pem_end(text: &str, start: usize) -> usize {
    let after = start + "-----BEGIN ".len();
    match text[after..].find("-----END ") {
        Some(offset) => {
            let line = after + offset + "-----END ".len();
            text[line..].find("-----").map_or(text.len(), |dashes| line + dashes + 5)
        }
        None => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> (usize, String) {
        let mut json = Json::parse(text.as_bytes()).unwrap();
        let count = Masker::new([7; 32]).mask(&mut json);
        let mut out = Vec::new();
        json.write(&mut out);
        (count, String::from_utf8(out).unwrap())
    }

    fn check(text: &str, count: usize, gone: &str, stays: &str) {
        let (found, out) = masked(text);
        assert_eq!(found, count, "{out}");
        assert!(gone.is_empty() || !out.contains(gone), "{gone:?} is still in {out}");
        assert!(out.contains(stays), "{stays:?} is missing from {out}");
    }

    #[test]
    fn masks_by_key_name() {
        check(r#"{"user":"bob","Password":"hunter2"}"#, 1, "hunter2", r#""user":"bob""#);
        check(r#"{"api_key":["k1","k2"]}"#, 2, "k1", "[masked:secret:2:");
        check(r#"{"token":""}"#, 0, "", r#""token":"""#);
        check(r#"{"page_tokens":"abc"}"#, 0, "", "abc");
    }

    #[test]
    fn masks_by_shape_inside_text() {
        check(r#"{"cmd":"AWS=1 AKIAABCDEFGHIJKLMNOP ls"}"#, 1, "AKIAABCD", " ls");
        check(r#"["ghp_0123456789abcdef0123456789abcdef0123"]"#, 1, "ghp_", "[masked:github_token:");
        check(
            r#"["-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- rest"]"#,
            1,
            "abc",
            " rest",
        );
        check(r#"["task-force and sk-short, risk-free-alternatives-to-know"]"#, 0, "", "sk-short");
    }

    #[test]
    fn digests_of_texts_hang_on_text_and_key() {
        let digest = |key: u8, text: &[u8]| Masker::new([key; 32]).keyed_digest(text);
        assert_eq!(digest(7, b"{}"), digest(7, b"{}"));
        assert_ne!(digest(7, b"{}"), digest(7, b"[]"));
        assert_ne!(digest(7, b"{}"), digest(8, b"{}"));
    }

    #[test]
    fn equal_secrets_stay_equal_and_others_do_not() {
        let (_, out) = masked(r#"{"password":["a1","a1","b2"]}"#);
        let parts: Vec<&str> = out.split('"').filter(|part| part.starts_with("[masked")).collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[0], parts[1]);
        assert_ne!(parts[0], parts[2]);
    }
}
