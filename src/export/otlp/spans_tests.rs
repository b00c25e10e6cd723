use super::super::super::row::tests::events;
use super::*;

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
    let mut second = Spans::resume(first.made(), false);
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
    for bad in [
        "",
        "00-0-0-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "zz",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        assert_eq!(parse(bad), None, "{bad}");
    }
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
    let event = |position: u64, data: Data| v1::Event { position, data: Some(data), ..v1::Event::default() };
    let opened =
        || Data::SessionOpened(v1::SessionOpened { session_id: "s".to_owned(), ..Default::default() });
    let closed = || Data::SessionClosed(v1::SessionClosed::default());
    let log = [event(1, opened()), event(5, closed()), event(7, opened()), event(9, closed())];
    let ended = |position: u64| Ended {
        tenant: "t".to_owned(),
        session_key: "k".to_owned(),
        position,
        end_nano: 1,
        end: "idle".to_owned(),
    };
    let first = session_span(&ended(5), &log).unwrap();
    let again = session_span(&ended(9), &log).unwrap();
    assert!(first.parent_span_id.is_empty());
    assert_eq!((again.parent_span_id, again.trace_id), (first.span_id, first.trace_id));
    assert!(session_span(&ended(1), &log).is_none());
}
