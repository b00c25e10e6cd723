//! A stdio server behind the guard: bytes pass as they are, calls wait for their ruling, everything ends together.
//!
//! ```text
//! stdin thread ─▶ client pump ─┬────────────────▶ to the server ─▶ child's stdin
//!                              └─▶ calls, in order ─┘   │
//! stdout thread ◀─ to the client ◀── server pump ◀──────┴───────── child's stdout
//! ```
//!
//! Calls are asked about as they come and let through in the order they came; one that people must look at waits
//! aside and holds up nobody. Messages of ours go between the server's lines, never into one.

use super::book::{Book, Ticket};
use super::child::{Server, code};
use super::guard::{Envelope, Guard, Ruling};
use super::lines::{Lines, Piece};
use super::peek::{Call, INVALID_REQUEST, Id, MESSAGE_BYTES_MAX, Malformed, Peek, peek};
use super::refusal::{self, Refusal};
use super::rewrite::without_answers;
use super::scan::{Found, Scan};
use super::stdio::{Out, read_stdin, write_stdout};
use super::task_room::{ONLY_CLIENT, TaskRoom};
use super::tasks::RESULT_BYTES_MAX;
use super::tools::LIST_BYTES_MAX;
use crate::proto::v1::Decision;
use anyhow::Result;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of a server's line that are kept back until it is whole; a longer one passes in pieces.
const WHOLE_BYTES_MAX: usize = 64 * 1024;
/// Pieces on their way to either side.
const ON_THE_WAY: usize = 16;
/// Calls whose ruling is on its way.
const RULINGS_MAX: usize = super::book::CALLS_MAX;
/// Time for a server to end once its input has ended and no call is open.
const IDLE_PATIENCE: Duration = Duration::from_secs(2);
/// Time for open calls to be answered once the client has ended its input.
const BUSY_PATIENCE: Duration = Duration::from_secs(30);
/// Time for a server to end once it was told to by a signal.
const SIGNAL_PATIENCE: Duration = Duration::from_millis(1_500);
/// Time for the last bytes of a server that has ended: something it started may hold its output open.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two looks at whether calls are open.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

mod aside;

use aside::{Asides, Came};

/// A call whose ruling comes.
struct Asked {
    message: Vec<u8>,
    id: Option<Id>,
    is_modern: bool,
    token: Option<String>,
    envelope: Envelope,
}

struct Session {
    guard: Arc<Guard>,
    calls: Mutex<Book<Instant>>,
    /// The client's name for itself.
    client: Mutex<String>,
    /// Calls that people look at. To let go of one stops the waiting.
    held: Mutex<BTreeMap<Id, oneshot::Sender<()>>>,
    tasks: TaskRoom,
    asides: Asides,
    to_client: mpsc::Sender<Out>,
    /// None ends the server's input.
    to_server: mpsc::Sender<Option<Vec<u8>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the server behind the guard until either side ends; the exit code is the server's. To be run on the main
/// thread.
pub async fn run(command: &[OsString], guard: Arc<Guard>) -> Result<u8> {
    let (server, stdin, stdout) = Server::start(command)?;
    let (to_client, for_client) = mpsc::channel(ON_THE_WAY);
    let (to_server, for_server) = mpsc::channel(ON_THE_WAY);
    let session = Arc::new(Session {
        guard: Arc::clone(&guard),
        calls: Mutex::default(),
        client: Mutex::default(),
        held: Mutex::default(),
        tasks: TaskRoom::default(),
        asides: Asides::default(),
        to_client,
        to_server,
    });
    tokio::spawn(write_server(stdin, for_server));
    let mut reading = tokio::spawn(read_server(stdout, Arc::clone(&session)));
    let mut gone = write_stdout(for_client)?;
    let client = tokio::spawn(read_client(read_stdin()?, Arc::clone(&session)));
    let warming = Arc::clone(&guard);
    tokio::spawn(async move { warming.warm().await });
    let ended = supervise(server, &session, client, &mut gone).await;
    if tokio::time::timeout(DRAIN_PATIENCE, &mut reading).await.is_err() {
        reading.abort();
    }
    let client_went_first = matches!(ended, Ok((_, true)));
    for ticket in lock(&session.calls).close() {
        if client_went_first {
            guard.abandoned(ticket.call_id);
        } else {
            guard.failed(ticket, "the server ended before it answered");
        }
    }
    // Whatever is left for the client is written, unless it does not read.
    let _gone = session.to_client.try_send(Out::End);
    let _unread = tokio::time::timeout(DRAIN_PATIENCE, gone.wait_for(|gone| *gone)).await;
    guard.end(guard.run()).await;
    guard.stop().await;
    ended.map(|(code, _)| code)
}

/// Waits for the end of server, client or us, and ends the server. Tells its exit code, and whether the client went
/// first.
async fn supervise(
    mut server: Server,
    session: &Session,
    mut client: JoinHandle<()>,
    gone: &mut watch::Receiver<bool>,
) -> Result<(u8, bool)> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // What the client sends has its end once all of it is passed on.
    let mut input_ended: Option<Instant> = None;
    let told = loop {
        let since = input_ended;
        tokio::select! {
            status = server.ended() => {
                client.abort();
                return Ok((code(status?), input_ended.is_some()));
            }
            _ = interrupt.recv() => break Signal::INT,
            _ = terminate.recv() => break Signal::TERM,
            _ = hangup.recv() => break Signal::HUP,
            _ = gone.wait_for(|gone| *gone) => break Signal::TERM,
            _ = &mut client, if since.is_none() => input_ended = Some(Instant::now()),
            () = tokio::time::sleep(LOOK_PAUSE), if since.is_some() => {
                let is_busy = lock(&session.calls).runs_any();
                let patience = if is_busy { BUSY_PATIENCE } else { IDLE_PATIENCE };
                if since.is_some_and(|since| since.elapsed() >= patience) {
                    break Signal::TERM;
                }
            }
        }
    };
    client.abort();
    server.signal(told);
    Ok((code(server.end(SIGNAL_PATIENCE).await?), true))
}

async fn write_server(mut stdin: ChildStdin, mut messages: mpsc::Receiver<Option<Vec<u8>>>) {
    while let Some(Some(message)) = messages.recv().await {
        if stdin.write_all(&message).await.is_err() {
            // It does not read any more; its end, if it comes, is noted elsewhere.
            messages.close();
            return;
        }
    }
}

async fn read_client(mut chunks: mpsc::Receiver<Vec<u8>>, session: Arc<Session>) {
    let (order, in_order) = mpsc::channel(RULINGS_MAX);
    let ordering = tokio::spawn(let_through(in_order, Arc::clone(&session)));
    let mut lines = Lines::new(MESSAGE_BYTES_MAX);
    let mut pieces = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        lines.push(&chunk, |piece| pieces.push(piece));
        for piece in pieces.drain(..) {
            session.take(piece, &order).await;
        }
    }
    if let Some(piece) = lines.finish() {
        session.take(piece, &order).await;
    }
    drop(order);
    // What was sent before the end is let through before it; people are not waited for.
    let _ended = ordering.await;
    let _gone = session.to_server.send(None).await;
}

/// Lets calls through in the order they came. Those that people must look at go aside.
async fn let_through(mut asked: mpsc::Receiver<(Asked, JoinHandle<Ruling>)>, session: Arc<Session>) {
    let mut aside = JoinSet::new();
    while let Some((asked, ruling)) = asked.recv().await {
        match ruling.await {
            Ok(Ruling::Hold(decision)) => {
                aside.spawn(Arc::clone(&session).hold(asked, decision));
            }
            Ok(Ruling::Follow(decision)) => session.make_task(asked, decision, &mut aside).await,
            Ok(ruling) => session.settle(asked, ruling).await,
            // A ruling is never aborted; a panic in it must not let the call run.
            Err(_) => session.settle(asked, Ruling::Refuse(Refusal::TooMuch("askance failed"))).await,
        }
        while aside.try_join_next().is_some() {}
    }
    lock(&session.held).clear();
    session.tasks.close();
    while aside.join_next().await.is_some() {}
}

async fn read_server(mut stdout: ChildStdout, session: Arc<Session>) {
    let mut from = FromServer::default();
    let mut bytes = vec![0; READ_BYTES];
    while let Ok(count @ 1..) = stdout.read(&mut bytes).await {
        for part in bytes.get(..count).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
            from.take(part, &session);
            if from.is_due() {
                // A client that is gone is noted elsewhere; the server may still have its say.
                let _gone = session.to_client.send(from.out()).await;
            }
        }
    }
    if !from.kept.is_empty() {
        let _gone = session.to_client.send(from.out()).await;
    }
    session.asides.close();
}

/// The server's line at hand.
#[derive(Default)]
struct FromServer {
    scan: Scan,
    kept: Vec<u8>,
    /// The whole line, where it may be a list of tools.
    copy: Option<Vec<u8>>,
    bytes: u64,
    is_whole: bool,
    /// Whether it may be an answer that a task waits for, so that more of it is kept back.
    may_go_aside: bool,
    /// Whether it is one, too long to be kept.
    is_dropped: bool,
    /// Whether a part of it has passed.
    has_passed: bool,
}

impl FromServer {
    fn take(&mut self, part: &[u8], session: &Session) {
        if self.bytes == 0 {
            self.copy = lock(&session.calls).awaits_list().then(Vec::new);
            self.may_go_aside = session.asides.await_any();
            (self.is_dropped, self.has_passed) = (false, false);
        }
        self.scan.feed(part);
        self.bytes += part.len() as u64;
        if !self.is_dropped {
            self.kept.extend_from_slice(part);
        }
        self.copy_list(part);
        self.is_whole = part.ends_with(b"\n");
        if self.is_whole {
            let found = std::mem::take(&mut self.scan).finish();
            self.go_aside(&found, session);
            // Before the client can make its next call.
            session.note(found, self.bytes, self.copy.take());
            self.bytes = 0;
        } else if !self.has_passed && self.is_due() && session.asides.awaits(self.scan.id()) {
            self.is_dropped = true;
            self.kept.clear();
        }
    }

    fn copy_list(&mut self, part: &[u8]) {
        let Some(copy) = &mut self.copy else { return };
        if copy.len() + part.len() <= LIST_BYTES_MAX {
            copy.extend_from_slice(part);
        } else {
            self.copy = None;
            tracing::warn!(
                "an answer is over {LIST_BYTES_MAX} bytes long; if it lists tools, they are not registered"
            );
        }
    }

    /// Hands the line to the task that waits for it, if one does.
    fn go_aside(&mut self, found: &Found, session: &Session) {
        let Some(id) = found.id.as_ref().filter(|_| found.is_answer()) else { return };
        if !session.asides.awaits(Some(id)) {
            return;
        }
        // What has passed in part is ended; the client knows no such request.
        let is_kept = !self.is_dropped && !self.has_passed;
        let came = if is_kept { Came::Whole(std::mem::take(&mut self.kept)) } else { Came::TooLong };
        session.asides.bring(id, came);
    }

    fn is_due(&self) -> bool {
        let most = if self.may_go_aside { RESULT_BYTES_MAX } else { WHOLE_BYTES_MAX };
        !self.kept.is_empty() && (self.is_whole || self.kept.len() >= most)
    }

    fn out(&mut self) -> Out {
        self.has_passed = true;
        Out::Server(std::mem::take(&mut self.kept), self.is_whole)
    }
}

impl Session {
    async fn answer(&self, mut message: Vec<u8>) {
        message.push(b'\n');
        // A client that is gone needs no answer.
        let _gone = self.to_client.send(Out::Ours(message)).await;
    }

    async fn forward(&self, message: Vec<u8>) {
        // A server that is gone ends everything elsewhere.
        let _gone = self.to_server.send(Some(message)).await;
    }

    /// Takes a piece of what the client sends.
    async fn take(&self, piece: Piece, order: &mpsc::Sender<(Asked, JoinHandle<Ruling>)>) {
        let line = match piece {
            Piece::Line(line) => line,
            Piece::TooLong => {
                let why = "the message is over 16 MiB long";
                return self
                    .answer(refusal::malformed(&Malformed { id: None, code: INVALID_REQUEST, why }))
                    .await;
            }
        };
        match peek(&line) {
            Peek::Call(call) => {
                let asked = self.asked(&call, &line);
                self.ask(asked, order).await;
            }
            Peek::Malformed(fault) => self.answer(refusal::malformed(&fault)).await,
            Peek::Cancel(id) => {
                if !self.cancel(&id) {
                    self.forward(line).await;
                }
            }
            Peek::List(id) => {
                lock(&self.calls).list(id);
                self.forward(line).await;
            }
            Peek::Initialize(id, hello) => {
                *lock(&self.client) = hello.client;
                lock(&self.calls).initialize(id);
                self.forward(line).await;
            }
            Peek::Task(ask) => {
                let answer = self.tasks.answer(&ask, &ONLY_CLIENT);
                match answer {
                    Some(answer) => self.answer(answer).await,
                    None => self.forward(line).await,
                }
            }
            Peek::Other => self.forward(line).await,
        }
    }

    fn asked(&self, call: &Call<'_>, line: &[u8]) -> Asked {
        let client = lock(&self.client).clone();
        let envelope = self.guard.envelope(call, self.guard.run(), &client, &[]);
        let bare = envelope.brings_answer().then(|| without_answers(line)).flatten();
        Asked {
            message: bare.unwrap_or_else(|| line.to_vec()),
            id: call.id.clone(),
            is_modern: call.meta.is_modern(),
            token: call.meta.progress_token.clone(),
            envelope,
        }
    }

    async fn ask(&self, asked: Asked, order: &mpsc::Sender<(Asked, JoinHandle<Ruling>)>) {
        if let Some(id) = &asked.id {
            let held = lock(&self.calls).hold(id, asked.message.len());
            if let Err(why) = held {
                return self.answer(Refusal::TooMuch(why).answer(id, asked.is_modern)).await;
            }
        }
        let (guard, envelope) = (Arc::clone(&self.guard), asked.envelope.clone());
        let ruling = tokio::spawn(async move { guard.ask(&envelope).await });
        // Waits where a great many calls without ids come, which the book does not count.
        let _gone = order.send((asked, ruling)).await;
    }

    /// Takes a request back; true if the server never heard of it.
    fn cancel(&self, id: &Id) -> bool {
        let (was_held, ran) = lock(&self.calls).cancel(id);
        if let Some(ticket) = ran {
            self.guard.abandoned(ticket.call_id);
        }
        lock(&self.held).remove(id);
        was_held
    }

    /// Does with a call what was ruled.
    async fn settle(&self, asked: Asked, ruling: Ruling) {
        let Asked { message, id, is_modern, envelope, .. } = asked;
        match (ruling, id) {
            (Ruling::Run(Some(ticket)), Some(id)) => {
                if lock(&self.calls).run(&id, ticket) {
                    self.forward(message).await;
                } else {
                    self.guard.abandoned(envelope.call.call_id);
                }
            }
            (Ruling::Run(ticket), None) => {
                self.forward(message).await;
                // Nobody will hear how it ended.
                ticket.into_iter().for_each(|ticket| self.guard.abandoned(ticket.call_id));
            }
            (Ruling::Run(None), Some(id)) => {
                if lock(&self.calls).refuse(&id) {
                    self.forward(message).await;
                }
            }
            (Ruling::Refuse(refusal), Some(id)) => {
                if lock(&self.calls).refuse(&id) {
                    self.answer(refusal.answer(&id, is_modern)).await;
                }
            }
            (Ruling::Hold(decision) | Ruling::Follow(decision), Some(id)) => {
                if lock(&self.calls).refuse(&id) {
                    self.answer(Refusal::Waits(decision).answer(&id, is_modern)).await;
                }
            }
            (Ruling::Open(decision), Some(id)) => {
                if lock(&self.calls).refuse(&id) {
                    self.answer(self.guard.open(&id, decision, is_modern)).await;
                }
            }
            (_, None) => {}
        }
    }

    /// Waits for people to look at a call, as long as its client waits.
    async fn hold(self: Arc<Self>, asked: Asked, decision: Box<Decision>) {
        let (stop, stopped) = oneshot::channel();
        if let Some(id) = &asked.id {
            lock(&self.held).insert(id.clone(), stop);
            if !lock(&self.calls).is_held(id) {
                lock(&self.held).remove(id);
            }
        }
        let tick = |number, decision: &Decision| {
            if let Some(token) = &asked.token {
                let mut message = refusal::progress(token, number, decision);
                message.push(b'\n');
                // One that finds no room is not missed.
                let _full = self.to_client.try_send(Out::Ours(message));
            }
        };
        let ruling = tokio::select! {
            ruling = self.guard.hold(&asked.envelope.call, decision, tick) => Some(ruling),
            _ = stopped => None,
        };
        if let Some(id) = &asked.id {
            lock(&self.held).remove(id);
        }
        match ruling {
            Some(ruling) => self.settle(asked, ruling).await,
            None => self.guard.abandoned(asked.envelope.call.call_id),
        }
    }

    /// Notes what the server said.
    fn note(&self, found: Found, bytes: u64, line: Option<Vec<u8>>) {
        if !found.server.is_empty() {
            self.guard.learn_server(&found.server);
        }
        let Some(id) = found.id.as_ref().filter(|_| found.is_answer()) else { return };
        let answered = lock(&self.calls).answered(id);
        self.guard.note(answered, found, bytes, &line.unwrap_or_default());
    }
}
