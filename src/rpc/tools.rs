//! `ToolService`: the inventory of tools.

use super::convert::event::definition_of;
use super::convert::tool;
use super::identity::identity_of;
use super::page::{Tokens, size};
use super::policy::check_comment;
use super::shared::{Shared, tenant_of};
use super::status::Failure;
use crate::decide::ingest::check_name;
use crate::decide::ruling::{Refusal, Ruling};
use crate::domain::event::{Event, ToolDefined};
use crate::domain::position::Position;
use crate::engine::{Error, EventView};
use crate::projection::{Tool, tool_hash};
use crate::proto::v1;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Tools of a page by default, and at most.
const PAGE: (usize, usize) = (50, 1_000);

/// The service.
pub(super) struct Tools {
    shared: Arc<Shared>,
}

impl Tools {
    /// Over this engine.
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn list(&self, mut request: v1::ListToolsRequest) -> Result<v1::ListToolsResponse, Failure> {
        let tenant = tenant_of(&request.tenant).to_owned();
        check_name("tenant", &tenant, false).map_err(Failure::invalid)?;
        let token = std::mem::take(&mut request.page_token);
        let page = size(std::mem::take(&mut request.page_size), PAGE.0, PAGE.1);
        let tokens = Tokens::new(self.shared.engine.key(&tenant), "tools", &request);
        let skip = if token.is_empty() { Vec::new() } else { tokens.open("page_token", &token)? };
        let admits = filter(&request)?;
        let name = tenant.clone();
        let mut found: Vec<Tool> = self
            .shared
            .engine
            .ask(&tenant, move |state| {
                let inventory = state.tenant(&name).map(|tenant| &tenant.inventory);
                let tools = inventory.into_iter().flat_map(|inventory| inventory.iter());
                tools.map(|(_, tool)| tool).filter(|tool| admits(tool)).cloned().collect()
            })
            .await?;
        found.sort_by(|one, other| (&one.server, &one.tool).cmp(&(&other.server, &other.tool)));
        let after = |found: &&Tool| skip.is_empty() || place(found).as_slice() > skip.as_slice();
        let mut tools = found.iter().filter(after);
        let shown: Vec<&Tool> = tools.by_ref().take(page).collect();
        let next_page_token = match (tools.next(), shown.last()) {
            (Some(_), Some(last)) => tokens.seal(&place(last)),
            _ => String::new(),
        };
        let tools = shown.into_iter().map(|found| tool::tool(&tenant, found)).collect();
        Ok(v1::ListToolsResponse { tools, next_page_token })
    }

    async fn get(&self, request: v1::GetToolRequest) -> Result<v1::GetToolResponse, Failure> {
        let tenant = tenant_of(&request.tenant).to_owned();
        check_name("tenant", &tenant, false).map_err(Failure::invalid)?;
        check_name("tool", &request.tool, true).map_err(Failure::invalid)?;
        let known = self.known(&tenant, &request.server, &request.tool).await?;
        let definition = self.defined_at(&tenant, known.defined_at).await?.map(definition_of);
        // The same as `definition` unless it changed and nobody has accepted it.
        let accepted = match known.accepted_at == known.defined_at {
            true => None,
            false => self.defined_at(&tenant, known.accepted_at).await?.map(definition_of),
        };
        Ok(v1::GetToolResponse {
            tool: Some(tool::tool(&tenant, &known)),
            definition,
            accepted_definition: accepted,
        })
    }
}

impl Tools {
    async fn accept(
        &self,
        request: v1::AcceptToolRequest,
        actor: String,
    ) -> Result<v1::AcceptToolResponse, Failure> {
        let tenant = tenant_of(&request.tenant).to_owned();
        check_name("tenant", &tenant, false).map_err(Failure::invalid)?;
        check_name("tool", &request.tool, true).map_err(Failure::invalid)?;
        check_comment("comment", &request.comment)?;
        let digest: [u8; 32] = request
            .definition_digest
            .as_ref()
            .try_into()
            .map_err(|_| Failure::field("definition_digest", "is not 32 bytes long"))?;
        let known = self.known(&tenant, &request.server, &request.tool).await?;
        let definition = self.defined_at(&tenant, known.defined_at).await?;
        let definition = definition.filter(|defined| defined.definition_hash == digest).ok_or_else(|| {
            let message = "the definition is another one by now; look at it first".to_owned();
            Failure::from(Error::Refused(Refusal::Conflict(message)))
        })?;
        let ruling = Ruling::AcceptTool {
            tenant: tenant.clone(),
            definition: Box::new(definition),
            actor,
            comment: request.comment,
        };
        let ruled = self.shared.engine.rule(&tenant, ruling).await?;
        let known = self.known(&tenant, &request.server, &request.tool).await?;
        let position = if ruled.repeated { 0 } else { ruled.position.get() };
        Ok(v1::AcceptToolResponse { tool: Some(tool::tool(&tenant, &known)), position })
    }

    async fn known(&self, tenant: &str, server: &str, asked: &str) -> Result<Tool, Failure> {
        let (name, of, tool) = (tenant.to_owned(), server.to_owned(), asked.to_owned());
        let known = self
            .shared
            .engine
            .ask(tenant, move |state| {
                let inventory = &state.tenant(&name)?.inventory;
                inventory.get(tool_hash(&state.key(), &of, &tool)).cloned()
            })
            .await?;
        let unknown = || Error::NotFound(format!("tool `{asked}` of server `{server}`"));
        Ok(known.ok_or_else(unknown)?)
    }

    async fn defined_at(&self, tenant: &str, at: Position) -> Result<Option<ToolDefined>, Failure> {
        let name = tenant.to_owned();
        let found = self.shared.read(move |engine| engine.log_events(&name, at, 1, EventView::Basic)).await?;
        Ok(found.into_iter().next().and_then(|event| match event.recorded.record.event {
            Event::ToolDefined(defined) => Some(defined),
            _ => None,
        }))
    }
}

/// Sorts as server and name do: names hold no control characters.
fn place(tool: &Tool) -> Vec<u8> {
    [tool.server.as_bytes(), tool.tool.as_bytes()].join(&0)
}

fn filter(request: &v1::ListToolsRequest) -> Result<impl Fn(&Tool) -> bool + Send + use<>, Failure> {
    let status = v1::ToolStatus::try_from(request.status)
        .map_err(|_| Failure::field("status", "is not a known status"))?;
    let category = v1::RiskCategory::try_from(request.category)
        .map_err(|_| Failure::field("category", "is not a known category"))?;
    let server = request.server.clone();
    Ok(move |found: &Tool| {
        (server.is_empty() || found.server == server)
            && (status == v1::ToolStatus::Unspecified || tool::status(found.changed) == status)
            && (category == v1::RiskCategory::Unspecified
                || v1::RiskCategory::from(found.category) == category)
    })
}

#[tonic::async_trait]
impl v1::tool_service_server::ToolService for Tools {
    async fn list_tools(
        &self,
        request: Request<v1::ListToolsRequest>,
    ) -> Result<Response<v1::ListToolsResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn get_tool(
        &self,
        request: Request<v1::GetToolRequest>,
    ) -> Result<Response<v1::GetToolResponse>, Status> {
        Ok(Response::new(self.get(request.into_inner()).await?))
    }

    async fn accept_tool(
        &self,
        request: Request<v1::AcceptToolRequest>,
    ) -> Result<Response<v1::AcceptToolResponse>, Status> {
        let actor = identity_of(&request)?.actor();
        Ok(Response::new(self.accept(request.into_inner(), actor).await?))
    }
}
