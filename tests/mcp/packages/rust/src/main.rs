//! `server [--http]`: a server of the official Rust SDK, on standard input and output, or over HTTP on a port that it
//! prints. `client 2025|2026 COMMAND...|URL`: its client, in either era, which prints what it understands of everything
//! that is allowed; with FOLLOWS set it then makes a call that people must look at, and follows it as a task.

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientConfig, ContentBlock,
    GetTaskParams, Implementation, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
    ServerCapabilities, ServerConfig, TaskPayload, Tool,
};
use rmcp::service::{RequestContext, RunningService};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess, stdio};
use rmcp::{
    ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient, RoleServer, ServerHandler, ServiceExt,
};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

type Done = Result<(), Box<dyn Error>>;

/// A server with two tools that it lists, and one that it denies to have.
#[derive(Clone)]
struct Server;

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = json!({ "type": "object", "properties": { "a": { "type": "number" } } });
        let schema = Arc::new(schema.as_object().cloned().unwrap_or_default());
        let tool = |name: &'static str, says: &'static str| Tool::new(name, says, Arc::clone(&schema));
        let tools = vec![tool("get_sum", "Adds."), tool("delete_database", "Deletes a database.")];
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::from(request.arguments.clone().unwrap_or_default());
        if request.name == "get_nothing" {
            return Err(ErrorData::invalid_params("there is no such tool", Some(json!({ "tool": 1 }))));
        }
        let said = format!("{} ran with {arguments}", request.name);
        Ok(CallToolResult::success(vec![ContentBlock::text(said)]).into())
    }
}

async fn serve_http() -> Done {
    let service: StreamableHttpService<Server, LocalSessionManager> =
        StreamableHttpService::new(|| Ok(Server), Arc::default(), StreamableHttpServerConfig::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service.clone();
        let each = service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(service.handle(request).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), each));
    }
}

type Connected = RunningService<RoleClient, ClientConfig>;

async fn connected(era: &str, server: &[String]) -> Result<Connected, Box<dyn Error>> {
    let mode = match era {
        "2025" => ClientLifecycleMode::Initialize,
        _ => ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
    };
    let can = ClientCapabilities::builder().enable_tasks().build();
    let client = ClientConfig::new(can, Implementation::new("rust-client", "1"));
    let (program, arguments) = server.split_first().ok_or("no server is named")?;
    if program.starts_with("http://") {
        let transport = StreamableHttpClientTransport::from_uri(program.as_str());
        return Ok(client.serve_with_lifecycle(transport, mode).await?);
    }
    let mut command = tokio::process::Command::new(program);
    command.args(arguments);
    Ok(client.serve_with_lifecycle(TokioChildProcess::new(command)?, mode).await?)
}

fn call(tool: &'static str, arguments: &Value) -> CallToolRequestParams {
    CallToolRequestParams::new(tool).with_arguments(arguments.as_object().cloned().unwrap_or_default())
}

async fn understand(client: &Connected) -> Done {
    println!("{}", serde_json::to_value(client.peer_info())?);
    println!("{}", serde_json::to_value(client.list_all_tools().await?)?);
    let sum = client.call_tool(call("get_sum", &json!({ "a": 1.50, "b": ["x"] }))).await?;
    println!("{}", serde_json::to_value(sum)?);
    match client.call_tool(call("get_nothing", &json!({}))).await {
        Ok(_) => return Err("a tool that is not there ran".into()),
        Err(fault) => println!("{fault}"),
    }
    println!("{}", client.list_all_resources().await.is_ok());
    Ok(())
}

async fn follow(client: &Connected) -> Done {
    let response = client.call_tool_once(call("delete_database", &json!({ "name": "main" }))).await?;
    let CallToolResponse::Task(created) = response else { return Err("no task is made".into()) };
    println!("{}", created.task.status_message.clone().unwrap_or_default());
    loop {
        let asked = GetTaskParams::new(created.task.task_id.clone());
        let task = client.peer().get_task(asked).await?.task;
        if let TaskPayload::Completed { result } = task.payload {
            println!("{}", Value::Object(result)["content"][0]["text"]);
            return Ok(());
        }
        if task.status().is_terminal() {
            return Err("the task came to no result".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::main]
async fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["server"] => {
            Server.serve(stdio()).await?.waiting().await?;
        }
        ["server", "--http"] => serve_http().await?,
        ["client", era, _, ..] => {
            let client = connected(era, &arguments[2..]).await?;
            understand(&client).await?;
            if std::env::var_os("FOLLOWS").is_some() {
                follow(&client).await?;
            }
            client.cancel().await?;
        }
        _ => return Err("server [--http], or client 2025|2026 COMMAND...|URL".into()),
    }
    Ok(())
}
