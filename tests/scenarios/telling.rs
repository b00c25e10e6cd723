//! Notifications, against a real HTTP receiver that answers, fails, hangs and answers late.

use crate::stage::{Stage, ask, migration, tuesday};
use askance::clock::Clock;
use askance::notify::{Endpoint, Kind, Settings, signature, start};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A post as it came in.
#[derive(Clone, Debug)]
struct Post {
    id: String,
    at: i64,
    signature: String,
    body: Vec<u8>,
}

/// What the receiver does with the next posts; afterwards it answers 200.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Fails,
    Hangs,
    AnswersLate,
}

#[derive(Clone)]
struct Receiver {
    url: String,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Receiver {
    async fn start(moods: &[Mood]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let posts = Arc::new(Mutex::new(Vec::new()));
        let moods = Arc::new(Mutex::new(moods.to_vec()));
        let seen = Arc::clone(&posts);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (seen, moods) = (Arc::clone(&seen), Arc::clone(&moods));
                tokio::spawn(async move {
                    let post = read(&mut stream).await;
                    let mood = {
                        let mut moods = moods.lock().unwrap();
                        if moods.is_empty() { None } else { Some(moods.remove(0)) }
                    };
                    seen.lock().unwrap().push(post);
                    match mood {
                        Some(Mood::Hangs) => std::future::pending().await,
                        Some(Mood::AnswersLate) => tokio::time::sleep(Duration::from_secs(3)).await,
                        Some(Mood::Fails) => {
                            let _gone = stream.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").await;
                            return;
                        }
                        None => {}
                    }
                    let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                });
            }
        });
        Self { url, posts }
    }

    fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    async fn has(&self, count: usize) -> Vec<Post> {
        for _ in 0..1_000 {
            if self.posts().len() >= count {
                return self.posts();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} of {count} posts", self.posts().len());
    }
}

async fn read(stream: &mut tokio::net::TcpStream) -> Post {
    let mut bytes = Vec::new();
    let head = loop {
        let mut piece = [0; 4_096];
        let count = stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "the sender hung up");
        bytes.extend_from_slice(&piece[..count]);
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let header = |name: &str| {
        let prefix = format!("{name}: ");
        text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or("").to_owned()
    };
    let length: usize = header("content-length").parse().unwrap();
    let mut body = bytes[head + 4..].to_vec();
    while body.len() < length {
        let mut piece = [0; 4_096];
        let count = stream.read(&mut piece).await.unwrap();
        body.extend_from_slice(&piece[..count]);
    }
    Post {
        id: header("webhook-id"),
        at: header("webhook-timestamp").parse().unwrap_or(0),
        signature: header("webhook-signature"),
        body,
    }
}

fn endpoint(name: &str, kind: Kind, url: &str) -> Endpoint {
    Endpoint {
        name: name.to_owned(),
        kind,
        url: url.to_owned(),
        key: b"0123456789abcdef01234567".to_vec(),
        tenants: Vec::new(),
        link: "https://reviews.example/{review}".to_owned(),
    }
}

fn settings(dir: &Path) -> Settings {
    Settings {
        try_max: Duration::from_millis(500),
        pause_least: Duration::from_millis(20),
        pause_most: Duration::from_millis(100),
        ..Settings::new(dir.to_owned())
    }
}

/// A receiver that fails, hangs and answers late is told in the end, each message under one id; a dead one
/// beside it slows nothing; after a restart it goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_past_failures_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let moody = Receiver::start(&[Mood::Fails, Mood::Hangs, Mood::AnswersLate]).await;
    let slack = Receiver::start(&[]).await;
    let endpoints = [
        endpoint("moody", Kind::Webhook, &moody.url),
        endpoint("slack", Kind::Slack, &slack.url),
        endpoint("dead", Kind::Webhook, "http://127.0.0.1:1/"),
    ];
    let stage = Stage::open(dir.path(), &clock).await;
    let tasks = start(&stage.engine, &endpoints, &settings(dir.path()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = ask(&mut stage.gateway().await, migration("c-1")).await;

    let told = slack.has(1).await;
    let text: Value = serde_json::from_slice(&told[0].body).unwrap();
    let text = text["text"].as_str().unwrap();
    assert!(text.contains("run_database_migration"), "{text}");
    assert!(
        text.contains(&format!("<https://reviews.example/{}|open the review>", asked.review_id)),
        "{text}"
    );
    assert!(!text.contains("0047_drop_legacy_users"), "no arguments: {text}");

    let posts = moody.has(4).await;
    for post in &posts {
        assert_eq!(post.id, posts[0].id, "every try has the same id");
        let key = b"0123456789abcdef01234567";
        assert_eq!(post.signature, signature(key, &post.id, post.at, &post.body));
    }
    let event: Value = serde_json::from_slice(&posts[3].body).unwrap();
    assert_eq!(event["type"], "askance.review.opened.v1");
    assert_eq!(event["data"]["review_id"], asked.review_id.as_str());
    tokio::time::sleep(Duration::from_millis(200)).await;
    tasks.iter().for_each(|task| task.abort());
    stage.close().await;

    let stage = Stage::open(dir.path(), &clock).await;
    ask(&mut stage.gateway().await, migration("c-2")).await;
    stage.pass(20);
    let tasks = start(&stage.engine, &endpoints, &settings(dir.path()));
    let posts = moody.has(5).await;
    assert_ne!(posts[4].id, posts[0].id, "what was told is not told again");
    let event: Value = serde_json::from_slice(&posts[4].body).unwrap();
    assert_eq!(event["type"], "askance.review.resolved.v1", "what happened meanwhile is told");
    tasks.iter().for_each(|task| task.abort());
    stage.close().await;
}
