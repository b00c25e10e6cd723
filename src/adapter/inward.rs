//! From a door to the API: each envelope goes to the services of this process over a connection with the address and the
//! credential that its message came with, so that the API says who may ask what.

use super::credential::bearer;
use super::desk::{Desk, Settings as Terms, this_user, unasked};
use super::envelope::{About, Carried, Envelope, Ruling};
use super::memory::Memory;
use crate::mcp::gate::{Dial, Gate, Link};
use crate::mcp::scope::is_name;
use crate::rpc::Peer;
use crate::rpc::inside::Inside;
use http::Uri;
use http::header::HeaderMap;
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;

/// Time for a decision.
const DECISION_TIMEOUT: Duration = Duration::from_secs(2);
/// Time beyond the hold in which there is an answer.
const SLACK: Duration = Duration::from_secs(5);
/// Names who acts for whom, once a link, outermost first.
const PRINCIPAL: &str = "askance-principal";
/// Names the tenant.
const TENANT: &str = "askance-tenant";

/// What holds for every message.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Who acts where nobody says.
    principal: String,
    hold: Duration,
    memory: Memory,
}

impl Settings {
    /// Calls are held so long; what must be remembered stands beside the log.
    pub(super) fn new(hold: Duration, data_dir: &Path) -> Self {
        Self { principal: this_user(), hold, memory: Memory::beside(data_dir) }
    }
}

/// The way inward.
pub(super) struct Inward {
    settings: Settings,
    inside: Inside,
}

impl Inward {
    pub(super) const fn new(settings: Settings, inside: Inside) -> Self {
        Self { settings, inside }
    }

    /// What is to be answered to a message of this peer's. It is held for `hold_max` at most.
    pub(super) async fn rule(
        &self,
        envelope: &Envelope,
        headers: &HeaderMap,
        peer: Peer,
        hold_max: Duration,
    ) -> Ruling {
        let desk = match self.desk(envelope, headers, peer, hold_max) {
            Ok(desk) => desk,
            Err(why) => return unjudged(envelope, why),
        };
        let within = desk.hold_time() + SLACK;
        let ruled = tokio::time::timeout(within, desk.rule(envelope)).await;
        desk.close().await;
        ruled.unwrap_or_else(|_| unjudged(envelope, "the daemon did not answer in time"))
    }

    /// A desk for messages that came with these headers and name somebody as this one does, or do not; it is to be
    /// closed.
    pub(super) fn desk(
        &self,
        envelope: &Envelope,
        headers: &HeaderMap,
        peer: Peer,
        hold_max: Duration,
    ) -> Result<Desk, &'static str> {
        let terms = self.terms(envelope, headers)?;
        let terms = Terms { hold: terms.hold.min(hold_max), ..terms };
        let gate = Gate::new(dial(self.inside.clone(), peer, bearer(headers)?), DECISION_TIMEOUT);
        Ok(Desk::new(gate, self.settings.memory.clone(), terms))
    }

    fn terms(&self, envelope: &Envelope, headers: &HeaderMap) -> Result<Terms, &'static str> {
        let names = |header: &str| -> Result<Vec<String>, &'static str> {
            let all = headers.get_all(header).iter().map(|value| match value.to_str() {
                Ok(name) if is_name(name) => Ok(name.to_owned()),
                _ => Err("its headers name a principal or a tenant with what no name has in it"),
            });
            all.collect()
        };
        let mut principals = names(PRINCIPAL)?;
        if principals.is_empty() && envelope.principals.is_empty() {
            principals.push(self.settings.principal.clone());
        }
        let tenant = names(TENANT)?.into_iter().next().unwrap_or_default();
        let carried = Carried::of(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
        Ok(Terms { tenant, principals, hold: self.settings.hold, low_runs_unasked: false, carried })
    }
}

/// What holds for a message that nobody could be asked about.
fn unjudged(envelope: &Envelope, why: &str) -> Ruling {
    match &envelope.about {
        About::Before(call) => unasked(call, why.to_owned(), false),
        _ => Ruling::Pass,
    }
}

/// Connects to the services of this process as the one who sent the request.
fn dial(inside: Inside, peer: Peer, bearer: Option<MetadataValue<Ascii>>) -> Dial {
    Box::new(move || {
        let (inside, bearer) = (inside.clone(), bearer.clone());
        Box::pin(async move {
            let connector = tower::service_fn(move |_: Uri| {
                let inside = inside.clone();
                async move { inside.connect(peer).await.map(TokioIo::new) }
            });
            let endpoint = Endpoint::from_static("http://inside");
            let channel = endpoint.connect_with_connector(connector).await?;
            Ok(Link { channel, bearer, close: None })
        })
    })
}
