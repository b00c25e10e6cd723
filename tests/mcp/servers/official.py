"""A server over the official Python SDK: stdio, or HTTP with --http PORT. Both eras."""
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("official")


@server.tool()
def get_sum(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def get_trouble() -> str:
    """Fails."""
    raise ValueError("trouble")


@server.tool()
def delete_database(name: str) -> str:
    """Deletes a database."""
    return f"deleted {name}"


if sys.argv[1:2] == ["--http"]:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
else:
    server.run("stdio")
