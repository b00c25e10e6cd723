//! `askance import`: hands recorded calls in as history, many at a time, each once.
//!
//! A line's call id is made of its data set, session and index, so an import that broke off is simply run
//! again: what is there is passed over. Of a line only the fields of `trace_line` are read.

use super::Global;
use super::client::{Otherwise, connect, refused};
use super::output::Output;
use super::refused::{Refusal, Refusals};
use super::requests::{Request, Requests};
use super::score::field_of_line;
use super::trace_file::{Line, TraceFile, too_long};
use super::trace_line::{LineFault, TraceLine, parse_call};
use crate::domain::call::OutcomeStatus;
use crate::domain::time::{SECOND_US, Timestamp};
use crate::proto::v1::gateway_service_client::GatewayServiceClient;
use crate::proto::v1::{
    CallError, ImportCallsRequest, ImportCallsResponse, ImportDisposition, Outcome, SessionHints, ToolCall,
    UserRequest,
};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Lines that are under way at a time.
const IN_FLIGHT_MAX: usize = 1_024;
/// Bytes of an error's text that the API takes.
const ERROR_BYTES_MAX: usize = 16 << 10;
/// Answers between two moves of the progress bar.
const PROGRESS_EVERY: u64 = 64;

/// Arguments of `askance import`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Recorded calls, JSON lines, plain or zstd; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the users of the sessions asked, joined by data set and session.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    sessions: Vec<PathBuf>,
    /// Exit 0 even if lines were refused.
    #[arg(long)]
    lenient: bool,
}

/// What an import did.
#[derive(Debug, Default, Serialize)]
struct Summary {
    imported: u64,
    duplicates: u64,
    refused: u64,
    seconds: f64,
    calls_per_second: f64,
    first_refusals: Vec<Refusal>,
}

/// Shared between the thread that reads and the task that hears the answers.
struct Shared {
    /// Where the lines under way came from, in the order they were sent.
    under_way: Mutex<VecDeque<(usize, u64)>>,
    refusals: Mutex<Refusals>,
    bytes: AtomicU64,
    output: Output,
    files: Vec<PathBuf>,
}

impl Shared {
    fn refuse(&self, file: usize, line: u64, fault: &LineFault) {
        let name = shown_name(&self.files[file]);
        self.refusals.lock().expect("nobody panics over refusals").add(&self.output, &name, line, fault);
    }
}

fn shown_name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// Runs the command.
pub(super) async fn run(args: Args, global: &Global, output: &Output) -> Result<ExitCode> {
    let mut refusals = Refusals::default();
    let mut requests = Requests::default();
    for path in &args.sessions {
        requests.read(path, output, &mut refusals)?;
    }
    // Faults of names come before anything is opened or sent.
    for path in args.files.iter().filter(|path| path.as_path() != Path::new("-")) {
        std::fs::metadata(path).with_context(|| format!("cannot open {}", path.display()))?;
    }
    let total =
        args.files.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|data| data.len()).sum();
    let connection = connect(global, Otherwise::OpenOrCreate, output).await?;
    let shared = Arc::new(Shared {
        under_way: Mutex::default(),
        refusals: Mutex::new(refusals),
        bytes: AtomicU64::new(0),
        output: output.with_progress(total, "importing", true),
        files: args.files,
    });
    let mut client = GatewayServiceClient::new(connection.channel());
    let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
    let reading = Arc::clone(&shared);
    let reader = tokio::task::spawn_blocking(move || read_files(&reading, requests, &sender));
    let started = Instant::now();
    let mut summary = Summary::default();
    let heard = hear(&mut client, receiver, &shared, &mut summary).await;
    shared.output.progress_done();
    drop(client);
    let closed = connection.close().await;
    let read = reader.await.context("the reader died")?;
    summary.seconds = started.elapsed().as_secs_f64();
    conclude(&shared, summary, output)?;
    heard?;
    read?;
    closed?;
    let count = shared.refusals.lock().expect("nobody panics over refusals").count;
    Ok(if count > 0 && !args.lenient { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn conclude(shared: &Shared, mut summary: Summary, output: &Output) -> Result<()> {
    let refusals = std::mem::take(&mut shared.refusals.lock().expect("nobody panics over refusals").first);
    summary.refused = shared.refusals.lock().expect("nobody panics over refusals").count;
    summary.first_refusals = refusals;
    let answered = summary.imported + summary.duplicates;
    summary.calls_per_second = answered as f64 / summary.seconds.max(1e-9);
    output.result(&summary, || {
        format!(
            "imported {}, already there {}, refused {}; {:.0} calls/s",
            summary.imported, summary.duplicates, summary.refused, summary.calls_per_second
        )
    })
}

/// Sends what the reader makes and counts the answers.
async fn hear(
    client: &mut GatewayServiceClient<super::client::Channel>,
    requests: mpsc::Receiver<ImportCallsRequest>,
    shared: &Shared,
    summary: &mut Summary,
) -> Result<()> {
    let response = client.import_calls(ReceiverStream::new(requests)).await;
    let mut answers = response.map_err(|status| refused(&status))?.into_inner();
    let mut heard = 0_u64;
    loop {
        let answer = match answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => break,
            Err(status) => {
                let cause = refused(&status);
                bail!(
                    "the import broke off after {heard} lines: {cause}; run it again, what is there is passed over"
                );
            }
        };
        let place = shared.under_way.lock().expect("nobody panics over places").pop_front();
        let (file, line) = place
            .filter(|(_, line)| *line == answer.line)
            .context("the daemon answered about a line that was not asked about; run the import again")?;
        take_answer(answer, file, line, shared, summary)?;
        heard += 1;
        if heard.is_multiple_of(PROGRESS_EVERY) {
            shared.output.progress(shared.bytes.load(Ordering::Relaxed));
            shared.output.progress_message(format!("{heard} calls"));
        }
    }
    let left = shared.under_way.lock().expect("nobody panics over places").len();
    if left > 0 {
        bail!("the daemon left {left} lines unanswered; run the import again, what is there is passed over");
    }
    Ok(())
}

fn take_answer(
    answer: ImportCallsResponse,
    file: usize,
    line: u64,
    shared: &Shared,
    summary: &mut Summary,
) -> Result<()> {
    match answer.disposition() {
        ImportDisposition::Imported => summary.imported += 1,
        ImportDisposition::Duplicate => summary.duplicates += 1,
        ImportDisposition::Refused | ImportDisposition::Unspecified => {
            let error = answer.error.unwrap_or_default();
            if !is_about_the_line(&error) {
                bail!("line {line}: {}; run the import again once that is mended", error.message);
            }
            shared.refuse(file, line, &fault_of(&error));
        }
    }
    Ok(())
}

/// Whether the line itself is at fault, so that the next one may be better.
fn is_about_the_line(error: &CallError) -> bool {
    let code = tonic::Code::from_i32(error.code);
    matches!(code, tonic::Code::InvalidArgument | tonic::Code::AlreadyExists | tonic::Code::OutOfRange)
}

fn fault_of(error: &CallError) -> LineFault {
    match error.field_violations.first() {
        Some(violation) => LineFault {
            field: field_of_line(&violation.field).to_owned(),
            why: violation.description.clone(),
        },
        None => LineFault { field: "line".to_owned(), why: error.message.clone() },
    }
}

/// Reads all files and sends their good lines. Ends early, without a fault, when nobody listens any more.
fn read_files(
    shared: &Shared,
    mut requests: Requests,
    sender: &mpsc::Sender<ImportCallsRequest>,
) -> Result<()> {
    let mut done = 0;
    for (file, path) in shared.files.iter().enumerate() {
        let mut lines = TraceFile::open(path)?;
        let bytes = lines.bytes_read();
        let mut waiting: Option<(TraceLine, u64)> = None;
        while let Some(line) = lines.next_line()? {
            let (number, parsed) = match line {
                Line::Text(number, text) => (number, parse_call(text)),
                Line::TooLong(number) => (number, Err(too_long())),
            };
            shared.bytes.store(done + bytes.load(Ordering::Relaxed), Ordering::Relaxed);
            match parsed {
                Err(fault) => shared.refuse(file, number, &fault),
                Ok(next) => {
                    if let Some((line, number)) = waiting.take() {
                        let ends = line.ends_session_before(&next);
                        if !send(shared, &mut requests, sender, (file, number), line, ends) {
                            return Ok(());
                        }
                    }
                    waiting = Some((next, number));
                }
            }
        }
        if let Some((line, number)) = waiting {
            let ends = line.ts.is_none();
            if !send(shared, &mut requests, sender, (file, number), line, ends) {
                return Ok(());
            }
        }
        done += bytes.load(Ordering::Relaxed);
    }
    Ok(())
}

fn send(
    shared: &Shared,
    requests: &mut Requests,
    sender: &mpsc::Sender<ImportCallsRequest>,
    (file, number): (usize, u64),
    line: TraceLine,
    ends_session: bool,
) -> bool {
    let asked = requests.next(&line);
    let source = shown_name(&shared.files[file]);
    let request = import_request(line, asked, source, number, ends_session);
    shared.under_way.lock().expect("nobody panics over places").push_back((file, number));
    sender.blocking_send(request).is_ok()
}

fn import_request(
    line: TraceLine,
    asked: Request,
    source: String,
    number: u64,
    ends_session: bool,
) -> ImportCallsRequest {
    let outcome = outcome_of(&line);
    ImportCallsRequest {
        source,
        line: number,
        dataset: line.dataset.clone(),
        call: Some(tool_call(line, asked)),
        outcome,
        ends_session,
    }
}

/// The call of a line, as the API takes it.
pub(super) fn tool_call(line: TraceLine, asked: Request) -> ToolCall {
    ToolCall {
        call_id: line.call_id(),
        tenant: line.tenant(),
        server: line.suite,
        tool: line.tool,
        arguments_json: line.args.into_bytes().into(),
        principal_chain: vec![line.principal],
        session: Some(SessionHints {
            session_id: line.session,
            start_time: asked.start.map(wire_time),
            ..SessionHints::default()
        }),
        call_time: line.ts.map(wire_time),
        utc_offset_minutes: line.utc_offset_minutes,
        turn: line.turn,
        user_request: (!asked.text.is_empty())
            .then(|| UserRequest { text: asked.text, ..UserRequest::default() }),
        ..ToolCall::default()
    }
}

fn outcome_of(line: &TraceLine) -> Option<Outcome> {
    use crate::proto::v1::OutcomeStatus as Wire;
    let status = match line.outcome? {
        OutcomeStatus::Ok => Wire::Ok,
        OutcomeStatus::Error => Wire::Error,
        OutcomeStatus::Abandoned => Wire::Abandoned,
    };
    let latency = line
        .latency_us
        .and_then(|us| i64::try_from(us).ok())
        .map(|us| prost_types::Duration { seconds: us / SECOND_US, nanos: (us % SECOND_US * 1_000) as i32 });
    Some(Outcome {
        status: status.into(),
        latency,
        result_bytes: line.result_bytes,
        result_text: crate::offline::clip(&line.result).as_bytes().to_vec().into(),
        error_text: clip_to(&line.error, ERROR_BYTES_MAX).to_owned(),
        end_time: line.end().map(wire_time),
        ..Outcome::default()
    })
}

fn clip_to(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// An instant as the API writes it.
pub(super) fn wire_time(at: Timestamp) -> prost_types::Timestamp {
    let micros = at.as_micros();
    prost_types::Timestamp {
        seconds: micros.div_euclid(SECOND_US),
        nanos: (micros.rem_euclid(SECOND_US) * 1_000) as i32,
    }
}
