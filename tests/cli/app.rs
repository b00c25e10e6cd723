//! The daemon in this process: it must not hang on when an engine thread is gone.

use askance::app::{App, Start};
use askance::config::{Bytes, Config, Listen};
use std::time::Duration;

fn open(dir: &std::path::Path) -> App {
    let mut config = Config::default();
    config.general.data_dir = dir.to_owned();
    config.server.listen = Listen(None);
    config.log.ballast = Bytes(0);
    config.log.free_low = Bytes(0);
    config.log.free_hard = Bytes(0);
    App::open(&config, Start::default()).unwrap()
}

async fn ends_with_an_error(running: impl Future<Output = anyhow::Result<()>>) {
    let ended = tokio::time::timeout(Duration::from_secs(20), running).await.expect("it must not hang");
    let error = ended.expect_err("a dead engine is a failure");
    assert!(error.to_string().contains("an engine thread died"), "{error}");
}

// One test, because the hook on panics belongs to the whole process.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_engine_thread_ends_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let app = open(dir.path());
    let engine = app.engine().clone();
    let running = app.bind().unwrap().run(std::future::pending());
    let stopping = tokio::spawn(async move { engine.stop().await });
    ends_with_an_error(running).await;
    stopping.await.unwrap().unwrap();

    let other = tempfile::tempdir().unwrap();
    let app = open(other.path());
    let engine = app.engine().clone();
    let running = app.bind().unwrap().run(std::future::pending());
    let thread = std::thread::Builder::new().name("askance-keeper".to_owned());
    let died = thread.spawn(|| panic!("on purpose")).unwrap().join();
    assert!(died.is_err());
    ends_with_an_error(running).await;
    engine.stop().await.unwrap();
}
