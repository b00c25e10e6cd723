//! Which session a call belongs to: by the most trusted of its hints, else by who calls and when.

use crate::support::{Server, call, decide};
use askance::clock::Clock;
use askance::domain::Timestamp;
use askance::domain::call::SessionSource;
use askance::proto::v1;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A call with hints of every kind but those left out.
fn hinted(id: &str, without: &[v1::SessionSource]) -> v1::ToolCall {
    let has = |source: v1::SessionSource| !without.contains(&source);
    let hint =
        |source: v1::SessionSource, text: &str| if has(source) { text.to_owned() } else { String::new() };
    let session = v1::SessionHints {
        session_id: hint(v1::SessionSource::Explicit, "own"),
        conversation_id: hint(v1::SessionSource::Conversation, "conversation"),
        host_session_id: hint(v1::SessionSource::Host, "host"),
        mcp_session_id: hint(v1::SessionSource::Mcp, "mcp"),
        ..Default::default()
    };
    let trace = v1::TraceContext { traceparent: hint(v1::SessionSource::Trace, TRACE), ..Default::default() };
    v1::ToolCall { session: Some(session), trace: Some(trace), ..call(id) }
}

#[tokio::test]
async fn the_most_trusted_hint_names_the_session() {
    use v1::SessionSource::{Conversation, Explicit, Host, Inactivity, Mcp, Trace};
    let server = Server::start().await;
    let mut gateway = server.gateway().await;
    let order = [Explicit, Conversation, Host, Trace, Mcp, Inactivity];
    let mut keys = Vec::new();
    for (number, expected) in order.into_iter().enumerate() {
        let decision = decide(&mut gateway, hinted(&format!("c-{number}"), &order[..number])).await;
        assert_eq!(decision.session_source(), expected);
        keys.push(decision.session_key);
    }
    assert_eq!(keys[5], keys[4], "a call without hints goes on with what its principal and client did last");
    let named: std::collections::BTreeSet<&String> = keys[..5].iter().collect();
    assert_eq!(named.len(), 5, "an id from another source is another session");
    server.stop().await;

    // The operator may trust another one more.
    let trusts_hosts = |options: &mut askance::engine::Options| {
        options.settings.session_order = vec![SessionSource::Host, SessionSource::Explicit];
    };
    let server = Server::with(trusts_hosts, |_| {}).await;
    let mut gateway = server.gateway().await;
    let decision = decide(&mut gateway, hinted("c-1", &[])).await;
    assert_eq!((decision.session_source(), decision.session_id.as_str()), (Host, "host"));
    let unlisted = decide(&mut gateway, hinted("c-2", &[Explicit, Host])).await;
    assert_eq!(unlisted.session_source(), Inactivity, "hints that are not trusted do not count");
    server.stop().await;
}

#[tokio::test]
async fn without_a_hint_a_pause_begins_a_new_session_and_nobody_joins_anothers() {
    let clock = Clock::manual(Timestamp::parse("2026-11-17T14:00:00Z").unwrap());
    let set = clock.clone();
    let server = Server::with(move |options| options.clock = set, |_| {}).await;
    let mut gateway = server.gateway().await;
    let bare = |id: &str| v1::ToolCall { session: None, ..call(id) };
    let first = decide(&mut gateway, bare("c-1")).await.session_key;
    clock.set(clock.now().plus_micros(1_799_000_000));
    assert_eq!(decide(&mut gateway, bare("c-2")).await.session_key, first, "29:59 later");
    clock.set(clock.now().plus_micros(1_801_000_000));
    let second = decide(&mut gateway, bare("c-3")).await.session_key;
    assert_ne!(second, first, "30:01 later");
    let other = v1::ToolCall { client: "another-host".to_owned(), ..bare("c-4") };
    assert_ne!(decide(&mut gateway, other).await.session_key, second);

    // The same id of another user is another session.
    let mine = decide(&mut gateway, call("c-5")).await.session_key;
    let theirs = v1::ToolCall { principal_chain: vec!["user:mallory".to_owned()], ..call("c-6") };
    assert_ne!(decide(&mut gateway, theirs).await.session_key, mine);
    assert_eq!(decide(&mut gateway, call("c-7")).await.session_key, mine, "the control");
    server.stop().await;
}
