//! `askance model`: what was learnt, and what is fitted outside and adopted.

pub(super) mod export;
mod roles;
mod train;

use super::Global;
use super::client::{Connection, Otherwise, connect, refused};
use super::output::{Output, table};
use crate::proto::v1::model_service_client::ModelServiceClient;
use crate::proto::v1::{AdoptModelRequest, ListModelsRequest, UnlearnSessionRequest};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to do with models.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// List the models that were adopted, newest first.
    List,
    /// Put a fitted model into use.
    Adopt(AdoptArgs),
    /// Take what a session taught out of what is learnt.
    Unlearn(UnlearnArgs),
    /// Fit the chance that a reviewer rejects, from verdicts.
    Train(train::Args),
    /// Write the built-in tables and priors, with their cards.
    Export(export::Args),
    /// Suggest groups of principals that use tools alike.
    Roles(roles::Args),
}

/// Arguments of `askance model adopt`.
#[derive(Debug, clap::Args)]
pub(super) struct AdoptArgs {
    /// The parameters, as `askance model train` wrote them.
    #[arg(value_name = "FILE")]
    parameters: PathBuf,
    /// The model card; without it, the file beside the parameters with the ending `.md`.
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// Its name; without it, the file's.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Arguments of `askance model unlearn`.
#[derive(Debug, clap::Args)]
pub(super) struct UnlearnArgs {
    /// The session's key: 32 hex digits, as `askance sessions list --json` shows it.
    #[arg(long, value_name = "KEY")]
    session: String,
    /// Tenant.
    #[arg(long, default_value = "", value_name = "NAME")]
    tenant: String,
    /// Why, for the record.
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
}

/// Runs the command.
pub(super) async fn run(action: Action, global: &Global, output: &Output) -> Result<ExitCode> {
    match action {
        Action::Train(args) => return train::run(&args, output),
        Action::Roles(args) => return roles::run(&args, output),
        Action::Export(args) => return export::run(&args, output),
        _ => {}
    }
    let connection = connect(global, Otherwise::OpenExisting, output).await?;
    let done = match action {
        Action::List => list(&connection, output).await,
        Action::Adopt(args) => adopt(args, &connection, output).await,
        Action::Unlearn(args) => unlearn(args, &connection, output).await,
        Action::Train(_) | Action::Roles(_) | Action::Export(_) => Ok(()),
    };
    connection.close().await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn list(connection: &Connection, output: &Output) -> Result<()> {
    let mut client = ModelServiceClient::new(connection.channel());
    let answer = client.list_models(ListModelsRequest { page_size: 1_000, ..Default::default() }).await;
    let models = answer.map_err(|status| refused(&status))?.into_inner().models;
    let shown: Vec<_> = models
        .iter()
        .map(|model| json!({"revision": model.revision, "name": model.name, "position": model.position, "card": model.card}))
        .collect();
    output.result(&shown, || {
        let rows = models.iter().map(|model| {
            let first =
                model.card.lines().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or("");
            [model.revision.clone(), model.name.clone(), model.position.to_string(), first.to_owned()]
        });
        if models.is_empty() {
            "no model was adopted".to_owned()
        } else {
            table(["REVISION", "NAME", "POSITION", "CARD"], rows)
        }
    })
}

async fn adopt(args: AdoptArgs, connection: &Connection, output: &Output) -> Result<()> {
    let path = args.parameters;
    let parameters = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let card_path = args.card.unwrap_or_else(|| path.with_extension("md"));
    let card = std::fs::read_to_string(&card_path)
        .with_context(|| format!("cannot read {}", card_path.display()))?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let request = AdoptModelRequest { name: args.name.unwrap_or(stem), card, parameters: parameters.into() };
    let mut client = ModelServiceClient::new(connection.channel());
    let answer = client.adopt_model(request).await.map_err(|status| refused(&status))?.into_inner();
    let model = answer.model.unwrap_or_default();
    let told = json!({"revision": model.revision, "name": model.name, "position": model.position});
    output.result(&told, || match model.position {
        0 => format!("{} ({}) is in use already", model.name, model.revision),
        position => format!("{} ({}) is in use from position {position} on", model.name, model.revision),
    })
}

async fn unlearn(args: UnlearnArgs, connection: &Connection, output: &Output) -> Result<()> {
    let session = args.session.clone();
    let request =
        UnlearnSessionRequest { tenant: args.tenant, session_key: args.session, reason: args.reason };
    let mut client = ModelServiceClient::new(connection.channel());
    let answer = client.unlearn_session(request).await.map_err(|status| refused(&status))?.into_inner();
    output.result(&json!({"session": session, "position": answer.position}), || match answer.position {
        0 => format!("{session} teaches nothing already"),
        position => format!("{session} teaches nothing from position {position} on"),
    })
}
