"""both_eras.py MODE (URL | COMMAND...): the official Python client; prints what it understood."""
import asyncio
import os
import sys

from mcp import Client, StdioServerParameters

mode, server = sys.argv[1], sys.argv[2:]
if not server[0].startswith("http"):
    server = StdioServerParameters(command=server[0], args=server[1:], env=dict(os.environ))
else:
    server = server[0]


async def main():
    async with Client(server, mode=mode) as client:
        print(client.protocol_version)
        for tool in (await client.list_tools()).tools:
            print(tool.model_dump_json())
        for name, arguments in [("get_sum", {"a": 2, "b": 3}), ("get_trouble", {}), ("get_sum", {"a": "x"})]:
            print((await client.call_tool(name, arguments)).model_dump_json())


asyncio.run(main())
