//! One endpoint and one partition: reads on from its checkpoint, tells, tries again, and moves the checkpoint.

use super::checkpoint::Checkpoint;
use super::endpoint::{Endpoint, Kind};
use super::http::{Target, post};
use super::message::{Message, of_opened};
use super::sign::signature;
use crate::domain::position::Position;
use crate::engine::{Engine, EventView, TimelineEvent};
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Events read at once.
const CHUNK: usize = 256;
/// Events passed over before the checkpoint is moved without a message.
const QUIET_EVENTS: u64 = 10_000;

/// How endpoints are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The data directory, where checkpoints are.
    pub data_dir: PathBuf,
    /// Time for one try. Default 10 s.
    pub try_max: Duration,
    /// Pause after the first failed try; it doubles with each. Default 1 s.
    pub pause_least: Duration,
    /// Longest pause. Default 5 min.
    pub pause_most: Duration,
    /// Time after which a message that does not arrive is passed over, and said so in the log. Default 24 h.
    pub give_up: Duration,
}

impl Settings {
    /// With checkpoints in this data directory.
    pub const fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            try_max: Duration::from_secs(10),
            pause_least: Duration::from_secs(1),
            pause_most: Duration::from_secs(300),
            give_up: Duration::from_secs(86_400),
        }
    }
}

/// Starts the subscriptions of these endpoints: each a task of its own, for each partition. A new endpoint
/// is told what happens from now on.
pub fn start(engine: &Engine, endpoints: &[Endpoint], settings: &Settings) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    for endpoint in endpoints {
        for partition in 0..engine.partitions() {
            let Ok(target) = Target::parse(&endpoint.url) else { continue };
            let subscription = Subscription {
                engine: engine.clone(),
                endpoint: endpoint.clone(),
                target,
                partition,
                checkpoint: Checkpoint::new(&settings.data_dir, &endpoint.name, partition),
                settings: settings.clone(),
            };
            tasks.push(tokio::spawn(subscription.run()));
        }
    }
    tasks
}

struct Subscription {
    engine: Engine,
    endpoint: Endpoint,
    target: Target,
    partition: usize,
    checkpoint: Checkpoint,
    settings: Settings,
}

impl Subscription {
    async fn run(self) {
        let Some(mut tail) = self.engine.partition_tail(self.partition) else { return };
        let name = self.endpoint.name.clone();
        let mut told = match self.checkpoint.read() {
            Ok(Some(position)) => position,
            Ok(None) => {
                let newest = tail.borrow().get();
                self.note(newest);
                newest
            }
            Err(fault) => {
                tracing::error!(endpoint = ?name, why = ?fault.to_string(), "nobody is told: the checkpoint cannot be read");
                return;
            }
        };
        let mut noted = told;
        loop {
            while told < tail.borrow_and_update().get() {
                let events = match self.read(told + 1).await {
                    Ok(events) => events,
                    Err(why) => {
                        tracing::error!(endpoint = ?name, why = ?why, "the log cannot be read");
                        sleep(self.settings.pause_most).await;
                        continue;
                    }
                };
                if events.is_empty() {
                    break;
                }
                for event in events {
                    told = event.recorded.position.get();
                    if let Some(message) = of_opened(&self.endpoint, self.partition, &event.recorded) {
                        self.tell(&message).await;
                        self.note(told);
                        noted = told;
                    }
                }
                if told - noted > QUIET_EVENTS {
                    self.note(told);
                    noted = told;
                }
            }
            if tail.changed().await.is_err() {
                return;
            }
        }
    }

    async fn read(&self, from: u64) -> Result<Vec<TimelineEvent>, String> {
        let (engine, partition) = (self.engine.clone(), self.partition);
        let read = move || engine.partition_events(partition, Position::new(from), CHUNK, EventView::Basic);
        let events = tokio::task::spawn_blocking(read).await.map_err(|fault| fault.to_string())?;
        events.map_err(|error| error.to_string())
    }

    fn note(&self, position: u64) {
        if let Err(fault) = self.checkpoint.write(position) {
            let name = &self.endpoint.name;
            tracing::error!(endpoint = ?name, why = ?fault.to_string(), "the checkpoint cannot be written: a restart tells again");
        }
    }

    /// Tells until it arrives, or is given up.
    async fn tell(&self, message: &Message) {
        let begun = Instant::now();
        let mut pause = self.settings.pause_least;
        let mut tries = 0_u32;
        loop {
            tries += 1;
            let Err(failure) = self.send(message).await else { return };
            let name = &self.endpoint.name;
            let why = failure.to_string();
            if begun.elapsed() + pause > self.settings.give_up {
                tracing::error!(endpoint = ?name, id = ?message.id, tries, why = ?why, "a notification is given up");
                return;
            }
            tracing::warn!(endpoint = ?name, id = ?message.id, tries, why = ?why, "a notification did not arrive; it is tried again");
            sleep(pause).await;
            pause = (pause * 2).min(self.settings.pause_most);
        }
    }

    async fn send(&self, message: &Message) -> Result<(), super::http::Failure> {
        let at = self.engine.now().as_micros().div_euclid(1_000_000);
        let mut headers = vec![("content-type", message.content_type.to_owned())];
        if self.endpoint.kind == Kind::Webhook {
            headers.push(("webhook-id", message.id.clone()));
            headers.push(("webhook-timestamp", at.to_string()));
            let signed = signature(&self.endpoint.key, &message.id, at, &message.body);
            headers.push(("webhook-signature", signed));
        }
        post(&self.target, &headers, &message.body, self.settings.try_max).await
    }
}
