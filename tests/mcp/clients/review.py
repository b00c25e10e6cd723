"""review.py ACTION COMMAND...: the official Python client calls a tool that people must look at, opens the page it is
asked to open (prints it, waits for a line on standard input), and prints what came of the call."""
import asyncio
import os
import sys

from mcp import Client, StdioServerParameters
from mcp_types import ElicitResult

action, server = sys.argv[1], sys.argv[2:]
server = StdioServerParameters(command=server[0], args=server[1:], env=dict(os.environ)) if len(server) > 1 else server[0]


async def opened(_context, params):
    print(params.url, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    return ElicitResult(action=action)


async def main():
    async with Client(server, mode="auto", elicitation_callback=opened) as client:
        result = await client.call_tool("delete_database", {"name": "main"})
        print(result.is_error, result.content[0].text.replace("\n", " "), flush=True)


asyncio.run(main())
