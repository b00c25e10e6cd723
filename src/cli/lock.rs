//! `askance lock`, `askance unlock`, `askance locks`: the panic button.

use super::Global;
use super::client::{Connection, Otherwise, connect, refused};
use super::output::{Output, table};
use super::review::{ago, time_of};
use crate::config::Value;
use crate::decide::ingest::DEFAULT_TENANT;
use crate::detector::sentence::shown;
use crate::domain::lock::EVERY_SERVER;
use crate::proto::v1::control_service_client::ControlServiceClient;
use crate::proto::v1::timeline_service_client::TimelineServiceClient;
use crate::proto::v1::{LiftLockRequest, ListLocksRequest, Lock, LockOrigin, LockScope, PlaceLockRequest};
use anyhow::{Context, Result, bail};
use serde_json::{Value as Json, json};
use std::process::ExitCode;
use std::time::Duration;

/// Digits of a session's whole key.
const KEY_DIGITS: usize = 32;

/// What to lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Scope {
    /// One session and the sessions nested in it; ID is its key or id, or the beginning of its key.
    Session,
    /// Every call with this principal in its chain.
    Principal,
    /// One tool, of every server unless --server names one.
    Tool,
    /// Every tool of a server.
    Server,
    /// A whole tenant; ID is its name.
    Tenant,
    /// Everything. No ID.
    Everything,
}

/// Arguments of `askance lock`.
#[derive(Debug, clap::Args)]
pub(super) struct PlaceArgs {
    /// What to lock.
    scope: Scope,
    /// Name or key of it.
    #[arg(default_value = "")]
    id: String,
    /// Why. The agents it stops are told.
    #[arg(long)]
    reason: String,
    /// For how long, such as 2h; without it until it is lifted.
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    ttl: Option<Duration>,
    /// The tool's server; without it every server.
    #[arg(long, default_value = "", value_name = "NAME")]
    server: String,
    /// The tenant in which; without it `default`, and for a session the one that has it.
    #[arg(long, default_value = "", value_name = "NAME")]
    tenant: String,
    /// Changes nothing: a lock is placed without a question anyway. For scripts that say it everywhere.
    #[arg(long = "yes")]
    _yes: bool,
}

/// Arguments of `askance unlock`.
#[derive(Debug, clap::Args)]
pub(super) struct LiftArgs {
    /// The lock's id, from `askance locks`.
    id: String,
    /// Why.
    #[arg(long)]
    reason: String,
}

/// Arguments of `askance locks`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Tenant.
    #[arg(long, default_value = "", value_name = "NAME")]
    tenant: String,
    /// Also those that were lifted or ran out.
    #[arg(long)]
    all: bool,
}

/// A time span such as `2h` or `90d`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    <Duration as Value>::parse(text)
}

/// A span as it is sent.
pub(super) fn wire_span(span: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}

/// Runs `askance lock`.
pub(super) async fn place(args: PlaceArgs, global: &Global, output: &Output) -> Result<ExitCode> {
    let connection = connect(global, Otherwise::Fail, output).await?;
    let placed = place_on(&connection, args, output).await;
    connection.close().await?;
    placed
}

async fn place_on(connection: &Connection, args: PlaceArgs, output: &Output) -> Result<ExitCode> {
    let (scope, target, tenant) = match args.scope {
        Scope::Session => {
            let (key, tenant) = session(connection, args.id, args.tenant, output).await?;
            (LockScope::Session, key, tenant)
        }
        Scope::Principal => (LockScope::Principal, args.id, args.tenant),
        Scope::Tool => (LockScope::Tool, args.id, args.tenant),
        Scope::Server => (LockScope::Server, args.id, args.tenant),
        Scope::Tenant => (LockScope::Tenant, String::new(), args.id),
        Scope::Everything if !args.id.is_empty() => bail!("`askance lock everything` takes no ID"),
        Scope::Everything => (LockScope::Everything, String::new(), String::new()),
    };
    let request = PlaceLockRequest {
        tenant,
        scope: scope.into(),
        target,
        server: args.server,
        reason: args.reason,
        ttl: args.ttl.map(wire_span),
    };
    let mut client = ControlServiceClient::new(connection.channel());
    let placed = client.place_lock(request).await.map_err(|status| refused(&status))?.into_inner();
    let lock = placed.lock.context("the daemon sent no lock")?;
    let cancelled = placed.reviews_cancelled;
    output.result(&json!({ "lock": as_json(&lock), "reviews_cancelled": cancelled }), || {
        format!(
            "locked: {} ({}); {cancelled} open reviews are cancelled\nlift it with: askance unlock {} --reason ...",
            what(&lock),
            lock.lock_id,
            lock.lock_id
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Key and tenant of the session that is meant: by its id or the beginning of its key, and in whichever tenant it is.
async fn session(
    connection: &Connection,
    id: String,
    tenant: String,
    output: &Output,
) -> Result<(String, String)> {
    let mut timeline = TimelineServiceClient::new(connection.channel());
    let asked = (!tenant.is_empty()).then_some(&tenant);
    let found = super::sessions::find(&id, asked, &mut timeline, connection).await;
    let known = found.as_ref().ok().and_then(|found| found.session.as_ref());
    match known {
        Some(known) => Ok((known.session_key.clone(), known.tenant.clone())),
        // Stopping comes first: a whole key is locked even where nobody has seen it.
        None if id.len() == KEY_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            output.note("no session of this key has been seen; it is locked all the same");
            Ok((id, tenant))
        }
        None => found.map(|_| (id, tenant)),
    }
}

/// Runs `askance unlock`.
pub(super) async fn lift(args: LiftArgs, global: &Global, output: &Output) -> Result<ExitCode> {
    let connection = connect(global, Otherwise::Fail, output).await?;
    let mut client = ControlServiceClient::new(connection.channel());
    let request = LiftLockRequest { lock_id: args.id, reason: args.reason };
    let lifted = client.lift_lock(request).await.map_err(|status| refused(&status));
    connection.close().await?;
    let lock = lifted?.into_inner().lock.context("the daemon sent no lock")?;
    output.result(&as_json(&lock), || format!("lifted: {} ({})", what(&lock), lock.lock_id))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `askance locks`.
pub(super) async fn list(args: ListArgs, global: &Global, output: &Output) -> Result<ExitCode> {
    let connection = connect(global, Otherwise::OpenExisting, output).await?;
    let mut client = ControlServiceClient::new(connection.channel());
    let mut locks: Vec<Lock> = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListLocksRequest {
            tenant: args.tenant.clone(),
            include_ended: args.all,
            page_size: 1_000,
            page_token,
        };
        let page = client.list_locks(request).await.map_err(|status| refused(&status))?.into_inner();
        locks.extend(page.locks);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    connection.close().await?;
    let all: Vec<Json> = locks.iter().map(as_json).collect();
    output.result(&all, || {
        if locks.is_empty() {
            return "no lock holds".to_owned();
        }
        let row = |lock: &Lock| {
            let until = match (&lock.end_time, &lock.expire_time) {
                (Some(ended), _) => format!("ended {}", time_of(Some(ended))),
                (None, Some(expires)) => time_of(Some(expires)),
                (None, None) => "no end set".to_owned(),
            };
            let since = ago(lock.place_time.as_ref());
            [lock.lock_id.clone(), what(lock), since, until, shown(&lock.actor), shown(&lock.reason)]
        };
        table(["LOCK", "COVERS", "SINCE", "UNTIL", "BY", "WHY"], locks.iter().map(row))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What a lock covers, in words.
fn what(lock: &Lock) -> String {
    let target = shown(&lock.target);
    let covered = match LockScope::try_from(lock.scope) {
        Ok(LockScope::Session) => format!("session {target}"),
        Ok(LockScope::Principal) => format!("principal {target}"),
        Ok(LockScope::Tool) if lock.server == EVERY_SERVER => format!("tool {target} of every server"),
        Ok(LockScope::Tool) => format!("tool {target} of {}", shown(&lock.server)),
        Ok(LockScope::Server) => format!("server {target}"),
        Ok(LockScope::Tenant) => return format!("tenant {}", shown(&lock.tenant)),
        Ok(LockScope::Everything) => return "everything".to_owned(),
        Ok(LockScope::Unspecified) | Err(_) => "?".to_owned(),
    };
    // A lock holds in one tenant, which is easily forgotten.
    if lock.tenant == DEFAULT_TENANT {
        covered
    } else {
        format!("{covered} in tenant {}", shown(&lock.tenant))
    }
}

fn as_json(lock: &Lock) -> Json {
    let origin = match LockOrigin::try_from(lock.origin) {
        Ok(LockOrigin::Rpc) => "rpc",
        Ok(LockOrigin::Signal) => "signal",
        Ok(LockOrigin::File) => "file",
        Ok(LockOrigin::Unspecified) | Err(_) => "",
    };
    json!({
        "lock_id": lock.lock_id,
        "covers": what(lock),
        "tenant": lock.tenant,
        "reason": lock.reason,
        "actor": lock.actor,
        "origin": origin,
        "place_time": time_of(lock.place_time.as_ref()),
        "expire_time": lock.expire_time.as_ref().map(|at| time_of(Some(at))),
        "end_time": lock.end_time.as_ref().map(|at| time_of(Some(at))),
        "position": lock.position,
    })
}
