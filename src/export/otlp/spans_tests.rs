use super::super::super::row::tests::events;
use super::super::ids;
use super::super::messages::Value;
use super::super::{ERROR, OK, names};
use super::*;
use crate::domain::hex::hex;

fn spans(made: Vec<Made>) -> Vec<Span> {
    made.into_iter().filter_map(|made| if let Made::Span(span) = made { Some(span) } else { None }).collect()
}

fn value<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

fn outcome(position: u64) -> v1::Event {
    let [proposed, _] = events("get_logs", v1::Verdict::Allow, 10);
    let outcome = v1::Outcome {
        status: v1::OutcomeStatus::Ok.into(),
        latency: Some(prost_types::Duration { seconds: 0, nanos: 5_000_000 }),
        ..v1::Outcome::default()
    };
    let completed = v1::CallCompleted { call_id: "c-1".to_owned(), outcome: Some(outcome), breach: false };
    v1::Event { position, data: Some(Data::CallCompleted(completed)), ..proposed }
}

#[test]
fn an_allowed_call_waits_for_its_outcome_and_a_held_one_does_not() {
    let mut made = Vec::new();
    let mut allowed = Spans::default();
    for event in events("get_logs", v1::Verdict::Allow, 10) {
        allowed.take(&event, &mut made);
    }
    assert!(made.is_empty());
    assert_eq!(allowed.next(), 6, "it goes on at the proposal that waits");
    allowed.take(&outcome(8), &mut made);
    let span = spans(made).remove(0);
    assert_eq!(
        (span.name.as_str(), span.trace_id.len(), span.span_id.len()),
        ("execute_tool get_logs", 16, 8)
    );
    assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 5_000_000);
    assert_eq!(span.status.as_ref().map(|status| status.code), Some(OK));
    assert_eq!(allowed.next(), 9);
    assert_eq!(span.events.len(), 1, "its notable finding");

    let mut made = Vec::new();
    let mut denied = Spans::default();
    events("drop_table", v1::Verdict::Deny, 95).iter().for_each(|event| denied.take(event, &mut made));
    let span = spans(made).remove(0);
    assert_eq!(span.status.as_ref().map(|status| status.code), Some(ERROR));
    assert_eq!(value(&span, names::VERDICT), Some(&Value::Text("deny".to_owned())));
    assert_eq!(value(&span, names::ARGUMENTS), None);
    assert_eq!(value(&span, names::ERROR_TYPE), Some(&Value::Text("deny".to_owned())));
}

#[test]
fn the_same_log_gives_the_same_spans_and_a_restart_makes_none_twice() {
    let run = |spans_: &mut Spans, log: &[v1::Event]| {
        let mut made = Vec::new();
        log.iter().for_each(|event| spans_.take(event, &mut made));
        spans(made)
    };
    let mut log: Vec<v1::Event> = events("get_logs", v1::Verdict::Allow, 10).into();
    // A later call of another id that is denied at once, while the first still waits.
    for mut event in events("drop_table", v1::Verdict::Deny, 95) {
        event.position += 2;
        if let Some(Data::CallProposed(proposed)) = &mut event.data {
            proposed.call.as_mut().unwrap().call_id = "c-2".to_owned();
        }
        log.push(event);
    }
    log.push(outcome(10));
    let whole = run(&mut Spans::default(), &log);
    assert_eq!(whole.len(), 2);
    assert_ne!(whole[0].span_id, whole[1].span_id);

    let mut first = Spans::default();
    let mut parts = run(&mut first, &log[..4]);
    assert_eq!((parts.len(), first.next()), (1, 6));
    let mut second = Spans::resume(first.taken(), first.held(), false);
    assert_eq!(second.next(), 6);
    let from = log.iter().position(|event| event.position == first.next()).unwrap();
    parts.extend(run(&mut second, &log[from..]));
    assert_eq!(parts, whole);
}

#[test]
fn a_call_hangs_under_the_trace_it_came_with() {
    let [mut proposed, decided] = events("drop_table", v1::Verdict::Deny, 95);
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
    proposed.trace = Some(v1::TraceContext { traceparent, ..v1::TraceContext::default() });
    let mut made = Vec::new();
    let mut spans_ = Spans::default();
    [proposed, decided].iter().for_each(|event| spans_.take(event, &mut made));
    let span = spans(made).remove(0);
    assert_eq!(hex(&span.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(span.links.len(), 1, "its session");
}

#[test]
fn what_never_ends_is_let_go_after_its_time() {
    let mut made = Vec::new();
    let mut spans_ = Spans::default();
    events("get_logs", v1::Verdict::Allow, 10).iter().for_each(|event| spans_.take(event, &mut made));
    let later = |seconds: i64| {
        let [mut event, _] = events("get_logs", v1::Verdict::Allow, 10);
        event.position = 9;
        event.receive_time = Some(prost_types::Timestamp { seconds: 1_763_400_001 + seconds, nanos: 0 });
        event.data = Some(Data::SessionOpened(v1::SessionOpened::default()));
        event
    };
    spans_.take(&later(60), &mut made);
    assert!(made.is_empty());
    spans_.take(&later(61), &mut made);
    assert_eq!(spans(made).len(), 1);
}

#[test]
fn a_session_is_the_root_and_opened_again_a_span_below_it() {
    let event = |position: u64, data: Data| v1::Event {
        position,
        revision: position,
        tenant: "t".to_owned(),
        session_key: "k".to_owned(),
        data: Some(data),
        ..v1::Event::default()
    };
    let opened = || {
        let (session_id, parent_session_key) = ("s".to_owned(), "p".to_owned());
        Data::SessionOpened(v1::SessionOpened { session_id, parent_session_key, ..Default::default() })
    };
    let closed = || Data::SessionClosed(v1::SessionClosed::default());
    let log = [event(1, opened()), event(5, closed()), event(7, opened()), event(9, closed())];
    let mut made = Vec::new();
    let mut spans_ = Spans::default();
    log.iter().for_each(|event| spans_.take(event, &mut made));
    let whole = spans(made);
    let (first, again) = (&whole[0], &whole[1]);
    assert!(first.parent_span_id.is_empty());
    assert_eq!((&again.parent_span_id, &again.trace_id), (&first.span_id, &first.trace_id));
    let parent = (&first.links[0].trace_id[..], &first.links[0].span_id[..]);
    assert_eq!(parent, (&ids::trace_of("t", "p")[..], &ids::root_of("t", "p")[..]));

    // After a restart the beginning is read again; the span is the same.
    let mut made = Vec::new();
    let mut later = Spans::resume(8, [], false);
    later.take(&log[3], &mut made);
    let Some(Made::Ended(ended)) = made.pop() else { panic!("{made:?}") };
    assert_eq!(session_span::session_span(&ended, &log[2]).as_ref(), Some(again));
    assert_eq!(session_span::session_span(&ended, &log[1]), None);
}

fn after(position: u64, seconds: i64, data: Data) -> v1::Event {
    let [proposed, _] = events("drop_table", v1::Verdict::Review, 81);
    let time = Some(prost_types::Timestamp { seconds: 1_763_400_001 + seconds, nanos: 0 });
    v1::Event { position, event_time: time, receive_time: time, data: Some(data), ..proposed }
}

fn reviewed(state: v1::ReviewState) -> Vec<v1::Event> {
    let mut log: Vec<v1::Event> = events("drop_table", v1::Verdict::Review, 81).into();
    let call =
        v1::ToolCall { call_id: "c-1".to_owned(), tool: "drop_table".to_owned(), ..v1::ToolCall::default() };
    let review_id = "r0-8".to_owned();
    let review = v1::Review {
        review_id: review_id.clone(),
        call: Some(call),
        groups: vec!["dba".to_owned()],
        approvals_needed: 1,
        ..v1::Review::default()
    };
    log.push(after(8, 0, Data::ReviewOpened(v1::ReviewOpened { review: Some(review) })));
    let vote = v1::Vote { reviewer: "user:bo".to_owned(), choice: 1, ..v1::Vote::default() };
    let cast = v1::VoteCast { review_id: review_id.clone(), vote: Some(vote) };
    log.push(after(9, 300, Data::VoteCast(cast)));
    let resolved = v1::ReviewResolved { review_id, state: state.into(), ..v1::ReviewResolved::default() };
    log.push(after(10, 300, Data::ReviewResolved(resolved)));
    log
}

#[test]
fn a_review_is_a_span_below_its_call_and_the_call_ends_with_its_outcome() {
    let mut log = reviewed(v1::ReviewState::Approved);
    let (call_id, review_id) = ("c-1".to_owned(), "r0-8".to_owned());
    let released = v1::CallReleased { call_id, review_id, risk: 80, ..v1::CallReleased::default() };
    log.push(after(11, 310, Data::CallReleased(released)));
    log.push(v1::Event { receive_time: log[5].receive_time, ..outcome(12) });
    let mut made = Vec::new();
    let mut spans_ = Spans::default();
    log.iter().for_each(|event| spans_.take(event, &mut made));
    let whole = spans(made);
    let (review, call) = (&whole[0], &whole[1]);
    assert_eq!(whole.len(), 2, "{whole:?}");
    assert_eq!((review.name.as_str(), call.name.as_str()), ("review drop_table", "execute_tool drop_table"));
    assert_eq!((&review.parent_span_id, &review.trace_id), (&call.span_id, &call.trace_id));
    assert_eq!(review.end_time_unix_nano - review.start_time_unix_nano, 300_000_000_000);
    assert_eq!(review.events[0].name, names::VOTE_CAST);
    assert_eq!(call.status.as_ref().map(|status| status.code), Some(OK));
    assert_eq!(value(call, names::REVIEW_ID), Some(&Value::Text("r0-8".to_owned())));
    assert!(call.end_time_unix_nano >= review.end_time_unix_nano);
    assert_eq!((spans_.next(), spans_.held().count()), (13, 0));

    // The same, killed behind any event.
    for cut in 0..log.len() {
        let mut first = Spans::default();
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        log[..cut].iter().for_each(|event| first.take(event, &mut before));
        let mut second = Spans::resume(first.taken(), first.held(), false);
        let from = log.iter().position(|event| event.position >= second.next()).unwrap_or(log.len());
        log[from..].iter().for_each(|event| second.take(event, &mut behind));
        before.append(&mut behind);
        assert_eq!(spans(before), whole, "cut at {cut}");
    }
}

#[test]
fn a_call_refused_in_the_end_is_an_error_and_so_is_its_review() {
    let mut log = reviewed(v1::ReviewState::Denied);
    let refused = v1::CallRefused {
        call_id: "c-1".to_owned(),
        review_id: "r0-8".to_owned(),
        reason_code: v1::ReasonCode::DeniedByReviewer.into(),
        reason: "a reviewer said no".to_owned(),
    };
    log.push(after(11, 300, Data::CallRefused(refused)));
    let mut made = Vec::new();
    let mut spans_ = Spans::default();
    log.iter().for_each(|event| spans_.take(event, &mut made));
    for span in spans(made) {
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(ERROR), "{}", span.name);
    }
    assert_eq!(spans_.held().count(), 0);
}

#[test]
fn no_more_is_held_than_may_be_and_those_go_first_whose_time_is_up_first() {
    let mut made = Vec::new();
    let mut spans_ = Spans::default();
    // A review waits from the beginning.
    reviewed(v1::ReviewState::Approved)[..3].iter().for_each(|event| spans_.take(event, &mut made));
    for index in 0..HELD_MAX as u64 + 10 {
        for mut event in events("get_logs", v1::Verdict::Allow, 10) {
            event.position += 100 + 2 * index;
            if let Some(Data::CallProposed(proposed)) = &mut event.data {
                proposed.call.as_mut().unwrap().call_id = format!("many-{index}");
            }
            spans_.take(&event, &mut made);
        }
    }
    assert_eq!(spans_.held().count(), HELD_MAX);
    assert_eq!(spans_.next(), 6, "the review still waits");
    assert_eq!(spans(made).len(), 11);
}
