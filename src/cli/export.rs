//! `askance export`: what is in the log, in the form of another tool; once, or as it comes.
//!
//! With a checkpoint an export goes on where it was, also after a kill: a file is cut back to what the checkpoint
//! covers, so that every event stands in it once; on standard output the last second may come twice.

use super::Global;
use super::client::{Connection, Otherwise, connect, refused};
use super::output::Output;
use super::sessions::time;
use super::timeline::event_json;
use crate::app::Signals;
use crate::domain::time::Timestamp;
use crate::export::checkpoint::Checkpoint;
use crate::export::days::Days;
use crate::export::row::Rows;
use crate::export::{csv, ecs, ocsf};
use crate::proto::v1::timeline_service_client::TimelineServiceClient;
use crate::proto::v1::watch_events_response::Update;
use crate::proto::v1::{Event, EventFilter, ListEventsRequest, WatchEventsRequest};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Events asked for at once.
const PAGE: u32 = 5_000;
/// Largest message from the daemon.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Pause between two checkpoints while an export follows the log.
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(1);

/// Pause between two rounds of Parquet files while an export follows the log.
const FILES_PAUSE: Duration = Duration::from_secs(300);

/// Arguments of `askance export`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The form.
    #[arg(value_enum)]
    form: Form,
    /// File to write, a directory for parquet; `-`: standard output.
    #[arg(long, default_value = "-", value_name = "FILE")]
    out: PathBuf,
    /// Only of this tenant; without it all tenants of a partition.
    #[arg(long, default_value = "", value_name = "NAME")]
    tenant: String,
    /// The partition, where no tenant is named.
    #[arg(long, default_value_t = 0, value_name = "NUMBER", conflicts_with = "tenant")]
    partition: u32,
    /// Only what was received from this time on, such as 2026-11-17T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) since: Option<Timestamp>,
    /// Only what was received before this time.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "follow")]
    pub(super) until: Option<Timestamp>,
    /// Include arguments, masked as they are stored. Without it spans have keyed digests of them.
    #[arg(long, visible_alias = "arguments")]
    pub(super) payloads: bool,
    /// Go on as events come, until told to stop.
    #[arg(long)]
    pub(super) follow: bool,
    /// Where the export stands; it goes on from there.
    #[arg(long, value_name = "FILE")]
    pub(super) checkpoint: Option<PathBuf>,
    /// The collector, for otlp.
    #[arg(
        long,
        default_value = "http://127.0.0.1:4317",
        value_name = "ADDRESS",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT"
    )]
    pub(super) endpoint: String,
}

/// A form of export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// One event a line, as `sessions show --json` has them.
    Jsonl,
    /// One decided call a line.
    Csv,
    /// Columns, in a directory with a folder a day.
    Parquet,
    /// OCSF 1.8: API Activity, and Detection Finding for what was not allowed.
    Ocsf,
    /// Elastic Common Schema: one document a decided call.
    Ecs,
    /// OpenTelemetry traces, to a collector.
    Otlp,
}

/// Runs the command.
pub(super) async fn run(args: Args, global: &Global, output: &Output) -> Result<ExitCode> {
    let connection = connect(global, Otherwise::OpenExisting, output).await?;
    let done = export(&args, &connection, output).await;
    let closed = connection.close().await;
    done?;
    closed?;
    Ok(ExitCode::SUCCESS)
}

async fn export(args: &Args, connection: &Connection, output: &Output) -> Result<()> {
    if args.form == Form::Otlp {
        return super::export_otlp::run(args, connection, output).await;
    }
    let mut client =
        TimelineServiceClient::new(connection.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut sink = Sink::open(args)?;
    // Heard from the beginning: a stop that is asked for while the export catches up ends it in good order.
    let signals = Signals::listen()?;
    catch_up(args, &mut client, &mut sink).await?;
    if args.follow {
        follow(args, &mut client, &mut sink, signals).await?;
    }
    sink.settle(true)?;
    if args.out != Path::new("-") {
        let summary = json!({ "lines": sink.lines, "next_position": sink.checkpoint.next });
        output.result(&summary, || {
            format!("{} lines; the log goes on at position {}", sink.lines, sink.checkpoint.next)
        })?;
    }
    Ok(())
}

impl Args {
    pub(super) fn filter(&self) -> EventFilter {
        EventFilter {
            tenant: self.tenant.clone(),
            include_payloads: self.payloads,
            partition: self.partition,
            ..EventFilter::default()
        }
    }

    /// What is exported: an export goes on only with a checkpoint of its own.
    pub(super) fn of(&self) -> String {
        let whose = if self.tenant.is_empty() {
            format!("partition {}", self.partition)
        } else {
            format!("tenant {}", self.tenant)
        };
        format!("{:?} of {whose}", self.form).to_lowercase()
    }
}

/// Everything that is there.
async fn catch_up(
    args: &Args,
    client: &mut TimelineServiceClient<super::client::Channel>,
    sink: &mut Sink,
) -> Result<()> {
    let mut request = ListEventsRequest {
        filter: Some(args.filter()),
        from_position: sink.checkpoint.next,
        from_time: args.since.map(super::import::wire_time),
        to_time: args.until.map(super::import::wire_time),
        page_size: PAGE,
        ..ListEventsRequest::default()
    };
    loop {
        let page = client.list_events(request.clone()).await.map_err(|status| refused(&status))?.into_inner();
        for event in &page.events {
            sink.take(event)?;
        }
        sink.settle(false)?;
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

/// What comes, until a signal.
async fn follow(
    args: &Args,
    client: &mut TimelineServiceClient<super::client::Channel>,
    sink: &mut Sink,
    signals: Signals,
) -> Result<()> {
    let request = WatchEventsRequest {
        filter: Some(args.filter()),
        from_position: Some(sink.checkpoint.next),
        ..WatchEventsRequest::default()
    };
    let mut watch = client.watch_events(request).await.map_err(|status| refused(&status))?.into_inner();
    let mut stop = std::pin::pin!(signals.first());
    let (mut settled, mut settled_for_files) = (Instant::now(), Instant::now());
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            message = tokio::time::timeout(CHECKPOINT_PAUSE, watch.message()) => match message {
                Err(_) => {}
                Ok(Ok(None)) => bail!("the daemon ended the watch; start again to go on"),
                Ok(Err(status)) => {
                    sink.settle(true)?;
                    return Err(refused(&status));
                }
                Ok(Ok(Some(message))) => {
                    if let Some(Update::Event(event)) = &message.update {
                        sink.take(event)?;
                    }
                }
            },
        }
        if settled.elapsed() >= CHECKPOINT_PAUSE {
            sink.settle(settled_for_files.elapsed() >= FILES_PAUSE)?;
            if settled_for_files.elapsed() >= FILES_PAUSE {
                settled_for_files = Instant::now();
            }
            settled = Instant::now();
        }
    }
}

/// Where lines go, and how far they have come.
struct Sink {
    form: Form,
    out: Out,
    rows: Rows,
    checkpoint: Checkpoint,
    path: Option<PathBuf>,
    /// Position up to which every line was written.
    next: u64,
    lines: u64,
}

enum Out {
    File(BufWriter<File>),
    Stdout(std::io::Stdout),
    Days(Days),
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::File(file) => file.write_all(bytes),
            Self::Stdout(out) => out.write_all(bytes),
            // Rows go there whole.
            Self::Days(_) => Ok(()),
        }
    }
}

impl Sink {
    fn open(args: &Args) -> Result<Self> {
        let checkpoint = match &args.checkpoint {
            Some(path) => Checkpoint::read(path, &args.of())
                .with_context(|| format!("the checkpoint {}", path.display()))?,
            None => Checkpoint::new(args.of()),
        };
        let doing = || format!("cannot write {}", args.out.display());
        let out = if args.form == Form::Parquet {
            if args.out == Path::new("-") {
                bail!("--out: name a directory for parquet");
            }
            Out::Days(Days::open(&args.out, &args.of(), checkpoint.next).with_context(doing)?)
        } else if args.out == Path::new("-") {
            Out::Stdout(std::io::stdout())
        } else {
            let mut file = OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(false)
                .open(&args.out)
                .with_context(doing)?;
            let length = file.metadata()?.len();
            if length < checkpoint.bytes {
                bail!(
                    "{} is {length} bytes long and its checkpoint covers {}: it is not the file that the checkpoint \
                     belongs to; remove the checkpoint to begin anew",
                    args.out.display(),
                    checkpoint.bytes
                );
            }
            file.set_len(checkpoint.bytes).with_context(doing)?;
            file.seek(SeekFrom::End(0)).with_context(doing)?;
            Out::File(BufWriter::new(file))
        };
        let next = checkpoint.next;
        let mut sink = Self {
            form: args.form,
            out,
            rows: Rows::default(),
            checkpoint,
            path: args.checkpoint.clone(),
            next,
            lines: 0,
        };
        if sink.form == Form::Csv && sink.checkpoint.bytes == 0 {
            sink.line(&csv::header())?;
            sink.lines = 0;
        }
        Ok(sink)
    }

    /// Writes what an event gives.
    fn take(&mut self, event: &Event) -> Result<()> {
        if self.form == Form::Jsonl {
            self.line(&event_json(event).to_string())?;
            self.next = event.position + 1;
            return Ok(());
        }
        // A proposal is written with its decision: until that comes, an export goes on at the proposal.
        let is_proposal = matches!(event.data, Some(crate::proto::v1::event::Data::CallProposed(_)));
        if let Some(row) = self.rows.take(event) {
            match self.form {
                Form::Jsonl | Form::Otlp => {}
                Form::Parquet => {
                    if let Out::Days(days) = &mut self.out {
                        days.push(row);
                        self.lines += 1;
                    }
                }
                Form::Csv => self.line(&csv::line(&row))?,
                Form::Ecs => self.line(&ecs::document(&row).to_string())?,
                Form::Ocsf => {
                    for event in ocsf::events(&row) {
                        self.line(&event.to_string())?;
                    }
                }
            }
        }
        self.next = if is_proposal { event.position } else { event.position + 1 };
        Ok(())
    }

    fn line(&mut self, text: &str) -> Result<()> {
        self.out.write(text.as_bytes())?;
        self.out.write(b"\n")?;
        self.lines += 1;
        Ok(())
    }

    /// Puts everything out, and notes how far it has come. Parquet files are only written when enough waits for
    /// them, or `all` is asked for.
    fn settle(&mut self, all: bool) -> Result<()> {
        match &mut self.out {
            Out::Days(days) if !all && !days.is_due() => return Ok(()),
            Out::Days(days) => days.write()?,
            Out::File(file) => {
                file.flush()?;
                file.get_ref().sync_data()?;
                self.checkpoint.bytes = file.stream_position()?;
            }
            Out::Stdout(out) => out.flush()?,
        }
        if self.checkpoint.next != self.next || self.checkpoint.next == 1 {
            self.checkpoint.next = self.next;
            if let Some(path) = &self.path {
                self.checkpoint.write(path).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(())
    }
}
