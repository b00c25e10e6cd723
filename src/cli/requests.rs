//! What users asked, joined to recorded calls: each request is handed in once, with the first call after it.

use super::output::Output;
use super::refused::Refusals;
use super::trace_file::each_line;
use super::trace_line::{SessionLine, TraceLine, parse_session};
use crate::domain::time::Timestamp;
use anyhow::Result;
use hashbrown::HashMap;
use std::path::Path;

/// What sessions files say.
#[derive(Debug, Default)]
pub struct Requests {
    sessions: HashMap<(String, String), Asked>,
}

#[derive(Debug)]
struct Asked {
    session: SessionLine,
    /// Requests handed in so far.
    told: usize,
    /// Whether a call of the session came already.
    begun: bool,
}

/// What a call is handed in with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// What the user said since the call before; empty: nothing.
    pub text: String,
    /// When the session began, with its first call.
    pub start: Option<Timestamp>,
}

impl Requests {
    /// Reads a sessions file.
    pub fn read(&mut self, path: &Path, output: &Output, refusals: &mut Refusals) -> Result<()> {
        each_line(path, output, refusals, |_, text| {
            let session = parse_session(text)?;
            let key = (session.dataset.clone(), session.session.clone());
            self.sessions.insert(key, Asked { session, told: 0, begun: false });
            Ok(())
        })
    }

    /// Forgets what was handed in.
    pub fn begin(&mut self) {
        for asked in self.sessions.values_mut() {
            asked.told = 0;
            asked.begun = false;
        }
    }

    /// What the user said before this call and has not been handed in.
    pub fn next(&mut self, line: &TraceLine) -> Request {
        if self.sessions.is_empty() {
            return Request::default();
        }
        let key = (line.dataset.clone(), line.session.clone());
        let Some(asked) = self.sessions.get_mut(&key) else { return Request::default() };
        let requests = &asked.session.requests;
        let new = requests.iter().skip(asked.told).take_while(|(before, _)| *before <= line.index);
        let texts: Vec<&str> = new.map(|(_, text)| text.as_str()).collect();
        asked.told += texts.len();
        let start = asked.session.start.filter(|_| !asked.begun);
        asked.begun = true;
        Request { text: texts.join("\n"), start }
    }
}

#[cfg(test)]
mod tests {
    use super::super::trace_line::parse_call;
    use super::*;

    #[test]
    fn each_request_comes_once_with_the_first_call_after_it() {
        let session = parse_session(
            br#"{"dataset":"d","session":"s","started_at":"2026-01-05T12:00:00Z","user_turns":[{"before":0,"text":"a"},{"before":0,"text":"b"},{"before":2,"text":"c"},{"before":9,"text":"z"}]}"#,
        );
        let asked = Asked { session: session.unwrap(), told: 0, begun: false };
        let mut requests = Requests::default();
        requests.sessions.insert(("d".to_owned(), "s".to_owned()), asked);
        let line = |index: u64| {
            let text =
                format!(r#"{{"dataset":"d","session":"s","principal":"p","index":{index},"tool":"t"}}"#);
            parse_call(text.as_bytes()).unwrap()
        };
        let texts = |requests: &mut Requests| [0, 1, 2].map(|index| requests.next(&line(index)).text);
        assert_eq!(texts(&mut requests), ["a\nb", "", "c"]);
        requests.begin();
        assert!(requests.next(&line(5)).start.is_some(), "the start comes with the first call");
        assert_eq!(requests.next(&line(6)), Request::default());
    }
}
