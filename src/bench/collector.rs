//! An OpenTelemetry collector that takes whatever spans come and counts them.

use crate::export::otlp::messages::{ExportRequest, ExportResponse};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;
use tonic::codegen::BoxFuture;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Bytes of a batch.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// The collector. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    taken: Arc<AtomicU64>,
}

impl Collector {
    /// Starts to take spans on a free port; its address. Needs a tokio runtime around it.
    pub async fn start(&self) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let collector = self.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let collector = collector.clone();
                let service = service_fn(move |request| {
                    let taking = Taking(collector.clone());
                    let mut grpc =
                        Grpc::new(ProstCodec::default()).max_decoding_message_size(BATCH_BYTES_MAX);
                    async move { Ok::<_, Infallible>(grpc.unary(taking, request).await) }
                });
                let served =
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), service);
                tokio::spawn(served);
            }
        });
        Ok(address)
    }

    /// Spans that came.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

struct Taking(Collector);

impl UnaryService<ExportRequest> for Taking {
    type Response = ExportResponse;
    type Future = BoxFuture<Response<ExportResponse>, Status>;

    fn call(&mut self, request: Request<ExportRequest>) -> Self::Future {
        let scopes = request.get_ref().resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        let spans: usize = scopes.map(|scope| scope.spans.len()).sum();
        self.0.taken.fetch_add(spans as u64, Ordering::Relaxed);
        Box::pin(async { Ok(Response::new(ExportResponse::default())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::otlp::collector;
    use crate::export::otlp::messages::Span;
    use std::time::Duration;

    #[tokio::test]
    async fn spans_are_taken_and_counted() {
        let ours = Collector::default();
        let address = format!("http://{}", ours.start().await.unwrap());
        let mut sender = collector::Collector::new(&address, Vec::new()).unwrap();
        for count in [3, 4] {
            let trouble = |why: &str, _: Duration| panic!("{why}");
            let taken = sender.spans(vec![Span::default(); count], trouble).await.unwrap();
            assert_eq!(taken.rejected, 0);
        }
        assert_eq!(ours.taken(), 7);
    }
}
