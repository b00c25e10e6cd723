//! A way to the services from inside this process, for requests that came over another door: they keep the address and
//! the credential that they came with, and the same rules hold for them.

use super::accept::{Gate, Peer};
use super::connection::{self, Http};
use super::router::Router;
use super::shared::{Phase, Shared};
use std::io;
use std::sync::Arc;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::watch;

/// Bytes on their way in one direction.
const BUFFER_BYTES: usize = 64 << 10;

/// The way in.
#[derive(Clone)]
pub struct Inside {
    router: Arc<Router>,
    shared: Arc<Shared>,
    http: Arc<Http>,
    phase: watch::Receiver<Phase>,
}

impl Inside {
    pub(super) fn new(router: Arc<Router>, shared: Arc<Shared>, phase: watch::Receiver<Phase>) -> Self {
        let http = Arc::new(connection::http(&shared.options.limits));
        Self { router, shared, http, phase }
    }

    /// A connection of this peer's, counted as others are. Waits until the server knows who is who.
    pub async fn connect(&self, peer: Peer) -> io::Result<DuplexStream> {
        self.shared.identities.learnt().await;
        if *self.phase.borrow() != Phase::Serving {
            return Err(io::Error::other("the daemon stops"));
        }
        let gate: &Arc<Gate> = &self.shared.gate;
        let permit = gate.enter(&peer).ok_or_else(|| io::Error::other("too many connections are open"))?;
        let (ours, theirs) = duplex(BUFFER_BYTES);
        let (router, http, phase) = (Arc::clone(&self.router), Arc::clone(&self.http), self.phase.clone());
        let age_max = self.shared.options.limits.connection_age_max;
        tokio::spawn(async move {
            connection::serve(ours, peer, &http, router, phase, age_max).await;
            drop(permit);
        });
        Ok(theirs)
    }
}
