"""Production tools over MCP. Only what can do harm asks first."""
import os

from fastmcp import FastMCP
from gate import gated

mcp = FastMCP("production-tools")
WAIT = int(os.environ.get("REVIEW_WAIT", "300"))


@mcp.tool
@gated("production-tools")
def get_service_status(service: str) -> str:
    """How a service is."""
    return f"{service}: 3 of 3 replicas ready"


@mcp.tool
@gated("production-tools", wait=WAIT)
def deploy_service(service: str, version: str, env: str) -> str:
    """Deploys a version of a service."""
    return f"{service} {version} runs in {env}"


@mcp.tool
@gated("production-tools", wait=WAIT)
def run_database_migration(migration_id: str, db: str) -> str:
    """Runs a migration on a database."""
    return f"{migration_id} ran on {db}"


if __name__ == "__main__":
    mcp.run()
