//! The two ceilings that `Evaluate` is judged by, on the same server and with the same messages: an echo
//! that answers at once, and a bare append that answers when the request's bytes are synced to disk by a
//! group commit, without scoring, indexes or chain.
//!
//! Both speak `EvaluateRequest` and `EvaluateResponse`, so that decoding, encoding and HTTP/2 cost the
//! same in all three.

use crate::proto::v1::{
    Decision, EvaluateRequest, EvaluateResponse, EvaluateStreamRequest, EvaluateStreamResponse,
    evaluate_stream_response,
};
use prost::Message;
use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::BoxFuture;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// Requests that may wait for the append.
const QUEUE_MAX: usize = 4_096;
/// Requests in one append.
const GROUP_MAX: usize = 1_024;

/// What a request waits for before it is answered.
#[derive(Clone)]
enum Work {
    /// Nothing.
    Echo,
    /// Its bytes, durable.
    Append(mpsc::Sender<Job>),
}

type Done = Box<dyn FnOnce() + Send>;

struct Job {
    bytes: Vec<u8>,
    done: Done,
}

impl Work {
    async fn of(&self, bytes: Vec<u8>, done: Done) {
        match self {
            Self::Echo => done(),
            Self::Append(jobs) => {
                let _stopped = jobs.send(Job { bytes, done }).await;
            }
        }
    }
}

/// A ceiling as a gRPC service with a unary and a streaming method.
#[derive(Clone)]
pub struct Ceiling<const APPEND: bool> {
    work: Work,
    answer: Arc<Decision>,
}

/// The echo.
pub type Echo = Ceiling<false>;
/// The bare append.
pub type Append = Ceiling<true>;

impl Echo {
    /// An echo that answers with `answer`.
    pub fn new(answer: Decision) -> Self {
        Self { work: Work::Echo, answer: Arc::new(answer) }
    }
}

impl Append {
    /// A bare append into a new RocksDB in `dir`, on a thread of its own.
    pub fn open(dir: &Path, answer: Decision) -> Result<Self, rocksdb::Error> {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.set_compression_type(rocksdb::DBCompressionType::Zstd);
        let db = rocksdb::DB::open(&options, dir)?;
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        std::thread::spawn(move || append_all(&db, receiver));
        Ok(Self { work: Work::Append(sender), answer: Arc::new(answer) })
    }
}

/// Whatever waits is written in one batch with one sync, then answered.
fn append_all(db: &rocksdb::DB, mut jobs: mpsc::Receiver<Job>) {
    let mut options = rocksdb::WriteOptions::default();
    options.set_sync(true);
    let mut position = 0_u64;
    let mut group = Vec::with_capacity(GROUP_MAX);
    while jobs.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        let mut batch = rocksdb::WriteBatch::default();
        for job in &group {
            position += 1;
            batch.put(position.to_be_bytes(), &job.bytes);
        }
        if db.write_opt(batch, &options).is_err() {
            return;
        }
        group.drain(..).for_each(|job| (job.done)());
    }
}

impl<const APPEND: bool> tonic::server::NamedService for Ceiling<APPEND> {
    const NAME: &'static str = if APPEND { "askance.bench.v1.Append" } else { "askance.bench.v1.Echo" };
}

impl<const APPEND: bool, B> tower::Service<http::Request<B>> for Ceiling<APPEND>
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let ceiling = self.clone();
        Box::pin(async move {
            Ok(if request.uri().path().ends_with("/EvaluateStream") {
                tonic::server::Grpc::new(ProstCodec::default()).streaming(Streamed(ceiling), request).await
            } else {
                tonic::server::Grpc::new(ProstCodec::default()).unary(Unary(ceiling), request).await
            })
        })
    }
}

struct Unary<const APPEND: bool>(Ceiling<APPEND>);

impl<const APPEND: bool> tonic::server::UnaryService<EvaluateRequest> for Unary<APPEND> {
    type Response = EvaluateResponse;
    type Future = BoxFuture<Response<EvaluateResponse>, Status>;

    fn call(&mut self, request: Request<EvaluateRequest>) -> Self::Future {
        let ceiling = self.0.clone();
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            let done = Box::new(move || {
                let _gone = sender.send(());
            });
            ceiling.work.of(request.into_inner().encode_to_vec(), done).await;
            receiver.await.map_err(|_| Status::unavailable("the append stopped"))?;
            let decision = Decision::clone(&ceiling.answer);
            Ok(Response::new(EvaluateResponse { decision: Some(decision), ..EvaluateResponse::default() }))
        })
    }
}

struct Streamed<const APPEND: bool>(Ceiling<APPEND>);

type Answers = Pin<Box<dyn Stream<Item = Result<EvaluateStreamResponse, Status>> + Send>>;

impl<const APPEND: bool> tonic::server::StreamingService<EvaluateStreamRequest> for Streamed<APPEND> {
    type Response = EvaluateStreamResponse;
    type ResponseStream = Answers;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answers>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<EvaluateStreamRequest>>) -> Self::Future {
        let ceiling = self.0.clone();
        Box::pin(async move {
            let (sender, receiver) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                let mut requests = request.into_inner();
                while let Ok(Some(request)) = requests.message().await {
                    let (sender, answer) = (sender.clone(), Arc::clone(&ceiling.answer));
                    let tag = request.tag;
                    let done = Box::new(move || {
                        let decision = Decision::clone(&answer);
                        let result = Some(evaluate_stream_response::Result::Decision(decision));
                        let _gone = sender.send(Ok(EvaluateStreamResponse { tag, result }));
                    });
                    ceiling.work.of(request.encode_to_vec(), done).await;
                }
            });
            let answers: Answers = Box::pin(UnboundedReceiverStream::new(receiver));
            Ok(Response::new(answers))
        })
    }
}
