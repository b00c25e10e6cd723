//! What `PolicyService` tells from history: backtests, coverage, suggestions.

use super::convert::decision::core;
use super::convert::{key_of_stream, micros};
use super::granted::with_grants;
use super::page::{Tokens, size};
use super::policy::{PAGE, check_text, named, parsed, suggestion};
use super::shared::Shared;
use super::status::Failure;
use crate::domain::time::{DAY_US, Timestamp};
use crate::engine::{HistoryRange, Reversed};
use crate::policy::suggest::Suggestion;
use crate::proto::v1;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tonic::Status;

/// Messages of a backtest on their way to the client.
const MESSAGES_MAX: usize = 256;
/// Examples of a backtest by default, and at most.
const EXAMPLES: (usize, usize) = (100, 10_000);
/// Kinds of unmatched call by default, and at most.
const UNMATCHED: (usize, usize) = (20, 1_000);
/// How far coverage looks back where nothing is said, microseconds.
const COVERAGE_US: i64 = 7 * DAY_US;
/// How far suggestions look back, microseconds.
const SUGGESTIONS_US: i64 = 30 * DAY_US;

type Message = Result<v1::BacktestPolicyResponse, Status>;

/// The answer to a backtest.
pub(super) struct BacktestStream(mpsc::Receiver<Message>);

impl tokio_stream::Stream for BacktestStream {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        self.get_mut().0.poll_recv(context)
    }
}

/// Begins a backtest. It ends when the client has gone.
pub(super) fn backtest(
    shared: &Arc<Shared>,
    request: v1::BacktestPolicyRequest,
) -> Result<BacktestStream, Failure> {
    let tenant = named(&request.tenant)?;
    check_text(&request.text)?;
    let policy = parsed(&request.text, shared.engine.now())?;
    let mut faults = Vec::new();
    let from = micros("from_time", request.from_time.as_ref(), &mut faults).map(Timestamp::from_micros);
    let to = micros("to_time", request.to_time.as_ref(), &mut faults).map(Timestamp::from_micros);
    if !faults.is_empty() {
        return Err(Failure::invalid(faults));
    }
    let mut examples = size(request.examples_max, EXAMPLES.0, EXAMPLES.1);
    let place = super::replay::permit(shared)?;
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    let engine = shared.engine.clone();
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let range = HistoryRange { tenant: tenant.clone(), from, to };
        let end = engine.log(&tenant).position().get();
        let send = |step| sender.blocking_send(Ok(v1::BacktestPolicyResponse { step: Some(step) })).is_ok();
        let changed = |one: Reversed| {
            if examples == 0 {
                return true;
            }
            examples -= 1;
            send(v1::backtest_policy_response::Step::Example(example(one)))
        };
        let progress = |position: crate::domain::position::Position, calls| {
            let step = v1::ReplayProgress { position: position.get(), end_position: end, calls };
            send(v1::backtest_policy_response::Step::Progress(step))
        };
        match engine.backtest(&range, &policy, changed, progress) {
            Ok(found) => {
                let _gone = send(v1::backtest_policy_response::Step::Summary(summary(&found)));
            }
            Err(error) => {
                let _gone = sender.blocking_send(Err(Failure::from(error).into()));
            }
        }
    });
    Ok(BacktestStream(receiver))
}

fn example(one: Reversed) -> v1::ReplayedCall {
    let difference = format!(
        "{} by {} becomes {} by {}",
        one.before.verdict,
        by(&one.before.rule_id),
        one.after.verdict,
        by(&one.after.rule_id)
    );
    v1::ReplayedCall {
        call_id: one.call_id,
        session_key: key_of_stream(&one.stream),
        position: one.position.get(),
        recorded: Some(core(&one.before, false, None)),
        replayed: Some(core(&one.after, false, None)),
        equal: false,
        difference,
    }
}

fn by(rule: &str) -> String {
    if rule.is_empty() { "default".to_owned() } else { format!("rule `{rule}`") }
}

fn summary(found: &crate::engine::Backtest) -> v1::BacktestSummary {
    let mut changes: Vec<v1::VerdictChange> = found
        .changes
        .iter()
        .map(|((rule, from, to), (calls, ids))| v1::VerdictChange {
            rule_id: rule.clone(),
            from: v1::Verdict::from(*from).into(),
            to: v1::Verdict::from(*to).into(),
            calls: *calls,
            example_call_ids: ids.clone(),
        })
        .collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.calls));
    v1::BacktestSummary {
        calls: found.calls,
        changes,
        reviews_per_day_before: found.reviews_before as f64 / found.days,
        reviews_per_day_after: found.reviews_after as f64 / found.days,
        denied_now_allowed: found.denied_now_allowed,
    }
}

/// What the policy covers.
pub(super) async fn coverage(
    shared: &Arc<Shared>,
    request: v1::GetCoverageRequest,
) -> Result<v1::GetCoverageResponse, Failure> {
    let tenant = named(&request.tenant)?;
    let mut faults = Vec::new();
    let from = micros("from_time", request.from_time.as_ref(), &mut faults).map(Timestamp::from_micros);
    if !faults.is_empty() {
        return Err(Failure::invalid(faults));
    }
    let from = from.unwrap_or_else(|| shared.engine.now().plus_micros(-COVERAGE_US));
    let policy = with_grants(shared, &tenant).await?;
    let range = HistoryRange { tenant, from: Some(from), to: None };
    let found = shared.read(move |engine| engine.coverage(&range, &policy)).await?;
    let most = size(request.unmatched_max, UNMATCHED.0, UNMATCHED.1);
    let unmatched = found.unmatched.into_iter().take(most).map(|kind| v1::UnmatchedCalls {
        server: kind.server,
        tool: kind.tool,
        category: v1::RiskCategory::from(kind.category).into(),
        calls: kind.calls,
        sessions: kind.sessions,
    });
    Ok(v1::GetCoverageResponse {
        calls: found.calls,
        calls_allowed_by_rule: found.by_rule,
        calls_allowed_by_default: found.by_default,
        calls_reviewed: found.reviewed,
        calls_denied: found.denied,
        unmatched: unmatched.collect(),
    })
}

/// Rules that the last 30 days give ground for.
pub(super) async fn suggestions(shared: &Arc<Shared>, tenant: &str) -> Result<Vec<Suggestion>, Failure> {
    let policy = with_grants(shared, tenant).await?;
    let from = shared.engine.now().plus_micros(-SUGGESTIONS_US);
    let range = HistoryRange { tenant: tenant.to_owned(), from: Some(from), to: None };
    shared.read(move |engine| engine.suggestions(&range, &policy)).await
}

/// A page of suggestions.
pub(super) async fn list_suggestions(
    shared: &Arc<Shared>,
    mut request: v1::ListSuggestionsRequest,
) -> Result<v1::ListSuggestionsResponse, Failure> {
    let tenant = named(&request.tenant)?;
    let token = std::mem::take(&mut request.page_token);
    let page = size(std::mem::take(&mut request.page_size), PAGE.0, PAGE.1);
    let tokens = Tokens::new(shared.engine.key(&tenant), "suggestions", &request);
    let skip = if token.is_empty() { 0 } else { tokens.open_number("page_token", &token)? };
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let found = suggestions(shared, &tenant).await?;
    let shown = skip.saturating_add(page);
    let next_page_token = if found.len() > shown { tokens.seal_number(shown as u64) } else { String::new() };
    let now = shared.engine.now();
    let page = found.into_iter().skip(skip).take(page).map(|one| suggestion(&tenant, one, now));
    Ok(v1::ListSuggestionsResponse { suggestions: page.collect(), next_page_token })
}
