//! `askance token`: who may do what.

use super::Global;
use super::client::{Connection, Otherwise, connect, refused};
use super::lock::span;
use super::output::{Output, table};
use super::review::{ago, time_of};
use crate::detector::sentence::shown;
use crate::proto::v1::access_service_client::AccessServiceClient;
use crate::proto::v1::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, Role, Token};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// What to do with tokens.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Make a token. Its secret is shown this once.
    Create(CreateArgs),
    /// List tokens, newest first, without secrets.
    List {
        /// Also those that expired or were revoked.
        #[arg(long)]
        all: bool,
    },
    /// Revoke a token, from the next request on.
    Revoke {
        /// The token's id, from `askance token list`.
        id: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Tell who this command is to the daemon.
    Whoami,
}

/// Arguments of `askance token create`.
#[derive(Debug, clap::Args)]
pub(super) struct CreateArgs {
    /// Who will use it, such as user:alice. Tokens of one subject are one person.
    #[arg(long)]
    subject: String,
    /// What it may do.
    #[arg(long)]
    role: RoleName,
    /// Groups in whose name it votes, with commas between.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    groups: Vec<String>,
    /// Other names of the same person, with commas between.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    aliases: Vec<String>,
    /// Tenants it is good for, with commas between; without it all.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    tenants: Vec<String>,
    /// After which time it ends, such as 90d; without it when it is revoked.
    #[arg(long, value_name = "TIME", value_parser = span)]
    expires: Option<Duration>,
}

/// A role.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum RoleName {
    /// Asks about calls.
    Gateway,
    /// Reads and votes.
    Reviewer,
    /// Everything but voting.
    Operator,
    /// Reads everything.
    Auditor,
}

/// Runs the command.
pub(super) async fn run(action: Action, global: &Global, output: &Output) -> Result<ExitCode> {
    let connection = connect(global, Otherwise::OpenExisting, output).await?;
    let done = match action {
        Action::Create(args) => create(args, &connection, output).await,
        Action::List { all } => list(all, &connection, output).await,
        Action::Revoke { id, reason } => revoke(id, reason, &connection, output).await,
        Action::Whoami => whoami(&connection, output).await,
    };
    connection.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn create(args: CreateArgs, connection: &Connection, output: &Output) -> Result<()> {
    let role = match args.role {
        RoleName::Gateway => Role::Gateway,
        RoleName::Reviewer => Role::Reviewer,
        RoleName::Operator => Role::Operator,
        RoleName::Auditor => Role::Auditor,
    };
    let expire_time = args.expires.map(|span| {
        let now = crate::clock::Clock::system().now();
        let us = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        super::import::wire_time(now.plus_micros(us))
    });
    let request = CreateTokenRequest {
        subject: args.subject,
        role: role.into(),
        groups: args.groups,
        tenants: args.tenants,
        expire_time,
        aliases: args.aliases,
    };
    let mut client = AccessServiceClient::new(connection.channel());
    let made = client.create_token(request).await.map_err(|status| refused(&status))?.into_inner();
    let token = made.token.context("the daemon sent no token")?;
    output.note(
        "the secret is shown this once; send it as `authorization: Bearer SECRET`, or set ASKANCE_TOKEN",
    );
    output.note("while there are tokens, every request over TCP needs one, on loopback too");
    let secret = made.secret;
    output.result(&json!({ "token": as_json(&token), "secret": secret }), || {
        format!("{}  {}  {}\n{secret}", token.token_id, role_name(&token), shown(&token.subject))
    })
}

async fn list(all: bool, connection: &Connection, output: &Output) -> Result<()> {
    let mut client = AccessServiceClient::new(connection.channel());
    let mut tokens: Vec<Token> = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListTokensRequest { include_ended: all, page_size: 1_000, page_token };
        let page = client.list_tokens(request).await.map_err(|status| refused(&status))?.into_inner();
        tokens.extend(page.tokens);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let listed: Vec<Value> = tokens.iter().map(as_json).collect();
    output.result(&listed, || {
        if tokens.is_empty() {
            return "there are no tokens: loopback asks freely, and only the Unix socket votes".to_owned();
        }
        let row = |token: &Token| {
            let until = match (&token.revoke_time, &token.expire_time) {
                (Some(at), _) => format!("revoked {}", time_of(Some(at))),
                (None, Some(at)) => time_of(Some(at)),
                (None, None) => "no end set".to_owned(),
            };
            let groups = shown(&token.groups.join(","));
            let used = token.last_use_time.as_ref();
            let used = used.map_or_else(|| "not since start".to_owned(), |at| ago(Some(at)));
            [token.token_id.clone(), role_name(token).to_owned(), shown(&token.subject), groups, until, used]
        };
        table(["TOKEN", "ROLE", "SUBJECT", "GROUPS", "UNTIL", "USED"], tokens.iter().map(row))
    })
}

async fn revoke(id: String, reason: String, connection: &Connection, output: &Output) -> Result<()> {
    let mut client = AccessServiceClient::new(connection.channel());
    let request = RevokeTokenRequest { token_id: id, reason };
    let answer = client.revoke_token(request).await.map_err(|status| refused(&status))?;
    let token = answer.into_inner().token.context("the daemon sent no token")?;
    output.result(&as_json(&token), || format!("revoked: {} of {}", token.token_id, shown(&token.subject)))
}

async fn whoami(connection: &Connection, output: &Output) -> Result<()> {
    let mut client = AccessServiceClient::new(connection.channel());
    let request = crate::proto::v1::GetIdentityRequest {};
    let who = client.get_identity(request).await.map_err(|status| refused(&status))?.into_inner();
    let role = Role::try_from(who.role).unwrap_or(Role::Unspecified);
    let role = role.as_str_name().trim_start_matches("ROLE_").to_lowercase();
    let subject = if who.subject.is_empty() { "whoever reaches loopback" } else { who.subject.as_str() };
    output.result(
        &json!({ "subject": who.subject, "role": role, "groups": who.groups, "token_id": who.token_id }),
        || format!("{} as {role}", shown(subject)),
    )
}

fn role_name(token: &Token) -> &'static str {
    match Role::try_from(token.role) {
        Ok(Role::Gateway) => "gateway",
        Ok(Role::Reviewer) => "reviewer",
        Ok(Role::Operator) => "operator",
        Ok(Role::Auditor) => "auditor",
        Ok(Role::Unspecified) | Err(_) => "?",
    }
}

fn as_json(token: &Token) -> Value {
    json!({
        "token_id": token.token_id,
        "subject": token.subject,
        "aliases": token.aliases,
        "role": role_name(token),
        "groups": token.groups,
        "tenants": token.tenants,
        "create_time": time_of(token.create_time.as_ref()),
        "expire_time": token.expire_time.as_ref().map(|at| time_of(Some(at))),
        "revoke_time": token.revoke_time.as_ref().map(|at| time_of(Some(at))),
        "last_use_time": token.last_use_time.as_ref().map(|at| time_of(Some(at))),
    })
}
