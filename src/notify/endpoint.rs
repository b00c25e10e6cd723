//! Whom to tell: the file of endpoints.
//!
//! ```toml
//! version = 1
//!
//! [[endpoint]]
//! name = "ops"                        # names its checkpoint
//! kind = "webhook"                    # or "slack"
//! url = "https://hooks.example/askance"
//! secret_file = "/etc/askance/ops.secret"   # whsec_..., for webhooks
//! tenants = ["default"]               # absent: all
//! link = "https://reviews.example/{review}"
//! ```

use super::sign::key_of;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Endpoints of one file.
const ENDPOINTS_MAX: usize = 64;

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// CloudEvents 1.0 as JSON, signed as Standard Webhooks has it.
    Webhook,
    /// A Slack incoming webhook.
    Slack,
}

/// Somebody to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name, which names its checkpoint.
    pub name: String,
    /// How it is spoken to.
    pub kind: Kind,
    /// Where it is.
    pub url: String,
    /// Key of its signatures; empty for Slack.
    pub key: Vec<u8>,
    /// Tenants it is told about; empty: all.
    pub tenants: Vec<String>,
    /// Where a person reads a review; `{review}` and `{tenant}` stand for the ids. Empty: no link.
    pub link: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    endpoint: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    kind: Kind,
    url: String,
    #[serde(default)]
    secret_file: Option<PathBuf>,
    #[serde(default)]
    tenants: Vec<String>,
    #[serde(default)]
    link: String,
}

/// Reads a file of endpoints; all faults at once. `read_secret` reads a secret's file.
pub fn parse(
    text: &str,
    read_secret: impl Fn(&Path) -> std::io::Result<String>,
) -> Result<Vec<Endpoint>, Vec<String>> {
    let file: File = toml::from_str(text).map_err(|fault| vec![fault.to_string()])?;
    let mut faults = Vec::new();
    if file.version != 1 {
        faults.push(format!("version is {}, this build reads 1", file.version));
    }
    if file.endpoint.len() > ENDPOINTS_MAX {
        faults.push(format!("{} endpoints, at most {ENDPOINTS_MAX}", file.endpoint.len()));
    }
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for entry in file.endpoint {
        let mut fault = |what: &str| faults.push(format!("endpoint `{}`: {what}", entry.name));
        let letters = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        if entry.name.is_empty() || entry.name.len() > 64 || !entry.name.chars().all(letters) {
            fault("a name is 1 to 64 letters, digits, - and _");
        }
        if endpoints.iter().any(|other| other.name == entry.name) {
            fault("the name is there twice");
        }
        if let Err(why) = super::http::Target::parse(&entry.url) {
            fault(&why);
        }
        let key = match (entry.kind, &entry.secret_file) {
            (Kind::Slack, None) => Vec::new(),
            (Kind::Slack, Some(_)) => {
                fault("Slack takes no secret; its URL is one");
                Vec::new()
            }
            (Kind::Webhook, None) => {
                fault("secret_file is missing; without it nobody can tell who sends");
                Vec::new()
            }
            (Kind::Webhook, Some(path)) => read_secret(path)
                .map_err(|why| format!("cannot read {}: {why}", path.display()))
                .and_then(|secret| key_of(&secret))
                .unwrap_or_else(|why| {
                    fault(&why);
                    Vec::new()
                }),
        };
        let Entry { name, kind, url, tenants, link, .. } = entry;
        endpoints.push(Endpoint { name, kind, url, key, tenants, link });
    }
    if faults.is_empty() { Ok(endpoints) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_at_once() {
        let secret = |_: &Path| Ok("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n".to_owned());
        let good = "version = 1\n[[endpoint]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1/x\"\nsecret_file = \"s\"\n";
        let endpoints = parse(good, secret).unwrap();
        assert_eq!((endpoints[0].kind, endpoints[0].key.len()), (Kind::Webhook, 24));
        let bad = "version = 1\n[[endpoint]]\nname = \"a b\"\nkind = \"webhook\"\nurl = \"ftp://x\"\n\
                   [[endpoint]]\nname = \"slack\"\nkind = \"slack\"\nurl = \"http://x\"\nsecret_file = \"s\"\n";
        assert_eq!(parse(bad, secret).unwrap_err().len(), 4);
        assert!(parse("version = 1\nendpoints = 1\n", secret).unwrap_err()[0].contains("endpoints"));
    }
}
