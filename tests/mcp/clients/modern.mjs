// The official TypeScript client of revision 2026-07-28, which speaks the older ones, too.
// usage: MODE=auto|legacy node modern.mjs CALLS COMMAND...   CALLS: JSON, [[TOOL, ARGUMENTS], ...]
// Prints the revision, and each result. With ACTION it opens pages: prints the page, waits for a line, and says ACTION.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.PACKAGES + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { Client } = await load("@modelcontextprotocol/client");
const { StdioClientTransport } = await load("@modelcontextprotocol/client/stdio");

const [calls, command, ...args] = process.argv.slice(2);
const { ACTION: action, MODE: mode } = process.env;
const client = new Client(
  { name: "modern", version: "1" },
  { capabilities: action ? { elicitation: { url: {} } } : {}, versionNegotiation: { mode } },
);
if (action) {
  client.setRequestHandler("elicitation/create", async ({ params }) => {
    console.log(params.url);
    await new Promise((done) => process.stdin.once("data", done));
    return { action };
  });
}
await client.connect(new StdioClientTransport({ command, args, env: process.env, stderr: "inherit" }));
console.log(client.getNegotiatedProtocolVersion());
await client.listTools();
for (const [name, given] of JSON.parse(calls)) {
  const result = await client.callTool({ name, arguments: given });
  console.log(result.isError === true, result.content[0].text.replaceAll("\n", " "));
}
await client.close();
process.exit(0);
