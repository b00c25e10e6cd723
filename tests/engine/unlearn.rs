//! A session that is unlearnt has taught nothing, on any way through the log.

use super::support::*;
use askance::domain::call::SessionSource;
use askance::domain::{StreamId, Timestamp};
use askance::engine::{Command, Decided, Engine, Error, replay, verify};
use askance::projection::State;
use std::collections::BTreeSet;

async fn digest(engine: &Engine) -> [u8; 32] {
    engine.ask("default", State::digest).await.unwrap()
}

async fn sessions(engine: &Engine) -> u64 {
    engine.ask("default", |state| state.tenant("default").unwrap().models.sessions()).await.unwrap()
}

fn stream(engine: &Engine, session: &str) -> StreamId {
    let key = engine.key("default");
    askance::decide::stream_of(&key, "default", "user:alice", SessionSource::Explicit, session)
}

async fn unlearn(engine: &Engine, session: StreamId) -> Result<Option<askance::domain::Position>, Error> {
    let unlearned: BTreeSet<StreamId> = engine.ask("default", |state| state.unlearned().clone()).await?;
    let relearning = engine.relearning("default", session, unlearned)?;
    let make = |reply| Command::Unlearn {
        tenant: "default".to_owned(),
        session,
        reason: "poisoned".to_owned(),
        relearning: Box::new(relearning),
        now: engine.now(),
        reply,
    };
    engine.call("default", make).await
}

/// A session that does at 03:00 what nobody does there.
async fn poison(engine: &Engine, session: &str, at: Timestamp) {
    for number in 0..30 {
        let at = at.plus_micros(number * 20_000_000);
        let id = format!("{session}-{number}");
        let told = Told { at: Some(at), ..told(&id, session, "export_all", r#"{"to":"eve"}"#) };
        import(engine, &told, number == 29).await.unwrap();
    }
}

async fn probe(engine: &Engine, id: &str) -> Decided {
    evaluate(engine, &told(id, id, "export_all", r#"{"to":"eve"}"#)).await.unwrap()
}

#[tokio::test]
async fn what_a_session_taught_is_gone_and_every_fold_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let clock = askance::clock::Clock::manual(tuesday());
    let options = options(dir.path(), &clock);
    let (engine, _) = open(&options);
    five_weeks(&engine).await;
    let before = probe(&engine, "before").await.decision.assessment;
    let learnt = sessions(&engine).await;
    for (number, hours) in [3, 27, 51].into_iter().enumerate() {
        let at = Timestamp::parse("2026-11-10T03:00:00Z").unwrap().plus_micros(hours * 3_600_000_000);
        poison(&engine, &format!("poison-{number}"), at).await;
    }
    assert_eq!(sessions(&engine).await, learnt + 3);
    let poisoned = probe(&engine, "poisoned").await.decision.assessment;
    assert!(poisoned.evidence < before.evidence, "the control: three nights taught something");

    for number in 0..3 {
        let position = unlearn(&engine, stream(&engine, &format!("poison-{number}"))).await.unwrap();
        assert!(position.is_some());
    }
    assert_eq!(unlearn(&engine, stream(&engine, "poison-0")).await.unwrap(), None, "once is enough");
    assert_eq!(sessions(&engine).await, learnt);
    let after = probe(&engine, "after").await.decision.assessment;
    let learnt_scores = |assessment: &askance::domain::decision::Assessment| -> Vec<Option<i32>> {
        assessment.scores.iter().skip(2).map(|score| score.raw).collect()
    };
    assert_eq!(
        learnt_scores(&after),
        learnt_scores(&before),
        "all but the clock and the windows is as it was"
    );

    let unknown = unlearn(&engine, StreamId::from_bytes([9; 16])).await;
    assert!(matches!(unknown, Err(Error::NotFound(_))), "{unknown:?}");

    let live = digest(&engine).await;
    let log = engine.log("default").clone();
    let report = replay(&log, log.position(), true, |_| {}).unwrap();
    assert_eq!((report.differing, report.state_digest), (0, live), "{:#?}", report.differences.first());
    engine.stop().await.unwrap();
    drop((engine, log));

    // Through the last snapshot, and from the first record on.
    let (engine, opened) = open(&options);
    assert_eq!(opened.state.folded, 0);
    assert_eq!(digest(&engine).await, live);
    let verified = verify(engine.log("default"), |_| {}).unwrap();
    assert_eq!((verified.state_digest, verified.snapshots_equal), (Some(live), 1));
    engine.stop().await.unwrap();
}
