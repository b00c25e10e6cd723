//! The daemon's own export: follows the log from a checkpoint in the data directory, for as long as the daemon runs.
//!
//! The log is the buffer: while the collector is away nothing is read, and memory holds no more than one batch and the
//! calls that are not over. One thread at the lowest priority does it, so that calls come first. The checkpoint moves
//! only behind what the collector took; what it took while the daemon died comes again with the same span ids.

use super::collector::{BATCH, Collector, Refused};
use super::follow::{Follow, PAGE, Source};
use super::log_messages::LogRecord;
use super::messages::{KeyValue, Span, text};
use super::metrics;
use super::own::OwnSpans;
use crate::config::OtlpSection;
use crate::domain::hex::hex;
use crate::domain::time::SECOND_US;
use crate::engine::{Engine, Standing};
use crate::export::checkpoint::Checkpoint;
use crate::proto::v1::{Event, EventFilter, ListEventsRequest};
use crate::rpc::reading;
use crate::rpc::server::Door;
use anyhow::{Context, Result, anyhow};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Niceness of the thread: calls come first.
const NICENESS: i32 = 19;
/// Pause after the log grew, so that batches are worth their trip.
const GATHER: Duration = Duration::from_millis(250);
/// Pause between two looks at a log that does not grow, for what waits since too long.
const LOOK: Duration = Duration::from_secs(1);
/// How much later than it was received an event may be in the log, microseconds.
const LATE_US: i64 = 5 * SECOND_US;
/// Least time between two checkpoints.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(1);
/// Pause after the log or the checkpoint failed us.
const FAULT_PAUSE: Duration = Duration::from_secs(30);
/// Time to end in.
const STOP: Duration = Duration::from_secs(2);
/// Name of the subscription.
const NAME: &str = "otlp";

/// What is sent, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The collector, such as `http://127.0.0.1:4317`.
    pub endpoint: String,
    /// The data directory, where checkpoints are.
    pub data_dir: PathBuf,
    /// Whether a span a call, review and session is sent.
    pub traces: bool,
    /// Whether spans hold arguments, masked as they are stored, rather than their keyed digest.
    pub arguments: bool,
    /// Whether log records are sent of what somebody should see.
    pub logs: bool,
    /// Time between two pushes of metrics; zero: none are pushed.
    pub metrics_every: Duration,
}

impl Settings {
    /// As they are configured; none where there is no collector.
    pub fn of(section: &OtlpSection, data_dir: &Path) -> Option<Self> {
        Some(Self {
            endpoint: section.endpoint.0.clone()?,
            data_dir: data_dir.to_owned(),
            traces: section.traces,
            arguments: section.arguments,
            logs: section.logs,
            metrics_every: section.metrics_every,
        })
    }

    /// Traces without arguments, and nothing else.
    pub const fn new(endpoint: String, data_dir: PathBuf) -> Self {
        let metrics_every = Duration::ZERO;
        Self { endpoint, data_dir, traces: true, arguments: false, logs: false, metrics_every }
    }
}

/// A running export.
pub struct Live {
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
}

impl Live {
    /// Begins to export all partitions: on from the checkpoint, or from now on where there is none. Metrics need the
    /// door that they tell of; `own`: spans of the daemon's own work.
    pub fn start(
        engine: &Engine,
        door: Option<Door>,
        own: Option<OwnSpans>,
        settings: &Settings,
    ) -> Result<Self> {
        let (stop, stopping) = watch::channel(false);
        let (engine, settings) = (engine.clone(), settings.clone());
        let followed = if settings.traces || settings.logs { engine.partitions() } else { 0 };
        // Here and not on the thread: what is written from now on is sent.
        (0..followed).try_for_each(|partition| checkpoint(&engine, &settings, partition).map(drop))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS)
            {
                tracing::debug!(%error, "spans are sent at the priority of calls");
            }
            runtime.block_on(async {
                let local = tokio::task::LocalSet::new();
                let mut tasks = tokio::task::JoinSet::new();
                for partition in 0..followed {
                    let (engine, settings) = (engine.clone(), settings.clone());
                    tasks.spawn_local_on(run(engine, settings, partition, stopping.clone()), &local);
                }
                let (its_engine, its_settings) = (engine.clone(), settings.clone());
                let pushing = async move { beside(&its_engine, door, own, &its_settings).await };
                let mut told = stopping.clone();
                local
                    .run_until(async {
                        let pushing = local.spawn_local(pushing);
                        // Followers end by themselves.
                        let _told = told.wait_for(|stop| *stop).await;
                        pushing.abort();
                        while tasks.join_next().await.is_some() {}
                    })
                    .await;
            });
        };
        let thread = std::thread::Builder::new().name("askance-otlp".to_owned()).spawn(run)?;
        Ok(Self { stop, thread })
    }

    /// Ends it, with a last checkpoint.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let begun = Instant::now();
        while !self.thread.is_finished() && begun.elapsed() < STOP {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Pushes metrics and sends own spans, where that is asked for.
async fn beside(engine: &Engine, door: Option<Door>, own: Option<OwnSpans>, settings: &Settings) {
    let collector = match Collector::new(&settings.endpoint, instance(engine, 0)) {
        Ok(collector) => collector,
        Err(why) => return tracing::error!(why = ?why, "metrics and own spans are not sent"),
    };
    let metrics = async {
        if let Some(door) = door.filter(|_| !settings.metrics_every.is_zero()) {
            metrics::push(engine.clone(), door, collector.clone(), settings.metrics_every).await;
        }
    };
    let spans = async {
        if let Some(own) = own {
            own.send(collector.clone()).await;
        }
    };
    tokio::join!(metrics, spans);
}

/// Which daemon it is: the id of a log of its.
fn instance(engine: &Engine, partition: usize) -> Vec<KeyValue> {
    let log_id = engine.logs().nth(partition).map(|log| hex(&log.log_id()));
    log_id.map(|log_id| text("service.instance.id", &log_id)).into_iter().collect()
}

/// Exports one partition until it is told to stop.
async fn run(engine: Engine, settings: Settings, partition: usize, stopping: watch::Receiver<bool>) {
    let mut told = stopping.clone();
    let cut = async move {
        // What is being sent has its chance.
        let _told = told.wait_for(|stop| *stop).await;
        tokio::time::sleep(STOP / 2).await;
    };
    let mut cut = std::pin::pin!(cut);
    loop {
        let ended = match Export::open(&engine, &settings, partition) {
            Ok(mut export) => {
                let ended = tokio::select! {
                    ended = export.follow(stopping.clone()) => ended,
                    () = &mut cut => Ok(()),
                };
                export.write();
                ended
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return };
        let why = format!("{error:#}");
        tracing::error!(partition, why = ?why, "spans are not sent; it is tried again");
        engine.subscribers().note(NAME, partition, |standing| standing.last_error = why);
        tokio::select! {
            () = tokio::time::sleep(FAULT_PAUSE) => {}
            () = &mut cut => return,
        }
    }
}

/// What is sent at once.
enum Batch {
    Spans(Vec<Span>),
    Logs(Vec<LogRecord>),
}

struct Export {
    engine: Engine,
    partition: usize,
    follow: Follow<Partition>,
    collector: Collector,
    checkpoint: Checkpoint,
    path: PathBuf,
    /// Whether spans are sent, and log records.
    sends: (bool, bool),
    /// Whether the checkpoint at hand is further than the one on disk, which was written then.
    unwritten: bool,
    written: Instant,
}

impl Export {
    fn open(engine: &Engine, settings: &Settings, partition: usize) -> Result<Self> {
        let (checkpoint, path) = checkpoint(engine, settings, partition)?;
        let collector = Collector::new(&settings.endpoint, instance(engine, 0))
            .map_err(|why| anyhow!("otlp.endpoint: {why}"))?;
        let filter = EventFilter {
            partition: partition as u32,
            include_payloads: settings.traces && settings.arguments,
            include_argument_digests: settings.traces && !settings.arguments,
            ..EventFilter::default()
        };
        let source = Partition { engine: engine.clone(), filter };
        let follow = Follow::resume(source, &checkpoint, settings.arguments);
        let engine = engine.clone();
        let sends = (settings.traces, settings.logs);
        let written = Instant::now();
        Ok(Self { engine, partition, follow, collector, checkpoint, path, sends, unwritten: false, written })
    }

    async fn follow(&mut self, mut stopping: watch::Receiver<bool>) -> Result<()> {
        let mut tail = self.engine.partition_tail(self.partition).context("there is no such partition")?;
        loop {
            tail.mark_unchanged();
            let now_us = self.engine.now().as_micros().saturating_sub(LATE_US);
            let step = self.follow.step(Some(now_us)).await?;
            let (spans, logs) = self.sends;
            for batch in step.spans.chunks(BATCH).filter(|_| spans) {
                self.send(Batch::Spans(batch.to_vec())).await;
            }
            for batch in step.logs.chunks(BATCH).filter(|_| logs) {
                self.send(Batch::Logs(batch.to_vec())).await;
            }
            self.settle();
            if *stopping.borrow() {
                return Ok(());
            }
            if step.at_end {
                tokio::select! {
                    changed = tail.changed() => if changed.is_err() { return Ok(()) },
                    () = tokio::time::sleep(LOOK) => {}
                    _ = stopping.changed() => {}
                }
                tokio::select! {
                    () = tokio::time::sleep(GATHER) => {}
                    _ = stopping.wait_for(|stop| *stop) => {}
                }
            }
        }
    }

    /// Sends a batch until it is taken. One that the collector refuses for good is passed over, and told.
    async fn send(&mut self, batch: Batch) {
        let count = match &batch {
            Batch::Spans(spans) => spans.len() as u64,
            Batch::Logs(records) => records.len() as u64,
        };
        let (engine, partition) = (self.engine.clone(), self.partition);
        let mut told = false;
        let trouble = |why: &str, pause: Duration| {
            if !told {
                tracing::warn!(partition, why = ?why, "the collector does not answer; the log keeps what it is to get");
            }
            told = true;
            let again = engine.now().plus_micros(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX));
            engine.subscribers().note(NAME, partition, |standing| {
                standing.last_error = why.to_owned();
                standing.retry = Some(again);
            });
        };
        let answer = match batch {
            Batch::Spans(spans) => self.collector.spans(spans, trouble).await,
            Batch::Logs(records) => self.collector.logs(records, trouble).await,
        };
        let (passed_over, why) = match answer {
            Ok(taken) => (taken.rejected, taken.why),
            Err(refused @ Refused { .. }) => (count, refused.to_string()),
        };
        if passed_over > 0 {
            tracing::error!(partition, passed_over, why = ?why, "the collector does not want what it is sent");
        }
        self.engine.subscribers().note(NAME, partition, |standing: &mut Standing| {
            standing.last_error = why;
            standing.retry = None;
            standing.passed_over += passed_over;
            standing.sent += count - passed_over.min(count);
        });
    }

    /// Notes how far it has come: everything up to here was taken. Written down not more often than it is worth.
    fn settle(&mut self) {
        if self.follow.note(&mut self.checkpoint) {
            let (partition, position) = (self.partition, self.checkpoint.next - 1);
            self.engine.subscribers().note(NAME, partition, |standing| standing.checkpoint = position);
            self.unwritten = true;
        }
        if self.written.elapsed() >= CHECKPOINT_PAUSE {
            self.write();
        }
    }

    fn write(&mut self) {
        if !std::mem::take(&mut self.unwritten) {
            return;
        }
        self.written = Instant::now();
        if let Err(fault) = self.checkpoint.write(&self.path) {
            let (partition, why) = (self.partition, fault.to_string());
            tracing::error!(partition, why = ?why, "the checkpoint cannot be written: a restart sends spans again");
        }
    }
}

/// Where a partition's export stands; a new one begins now.
fn checkpoint(engine: &Engine, settings: &Settings, partition: usize) -> Result<(Checkpoint, PathBuf)> {
    let dir = settings.data_dir.join("otlp");
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(format!("spans-{partition}"));
    let of = format!("spans of partition {partition}");
    let is_new = !path.exists();
    let mut checkpoint =
        Checkpoint::read(&path, &of).with_context(|| format!("the checkpoint {}", path.display()))?;
    let end = engine.partition_tail(partition).map_or(0, |tail| tail.borrow().get()) + 1;
    if checkpoint.next > end {
        tracing::warn!(partition, "spans were sent of records that are lost since; it goes on with new ones");
    }
    if is_new || checkpoint.next > end {
        (checkpoint.next, checkpoint.held) = (end, Vec::new());
        checkpoint.write(&path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let position = checkpoint.next - 1;
    engine.subscribers().note(NAME, partition, |standing| standing.checkpoint = position);
    Ok((checkpoint, path))
}

/// The log of a partition. Reads block the thread: there is nothing else on it.
struct Partition {
    engine: Engine,
    filter: EventFilter,
}

impl Source for Partition {
    async fn events(&mut self, from: u64) -> Result<Vec<Event>> {
        let tail = self.engine.partition_tail(self.filter.partition as usize);
        if tail.is_none_or(|tail| tail.borrow().get() < from) {
            return Ok(Vec::new());
        }
        let request = ListEventsRequest {
            filter: Some(self.filter.clone()),
            from_position: from,
            page_size: PAGE,
            ..ListEventsRequest::default()
        };
        reading::events(&self.engine, request).map_err(|why| anyhow!("the log cannot be read: {why}"))
    }

    async fn first(&mut self, request: ListEventsRequest) -> Result<Option<Event>> {
        let read = reading::events(&self.engine, request);
        Ok(read.map_err(|why| anyhow!("the log cannot be read: {why}"))?.into_iter().next())
    }
}
