//! Who is asking, and what they may do: from the credential, else from the connection, never from the
//! request.
//!
//! | who | may |
//! |---|---|
//! | a token | what its role says |
//! | the Unix socket's peer | everything but voting; voting too while there are no tokens |
//! | loopback, while there are no tokens | ask about calls, hand in history, read, place locks |
//! | anybody else | nothing |

use super::accept::Peer;
use super::status::Failure;
use crate::domain::identity::{Role, Token, Voter};
use crate::domain::time::{MINUTE_US, Timestamp};
use crate::projection::KnownToken;
use crate::proto::v1::ErrorCode;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;

/// Stands for a token that was not used since the daemon started.
const UNUSED: i64 = i64::MIN;

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Anybody who is somebody.
    Known,
    /// Asks about calls.
    Gateway,
    /// Hands history in.
    Import,
    /// Reads.
    Read,
    /// Works on reviews without voting.
    ReviewWork,
    /// Votes.
    Vote,
    /// Places a lock.
    Lock,
    /// Changes how the daemon runs.
    Operate,
}

/// Somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Who it is; empty: whoever reaches loopback.
    pub(super) subject: String,
    /// Other names of the same person.
    pub(super) aliases: Vec<String>,
    /// Groups in whose name it votes.
    pub(super) groups: Vec<String>,
    /// Tenants it may see; empty: all.
    pub(super) tenants: Vec<String>,
    /// Its token; empty: none.
    pub(super) token_id: String,
    /// By what it is known.
    pub(super) standing: Standing,
    /// Until when.
    expires: Option<Timestamp>,
}

/// By what somebody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A token of this role.
    Token(Role),
    /// The Unix socket; whether it may vote.
    Unix(bool),
    /// Loopback, while there are no tokens.
    Loopback,
}

impl Identity {
    fn of_token(token: &Token) -> Self {
        Self {
            subject: token.subject.clone(),
            aliases: token.aliases.clone(),
            groups: token.groups.clone(),
            tenants: token.tenants.clone(),
            token_id: token.id.clone(),
            standing: Standing::Token(token.role),
            expires: token.expires,
        }
    }

    fn without_token(subject: String, standing: Standing) -> Self {
        Self {
            subject,
            aliases: Vec::new(),
            groups: Vec::new(),
            tenants: Vec::new(),
            token_id: String::new(),
            standing,
            expires: None,
        }
    }

    /// Whether it may do this.
    pub(super) const fn may(&self, need: Need) -> bool {
        match self.standing {
            Standing::Token(Role::Gateway) => matches!(need, Need::Known | Need::Gateway),
            Standing::Token(Role::Reviewer) => {
                matches!(need, Need::Known | Need::Read | Need::ReviewWork | Need::Vote)
            }
            Standing::Token(Role::Operator) => !matches!(need, Need::Vote),
            Standing::Token(Role::Auditor) => matches!(need, Need::Known | Need::Read),
            Standing::Unix(votes) => votes || !matches!(need, Need::Vote),
            Standing::Loopback => {
                matches!(need, Need::Known | Need::Gateway | Need::Import | Need::Read | Need::Lock)
            }
        }
    }

    /// Whether its time is over.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// Whether it may see this tenant.
    pub(super) fn sees(&self, tenant: &str) -> bool {
        self.tenants.is_empty() || self.tenants.iter().any(|own| own == tenant)
    }

    /// Refuses a tenant that it may not see.
    pub(super) fn must_see(&self, tenant: &str) -> Result<(), Failure> {
        if self.sees(tenant) {
            return Ok(());
        }
        let message = "the credential is not good for this tenant";
        Err(Failure::new(ErrorCode::NotPermitted, message))
    }

    /// Its name for the log.
    pub(super) fn actor(&self) -> String {
        if self.subject.is_empty() { "loopback".to_owned() } else { self.subject.clone() }
    }

    /// As a voter.
    pub(super) fn voter(&self) -> Voter {
        Voter {
            subject: self.subject.clone(),
            aliases: self.aliases.clone(),
            groups: self.groups.clone(),
            any_group: matches!(self.standing, Standing::Unix(true)),
        }
    }
}

/// Knows everybody.
pub(super) struct Identities {
    inside: RwLock<Inside>,
    /// Counts the times that the list of tokens was learnt.
    learnt: watch::Sender<u64>,
    names: Mutex<HashMap<u32, String>>,
    loopback: Arc<Identity>,
}

#[derive(Default)]
struct Inside {
    by_hash: HashMap<[u8; 32], Known>,
    /// When each token was used last, ended ones too, by its id: microseconds, whole minutes.
    uses: HashMap<String, Arc<AtomicI64>>,
    /// Whether there are tokens that nobody revoked. An expired one counts: time alone opens nothing.
    any: bool,
}

struct Known {
    identity: Arc<Identity>,
    used: Arc<AtomicI64>,
}

impl Default for Identities {
    fn default() -> Self {
        Self {
            inside: RwLock::default(),
            learnt: watch::Sender::new(0),
            names: Mutex::default(),
            loopback: Arc::new(Identity::without_token(String::new(), Standing::Loopback)),
        }
    }
}

impl Identities {
    /// Whoever asks for what is open to all.
    pub(super) fn nobody(&self) -> Arc<Identity> {
        Arc::clone(&self.loopback)
    }

    /// Learns which tokens there are now.
    pub(super) fn learn(&self, tokens: &[KnownToken]) {
        let mut inside = self.inside.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut inside.uses);
        let used = |id: &String| before.get(id).map_or_else(|| Arc::new(AtomicI64::new(UNUSED)), Arc::clone);
        let uses: HashMap<_, _> =
            tokens.iter().map(|known| (known.token.id.clone(), used(&known.token.id))).collect();
        let valid = tokens.iter().filter(|known| known.revoked.is_none());
        let by_hash = valid.filter_map(|known| {
            let used = Arc::clone(uses.get(&known.token.id)?);
            Some((known.token.hash, Known { identity: Arc::new(Identity::of_token(&known.token)), used }))
        });
        let by_hash: HashMap<_, _> = by_hash.collect();
        *inside = Inside { any: !by_hash.is_empty(), by_hash, uses };
        drop(inside);
        self.learnt.send_modify(|times| *times += 1);
    }

    /// When a token was used last, to the minute, since the daemon started; none: not since then.
    pub(super) fn last_use(&self, token_id: &str) -> Option<Timestamp> {
        let inside = self.inside.read().unwrap_or_else(PoisonError::into_inner);
        let used = inside.uses.get(token_id)?.load(Ordering::Relaxed);
        (used != UNUSED).then(|| Timestamp::from_micros(used))
    }

    /// Ends once the list of tokens was learnt.
    pub(super) async fn learnt(&self) {
        let mut learnt = self.learnt.subscribe();
        // The sender lives as long as this does.
        let _learnt = learnt.wait_for(|times| *times > 0).await.is_ok();
    }

    /// Ends when the list of tokens is learnt anew.
    pub(super) fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut learnt = self.learnt.subscribe();
        Box::pin(async move {
            if learnt.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    /// Whether somebody who was known still is, but for the time.
    pub(super) fn still_knows(&self, identity: &Identity) -> bool {
        let inside = self.inside.read().unwrap_or_else(PoisonError::into_inner);
        match identity.standing {
            Standing::Token(_) => {
                inside.by_hash.values().any(|known| known.identity.token_id == identity.token_id)
            }
            Standing::Loopback => !inside.any,
            Standing::Unix(_) => true,
        }
    }

    /// Who sent a request.
    pub(super) fn of(
        &self,
        peer: &Peer,
        headers: &http::HeaderMap,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Arc<Identity>, Failure> {
        let credential = headers.get(http::header::AUTHORIZATION);
        let inside = self.inside.read().unwrap_or_else(PoisonError::into_inner);
        let any = inside.any;
        if let Some(credential) = credential {
            let known = secret_of(credential.as_bytes()).and_then(|secret| inside.by_hash.get(&hash(secret)));
            let now = now();
            return match known {
                Some(Known { identity, used }) if !identity.is_expired(now) => {
                    let minute = now.as_micros() - now.as_micros().rem_euclid(MINUTE_US);
                    used.store(minute, Ordering::Relaxed);
                    Ok(Arc::clone(identity))
                }
                _ => Err(unauthenticated("the token is unknown, revoked or expired")),
            };
        }
        drop(inside);
        match peer {
            Peer::Unix { uid, .. } => {
                Ok(Arc::new(Identity::without_token(self.user(*uid), Standing::Unix(!any))))
            }
            Peer::Tcp(_) if !any && is_loopback(peer) => Ok(Arc::clone(&self.loopback)),
            Peer::Tcp(_) => Err(unauthenticated(
                "send `authorization: Bearer ...`; make a token with `askance token create`",
            )),
        }
    }

    /// The subject of a user of this machine.
    fn user(&self, uid: u32) -> String {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.entry(uid).or_insert_with(|| user_name(uid)).clone()
    }
}

fn unauthenticated(message: &str) -> Failure {
    Failure::new(ErrorCode::Unauthenticated, message)
}

fn is_loopback(peer: &Peer) -> bool {
    matches!(peer, Peer::Tcp(address) if address.ip().to_canonical().is_loopback())
}

/// The secret of a `Bearer` credential.
fn secret_of(credential: &[u8]) -> Option<&[u8]> {
    let (scheme, secret) = credential.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| secret.trim_ascii())
}

/// What is kept of a secret. It is 256 random bits, so that guessing is out of reach and looking it up by
/// its hash tells nothing by the time it takes.
pub(super) fn hash(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// The user's name by the system's list, as a principal; the number where the list does not know it.
pub fn user_name(uid: u32) -> String {
    let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| format!("user:{name}"))
    });
    named.unwrap_or_else(|| format!("user:uid-{uid}"))
}

/// What an RPC needs; none: it is open to all.
pub(super) fn need_of(path: &str) -> Option<Need> {
    let rpc = path.strip_prefix("/askance.v1.")?;
    let (service, method) = rpc.split_once('/')?;
    let reads = ["Get", "List", "Watch"].iter().any(|prefix| method.starts_with(prefix));
    Some(match (service, method) {
        ("GatewayService", "ImportCalls") => Need::Import,
        ("GatewayService", _) => Need::Gateway,
        ("ReviewService", "CastVote") => Need::Vote,
        ("ReviewService", "DelegateReview" | "GiveFeedback") => Need::ReviewWork,
        ("ControlService", "WatchLocks" | "ListLocks") | ("AccessService", "GetIdentity") => Need::Known,
        ("ControlService", "PlaceLock") => Need::Lock,
        ("AccessService", _) => Need::Operate,
        ("PolicyService", "CheckPolicy" | "ExplainPolicy" | "BacktestPolicy") => Need::Read,
        ("TimelineService", _) => Need::Read,
        _ if reads => Need::Read,
        _ => Need::Operate,
    })
}

/// RPCs that look at the tenants of a credential themselves. Others refuse one that is not good for all.
pub(super) fn looks_at_tenants(path: &str) -> bool {
    let Some(rpc) = path.strip_prefix("/askance.v1.") else { return true };
    matches!(
        rpc,
        "GatewayService/Evaluate"
            | "GatewayService/Score"
            | "GatewayService/AwaitDecision"
            | "GatewayService/GetCallReview"
            | "GatewayService/RecordOutcome"
            | "GatewayService/RegisterTools"
            | "GatewayService/EndSession"
            | "GatewayService/GetGatewaySettings"
            | "ControlService/PlaceLock"
            | "ControlService/ListLocks"
            | "ControlService/WatchLocks"
            | "AccessService/GetIdentity"
    ) || rpc.starts_with("ReviewService/")
}

/// Refuses what an identity may not do.
pub(super) fn admit(identity: &Identity, path: &str) -> Result<(), Failure> {
    let Some(need) = need_of(path) else { return Ok(()) };
    if !identity.may(need) {
        let message = match (need, identity.standing) {
            (Need::Vote, Standing::Unix(false)) => "with tokens in force, a vote needs a reviewer's token",
            (Need::Vote, Standing::Loopback) => {
                "a vote needs a reviewer's token, or the Unix socket while there are no tokens"
            }
            (_, Standing::Loopback) => "this needs an operator's token, or the Unix socket",
            _ => return Err(Failure::new(ErrorCode::NotPermitted, not_for(identity, need))),
        };
        return Err(Failure::new(ErrorCode::NotPermitted, message));
    }
    if !identity.tenants.is_empty() && !looks_at_tenants(path) {
        let message = "this RPC shows all tenants; it needs a credential that is good for all";
        return Err(Failure::new(ErrorCode::NotPermitted, message));
    }
    Ok(())
}

/// Why a token is not good for something, and which one would be.
fn not_for(identity: &Identity, need: Need) -> String {
    let wanted = match need {
        Need::Known => "any token",
        Need::Gateway => "a gateway's or an operator's token",
        Need::Read => "a reviewer's, an operator's or an auditor's token",
        Need::ReviewWork => "a reviewer's or an operator's token",
        Need::Vote => "a reviewer's token",
        Need::Import | Need::Lock | Need::Operate => "an operator's token",
    };
    let held = match identity.standing {
        Standing::Token(Role::Gateway) => "a gateway's",
        Standing::Token(Role::Reviewer) => "a reviewer's",
        Standing::Token(Role::Operator) => "an operator's",
        Standing::Token(Role::Auditor) => "an auditor's",
        Standing::Unix(_) | Standing::Loopback => "none",
    };
    format!("this needs {wanted}, and this one is {held}")
}

/// Who sent a request that a service has at hand.
pub(super) fn identity_of<T>(request: &tonic::Request<T>) -> Result<Arc<Identity>, Failure> {
    let arrival = request.extensions().get::<super::router::Arrival>();
    let identity = arrival.map(|arrival| Arc::clone(&arrival.identity));
    identity.ok_or_else(|| Failure::internal("a request without an arrival"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_that_is_needed_is_told() {
        let gateway = Identity::without_token("gw".to_owned(), Standing::Token(Role::Gateway));
        for need in [
            Need::Known,
            Need::Gateway,
            Need::Import,
            Need::Read,
            Need::ReviewWork,
            Need::Vote,
            Need::Lock,
            Need::Operate,
        ] {
            let told = not_for(&gateway, need);
            for (role, name) in [
                (Role::Gateway, "gateway's"),
                (Role::Reviewer, "reviewer's"),
                (Role::Operator, "operator's"),
                (Role::Auditor, "auditor's"),
            ] {
                let holder = Identity::without_token(String::new(), Standing::Token(role));
                let wanted = told.split_once(", and").map_or("", |(wanted, _)| wanted);
                assert_eq!(
                    wanted.contains(name) || wanted.contains("any token"),
                    holder.may(need),
                    "{need:?} {name}: {told}"
                );
            }
        }
    }

    fn token(role: Role, expires: Option<i64>) -> KnownToken {
        KnownToken {
            token: Token {
                id: "tk_1".to_owned(),
                subject: "user:alice".to_owned(),
                aliases: Vec::new(),
                role,
                groups: vec!["sre".to_owned()],
                tenants: Vec::new(),
                expires: expires.map(Timestamp::from_micros),
                hash: hash(b"secret"),
            },
            created: Timestamp::default(),
            position: crate::domain::Position::new(1),
            revoked: None,
        }
    }

    fn headers(credential: Option<&str>) -> http::HeaderMap {
        let mut headers = http::HeaderMap::new();
        if let Some(credential) = credential {
            headers.insert(http::header::AUTHORIZATION, credential.parse().unwrap());
        }
        headers
    }

    #[test]
    fn without_tokens_loopback_asks_and_only_the_socket_votes() {
        let identities = Identities::default();
        let now = Timestamp::default;
        let tcp = |ip: &str| Peer::Tcp(format!("{ip}:1").parse().unwrap());
        let of = |peer: &Peer| identities.of(peer, &headers(None), now);
        let local = of(&tcp("127.0.0.1")).unwrap();
        assert!(local.may(Need::Gateway) && local.may(Need::Lock));
        assert!(!local.may(Need::Vote) && !local.may(Need::Operate));
        assert!(of(&tcp("10.0.0.1")).is_err(), "nobody from afar");
        let unix = of(&Peer::Unix { uid: 0, gid: 0, pid: None }).unwrap();
        assert_eq!(unix.subject, "user:root");
        assert!(unix.may(Need::Vote) && unix.voter().any_group);
    }

    #[test]
    fn with_tokens_only_they_count_on_tcp() {
        let identities = Identities::default();
        identities.learn(&[token(Role::Reviewer, Some(100))]);
        assert_eq!(identities.last_use("tk_1"), None);
        let local = Peer::Tcp("127.0.0.1:1".parse().unwrap());
        let of = |peer: &Peer, credential: Option<&str>, now: i64| {
            identities.of(peer, &headers(credential), || Timestamp::from_micros(now))
        };
        assert!(of(&local, None, 1).is_err());
        assert!(of(&local, Some("Bearer wrong"), 1).is_err());
        assert!(of(&local, Some("Basic secret"), 1).is_err());
        let alice = of(&local, Some("bearer secret"), 1).unwrap();
        assert_eq!((alice.subject.as_str(), alice.token_id.as_str()), ("user:alice", "tk_1"));
        assert!(alice.may(Need::Vote) && !alice.may(Need::Gateway));
        assert_eq!(identities.last_use("tk_1"), Some(Timestamp::default()), "to the minute");
        identities.learn(&[token(Role::Reviewer, Some(100))]);
        assert!(identities.last_use("tk_1").is_some() && identities.last_use("tk_2").is_none());
        let unix = of(&Peer::Unix { uid: 0, gid: 0, pid: None }, None, 1).unwrap();
        assert!(unix.may(Need::Operate) && !unix.may(Need::Vote));
        assert!(of(&local, Some("Bearer secret"), 100).is_err(), "expired");
        assert!(of(&local, None, 100).is_err(), "an expired token opens nothing");
    }

    #[test]
    fn every_rpc_needs_something() {
        for (path, need) in [
            ("/askance.v1.GatewayService/Evaluate", Need::Gateway),
            ("/askance.v1.ReviewService/CastVote", Need::Vote),
            ("/askance.v1.ReviewService/ListReviews", Need::Read),
            ("/askance.v1.ControlService/LiftLock", Need::Operate),
            ("/askance.v1.ControlService/GetStatus", Need::Read),
            ("/askance.v1.PolicyService/AdoptPolicy", Need::Operate),
            ("/askance.v1.AccessService/ListTokens", Need::Operate),
            ("/askance.v1.NewService/Anything", Need::Operate),
        ] {
            assert_eq!(need_of(path), Some(need), "{path}");
        }
        assert_eq!(need_of("/grpc.health.v1.Health/Check"), None);
    }
}
