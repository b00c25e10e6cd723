//! `askance review watch`: one review after the other, with a countdown, one key to vote.

use super::client::refused;
use super::output::Output;
use super::review::{
    Client, Vote, as_json, ask, cast, confirm, get, in_words, is_critical, is_open, left, now, state,
};
use crate::detector::sentence::shown;
use crate::proto::v1::watch_reviews_response::Update;
use crate::proto::v1::{Review, VoteChoice, WatchReviewsRequest};
use anyhow::Result;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use serde_json::Value;
use std::io::{IsTerminal, Read};
use std::time::{Duration, Instant};

/// Tenths of a second after which the countdown is written anew.
const LOOK: u8 = 10;
/// A look that finds nothing takes longer than this; one that comes sooner found the end of the input.
const INSTANT: Duration = Duration::from_millis(100);
/// What Ctrl-C and Ctrl-D are read as where they come as letters.
const ENDS: [u8; 2] = [3, 4];

/// Goes through what is open, and what comes; on a terminal each is asked about.
pub(super) async fn watch(tenant: String, client: &mut Client, output: &Output) -> Result<()> {
    let request = WatchReviewsRequest { tenant, ..WatchReviewsRequest::default() };
    let mut updates = client.watch_reviews(request).await.map_err(|status| refused(&status))?.into_inner();
    let asks = !output.is_json() && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    while let Some(message) = updates.message().await.map_err(|status| refused(&status))? {
        let Some(Update::Review(review)) = message.update else { continue };
        let open = is_open(&review);
        if !asks || !open {
            let call = review.call.clone().unwrap_or_default();
            output.result(&as_json(&review), || {
                let tool = shown(&call.tool);
                format!("{}  {}  {}  {tool}", review.review_id, state(&review), left(&review, now()))
            })?;
            continue;
        }
        // It may have been settled while another one was looked at.
        let got = get(&review.review_id, &review.tenant, 20, client).await?;
        let Some(review) = got.review.clone().filter(is_open) else { continue };
        output.result(&Value::Null, || in_words(&got, &review))?;
        if !got.votable_by_me {
            continue;
        }
        match key(&review)? {
            'a' if is_critical(&review) && !confirm(&review)? => output.note("not confirmed: skipped"),
            'a' => settle(&review, VoteChoice::Approve, client, output).await?,
            'd' => settle(&review, VoteChoice::Deny, client, output).await?,
            'q' => return Ok(()),
            's' => {}
            _ => output.note("its time is over"),
        }
    }
    Ok(())
}

async fn settle(review: &Review, choice: VoteChoice, client: &mut Client, output: &Output) -> Result<()> {
    let vote = Vote { choice, digest: review.call_digest.to_vec(), comment: String::new(), remember: None };
    match cast(review, vote, client).await {
        Ok(voted) => output.note(&format!("{} is {}", voted.review_id, state(&voted))),
        Err(error) => output.note(&error.to_string()),
    }
    Ok(())
}

/// The key that a person presses at this review, without Enter: `a`, `d`, `s` or `q`; any other asks again. A blank if
/// its time was over first. Meanwhile its countdown runs.
fn key(review: &Review) -> Result<char> {
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut raw = before.clone();
    raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    raw.special_codes[SpecialCodeIndex::VMIN] = 0;
    raw.special_codes[SpecialCodeIndex::VTIME] = LOOK;
    tcsetattr(&stdin, OptionalActions::Now, &raw)?;
    let pressed = pressed(review);
    tcsetattr(&stdin, OptionalActions::Now, &before)?;
    let letter = pressed?;
    ask(&format!("{letter}\n"))?;
    Ok(letter)
}

fn pressed(review: &Review) -> Result<char> {
    loop {
        let left = left(review, now());
        if left == "over" {
            return Ok(' ');
        }
        // From the beginning of the line on, with what stood there wiped out.
        ask(&format!("\r\u{1b}[K{left}  [a]pprove  [d]eny  [s]kip  [q]uit: "))?;
        let (mut byte, looked) = ([0], Instant::now());
        let read = std::io::stdin().lock().read(&mut byte)?;
        let [letter] = byte;
        match char::from(letter).to_ascii_lowercase() {
            _ if read == 0 && looked.elapsed() < INSTANT || ENDS.contains(&letter) => return Ok('q'),
            known @ ('a' | 'd' | 's' | 'q') if read > 0 => return Ok(known),
            _ => {}
        }
    }
}
