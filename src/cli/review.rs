//! `askance review`: what waits for a human, and the human's word on it.

use super::Global;
use super::client::{Channel, Otherwise, connect, refused};
use super::evaluate::short_name;
use super::lock::{span, wire_span};
use super::output::{Output, table};
use crate::detector::sentence::shown;
use crate::domain::hex::{hex, unhex};
use crate::domain::time::Timestamp;
use crate::proto::v1::review_service_client::ReviewServiceClient;
use crate::proto::v1::{
    CastVoteRequest, FindingStatus, GetReviewRequest, GetReviewResponse, ListReviewsRequest, RememberOptions,
    Review, ReviewState, RiskCategory, TimeoutAction, VoteChoice,
};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::Duration;

/// What to do with reviews.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// List reviews, the one with the nearest deadline first.
    List(ListArgs),
    /// Show one with all that is needed to judge it.
    Show {
        /// The review, such as r0-123.
        id: String,
        /// Its tenant; empty: whichever it is.
        #[arg(long, default_value = "", value_name = "NAME")]
        tenant: String,
        /// Most events of the session to show.
        #[arg(long, default_value_t = 20, value_name = "COUNT")]
        events: u32,
    },
    /// Approve: the very call may run, once.
    Approve {
        #[command(flatten)]
        vote: VoteArgs,
        #[command(flatten)]
        remember: RememberArgs,
    },
    /// Deny.
    Deny(VoteArgs),
    /// Go through open reviews one by one as they come: a approves, d denies, s skips, q quits.
    Watch {
        /// Tenant.
        #[arg(long, default_value = "", value_name = "NAME")]
        tenant: String,
    },
}

/// Arguments of `askance review list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Tenant.
    #[arg(long, default_value = "", value_name = "NAME")]
    tenant: String,
    /// Settled ones too.
    #[arg(long)]
    all: bool,
    /// Only those that this credential may vote on.
    #[arg(long)]
    mine: bool,
    /// Most reviews to show.
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: u32,
}

/// Arguments of `askance review approve` and `deny`.
#[derive(Debug, clap::Args)]
pub(super) struct VoteArgs {
    /// The review, such as r0-123.
    id: String,
    /// Its tenant; empty: whichever it is.
    #[arg(long, default_value = "", value_name = "NAME")]
    tenant: String,
    /// Why. The agent is told when it is denied.
    #[arg(long, short = 'm', default_value = "", value_name = "TEXT")]
    comment: String,
    /// Digest of the call that was judged, as `show` tells it; without it that of the call under review now.
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
    /// Do not ask again before a CRITICAL call is approved.
    #[arg(long)]
    yes: bool,
}

/// What an approval is to leave behind.
#[derive(Debug, clap::Args)]
pub(super) struct RememberArgs {
    /// Allow calls like this one for so long from now on, such as 7d: same tool, same chain, same arguments.
    #[arg(long, value_name = "TIME", value_parser = span)]
    remember: Option<Duration>,
    /// An argument that may differ, as a JSON pointer such as /replicas; may be repeated.
    #[arg(long, value_name = "POINTER", requires = "remember")]
    free: Vec<String>,
    /// Whoever is in the chain before the principal that acts.
    #[arg(long, requires = "remember")]
    any_chain: bool,
}

impl RememberArgs {
    fn options(self) -> Option<RememberOptions> {
        let ttl = Some(wire_span(self.remember?));
        Some(RememberOptions { ttl, free_pointers: self.free, any_chain: self.any_chain })
    }
}

pub(super) type Client = ReviewServiceClient<Channel>;

/// Runs the command.
pub(super) async fn run(action: Action, global: &Global, output: &Output) -> Result<ExitCode> {
    let connection = connect(global, Otherwise::Fail, output).await?;
    let mut client = ReviewServiceClient::new(connection.channel());
    let done = match action {
        Action::List(args) => list(args, &mut client, output).await,
        Action::Show { id, tenant, events } => show(&id, &tenant, events, &mut client, output).await,
        Action::Approve { vote: args, remember } => {
            vote(args, VoteChoice::Approve, remember.options(), &mut client, output).await
        }
        Action::Deny(args) => vote(args, VoteChoice::Deny, None, &mut client, output).await,
        Action::Watch { tenant } => super::review_watch::watch(tenant, &mut client, output).await,
    };
    drop(client);
    connection.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn list(args: ListArgs, client: &mut Client, output: &Output) -> Result<()> {
    let all = (1..=7).filter(|_| args.all).collect();
    let request = ListReviewsRequest {
        tenant: args.tenant,
        states: all,
        votable_by_me: args.mine,
        page_size: args.limit,
        ..ListReviewsRequest::default()
    };
    let page = client.list_reviews(request).await.map_err(|status| refused(&status))?.into_inner();
    let reviews: Vec<Value> = page.reviews.iter().map(as_json).collect();
    output.result(&reviews, || {
        if page.reviews.is_empty() {
            return "no review is open".to_owned();
        }
        let now = now();
        let row = |review: &Review| {
            let call = review.call.clone().unwrap_or_default();
            // Of a review that is over the risk is not at hand, only in the log.
            let at_hand = review.decision.as_ref().filter(|decision| decision.position > 0);
            let risk = at_hand.map_or_else(String::new, |decision| decision.risk.to_string());
            let approvals = format!("{}/{}", approvals(review), review.approvals_needed);
            [
                review.review_id.clone(),
                left(review, now),
                format!("{risk} {}", category(review)).trim_start().to_owned(),
                shown(&call.tool),
                shown(call.principal_chain.last().map_or("", String::as_str)),
                approvals,
                shown(&review.groups.join(",")),
                state(review).to_owned(),
            ]
        };
        let head = ["REVIEW", "LEFT", "RISK", "TOOL", "PRINCIPAL", "APPROVALS", "GROUPS", "STATE"];
        let more = if page.next_page_token.is_empty() { "" } else { "\nthere are more: --limit" };
        table(head, page.reviews.iter().map(row)) + more
    })
}

pub(super) async fn get(
    id: &str,
    tenant: &str,
    events: u32,
    client: &mut Client,
) -> Result<GetReviewResponse> {
    let request =
        GetReviewRequest { tenant: tenant.to_owned(), review_id: id.to_owned(), session_events_max: events };
    Ok(client.get_review(request).await.map_err(|status| refused(&status))?.into_inner())
}

async fn show(id: &str, tenant: &str, events: u32, client: &mut Client, output: &Output) -> Result<()> {
    let got = get(id, tenant, events, client).await?;
    let review = got.review.clone().context("the daemon sent no review")?;
    let mut whole = as_json(&review);
    whole["arguments"] = json!(review.arguments.as_ref().map(|view| view.text.clone()));
    whole["warnings"] = json!(review.arguments.as_ref().map(|view| view.warnings.clone()));
    whole["findings"] = json!(findings(&review));
    whole["votable_by_me"] = json!(got.votable_by_me);
    whole["not_votable_reason"] = json!(got.not_votable_reason);
    output.result(&whole, || in_words(&got, &review))
}

/// The whole review as a person reads it.
pub(super) fn in_words(got: &GetReviewResponse, review: &Review) -> String {
    let call = review.call.clone().unwrap_or_default();
    let view = review.arguments.clone().unwrap_or_default();
    let decision = review.decision.clone().unwrap_or_default();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |words: String| {
        let _written = writeln!(text, "{words}");
    };
    line(format!("{}  {}  {}", review.review_id, state(review), left(review, now())));
    let server = if call.server.is_empty() { String::new() } else { format!(" on {}", shown(&call.server)) };
    line(format!("tool       {}{server}", shown(&call.tool)));
    line(format!("for        {}", shown(&call.principal_chain.join(" > "))));
    line(format!("risk       {} of 100, {}", decision.risk, category(review)));
    line(format!("because    {}", shown(&decision.reason)));
    line(format!("arguments  {} bytes, {} lines", view.size_bytes, view.lines));
    for argument in view.text.lines() {
        line(format!("  {argument}"));
    }
    for warning in &view.warnings {
        line(format!("beware     {}", shown(warning)));
    }
    for finding in findings(review) {
        line(format!("finding    {finding}"));
    }
    match got.session_events_omitted {
        _ if got.session_events.is_empty() => {}
        0 => line("session    so far".to_owned()),
        omitted => line(format!("session    so far; {omitted} earlier events are not shown")),
    }
    for row in super::timeline::rows(&got.session_events) {
        let filled: Vec<String> = row.into_iter().filter(|cell| !cell.is_empty()).collect();
        line(format!("  {}", filled.join("  ")));
    }
    for similar in &got.similar_decisions {
        let verdict = if similar.verdict == 1 { "approved" } else { "not approved" };
        let by: Vec<String> = similar.votes.iter().map(|vote| shown(&vote.reviewer)).collect();
        line(format!("before     {verdict} by {}: {}", by.join(", "), shown(&similar.sentence)));
    }
    for vote in &review.votes {
        let choice = if vote.choice == i32::from(VoteChoice::Approve) { "approves" } else { "denies" };
        line(format!("vote       {} {choice} {}", shown(&vote.reviewer), shown(&vote.comment)));
        if !vote.remember_rule.is_empty() {
            line(format!("           and grants: {}", shown(&vote.remember_rule)));
        }
    }
    let groups = if review.groups.is_empty() { "any reviewer".to_owned() } else { review.groups.join(", ") };
    line(format!("needs      {} of {}", review.approvals_needed, shown(&groups)));
    line(format!("digest     {}", hex(&review.call_digest)));
    if !got.votable_by_me {
        line(format!("you        cannot vote: {}", shown(&got.not_votable_reason)));
    }
    text
}

async fn vote(
    args: VoteArgs,
    choice: VoteChoice,
    remember: Option<RememberOptions>,
    client: &mut Client,
    output: &Output,
) -> Result<()> {
    let got = get(&args.id, &args.tenant, 1, client).await?;
    let review = got.review.context("the daemon sent no review")?;
    let digest = match &args.digest {
        Some(text) => {
            unhex(text).context("--digest: give hex digits, as `askance review show` tells them")?
        }
        None => review.call_digest.to_vec(),
    };
    if choice == VoteChoice::Approve && is_critical(&review) && !args.yes && !confirm(&review)? {
        bail!("not approved: the call is CRITICAL, and was not confirmed");
    }
    let vote = Vote { choice, digest, comment: args.comment, remember };
    let voted = cast(&review, vote, client).await?;
    if voted.votes.len() == review.votes.len() {
        output.note("this vote had been cast before; it counts once");
    }
    output.result(&as_json(&voted), || {
        let word = if choice == VoteChoice::Approve { "approved" } else { "denied" };
        let approvals = approvals(&voted);
        format!("{word}; {} is {} ({approvals}/{})", voted.review_id, state(&voted), voted.approvals_needed)
    })
}

/// A vote as it is cast.
pub(super) struct Vote {
    pub(super) choice: VoteChoice,
    pub(super) digest: Vec<u8>,
    pub(super) comment: String,
    pub(super) remember: Option<RememberOptions>,
}

pub(super) async fn cast(review: &Review, vote: Vote, client: &mut Client) -> Result<Review> {
    let request = CastVoteRequest {
        tenant: review.tenant.clone(),
        review_id: review.review_id.clone(),
        choice: vote.choice.into(),
        call_digest: vote.digest.into(),
        comment: vote.comment,
        remember: vote.remember,
        ..CastVoteRequest::default()
    };
    let answer = client.cast_vote(request).await.map_err(|status| refused(&status))?.into_inner();
    answer.review.context("the daemon sent no review")
}

/// Asks whether a critical call is really to be approved.
pub(super) fn confirm(review: &Review) -> Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!("the call is CRITICAL: confirm with --yes");
    }
    let tool = review.call.as_ref().map_or("", |call| call.tool.as_str());
    ask(&format!("CRITICAL. Type the tool's name ({}) to approve: ", shown(tool)))?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(answer.trim() == tool)
}

#[expect(clippy::print_stderr, reason = "a question to the person at the terminal")]
pub(super) fn ask(question: &str) -> Result<()> {
    eprint!("{question}");
    Ok(std::io::stderr().flush()?)
}

fn findings(review: &Review) -> Vec<String> {
    let decision = review.decision.clone().unwrap_or_default();
    let floors = decision.floors.iter().map(|floor| shown(&floor.sentence));
    let scored = decision
        .findings
        .iter()
        .filter(|finding| finding.status == i32::from(FindingStatus::Scored) && !finding.sentence.is_empty());
    floors.chain(scored.map(|finding| shown(&finding.sentence))).collect()
}

fn approvals(review: &Review) -> usize {
    review.votes.iter().filter(|vote| vote.choice == i32::from(VoteChoice::Approve)).count()
}

pub(super) fn is_open(review: &Review) -> bool {
    [i32::from(ReviewState::Pending), i32::from(ReviewState::Escalated)].contains(&review.state)
}

pub(super) fn is_critical(review: &Review) -> bool {
    let decision = review.decision.as_ref();
    decision.is_none_or(|decision| decision.category == i32::from(RiskCategory::Critical))
}

fn category(review: &Review) -> String {
    let number = review.decision.as_ref().map_or(0, |decision| decision.category);
    let name = RiskCategory::try_from(number).unwrap_or(RiskCategory::Unspecified);
    short_name(name.as_str_name(), "RISK_CATEGORY_")
}

pub(super) fn state(review: &Review) -> &'static str {
    match ReviewState::try_from(review.state) {
        Ok(ReviewState::Pending) => "pending",
        Ok(ReviewState::Escalated) => "escalated",
        Ok(ReviewState::Approved) => "approved",
        Ok(ReviewState::Denied) => "denied",
        Ok(ReviewState::Expired) => "expired",
        Ok(ReviewState::Cancelled) => "cancelled",
        Ok(ReviewState::Consumed) => "used",
        Ok(ReviewState::Unspecified) | Err(_) => "?",
    }
}

/// The countdown, and what comes at its end.
pub(super) fn left(review: &Review, now: Timestamp) -> String {
    let Some(deadline) = &review.deadline else { return "-".to_owned() };
    let seconds = deadline.seconds - now.as_micros().div_euclid(1_000_000);
    let action = match TimeoutAction::try_from(review.on_deadline) {
        Ok(TimeoutAction::Deny) => " then denied",
        Ok(TimeoutAction::Approve) => " then approved",
        Ok(TimeoutAction::Escalate) => " then escalated",
        Ok(TimeoutAction::Unspecified) | Err(_) => "",
    };
    if seconds < 0 { "over".to_owned() } else { format!("{}{action}", in_short(seconds)) }
}

/// A span in its two largest units.
fn in_short(seconds: i64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

pub(super) fn now() -> Timestamp {
    crate::clock::Clock::system().now()
}

/// How long ago an instant was.
pub(super) fn ago(at: Option<&prost_types::Timestamp>) -> String {
    let Some(at) = at else { return "-".to_owned() };
    let seconds = now().as_micros().div_euclid(1_000_000) - at.seconds;
    format!("{} ago", in_short(seconds.max(0)))
}

/// An instant as it is shown.
pub(super) fn time_of(at: Option<&prost_types::Timestamp>) -> String {
    let at = at.map(|at| Timestamp::from_micros(at.seconds * 1_000_000 + i64::from(at.nanos / 1_000)));
    at.map_or_else(String::new, |at| at.to_string())
}

pub(super) fn as_json(review: &Review) -> Value {
    let call = review.call.clone().unwrap_or_default();
    let vote = |vote: &crate::proto::v1::Vote| {
        let choice = if vote.choice == i32::from(VoteChoice::Approve) { "approve" } else { "deny" };
        json!({ "reviewer": vote.reviewer, "group": vote.group, "choice": choice, "comment": vote.comment })
    };
    json!({
        "review_id": review.review_id,
        "tenant": review.tenant,
        "state": state(review),
        "session_key": review.session_key,
        "call_id": call.call_id,
        "tool": call.tool,
        "server": call.server,
        "principal_chain": call.principal_chain,
        "risk": review.decision.as_ref().map_or(0, |decision| decision.risk),
        "category": category(review),
        "deadline": time_of(review.deadline.as_ref()),
        "approvals": approvals(review),
        "approvals_needed": review.approvals_needed,
        "groups": review.groups,
        "votes": review.votes.iter().map(vote).collect::<Vec<_>>(),
        "call_digest": hex(&review.call_digest),
        "position": review.position,
    })
}
