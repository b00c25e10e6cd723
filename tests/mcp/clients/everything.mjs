// The official TypeScript client against server-everything: every method once, one after another.
// usage: node everything.mjs stdio COMMAND...   |   node everything.mjs http URL OUTFILE
// Prints each result as the client understood it. Over HTTP the bytes of every answer go to OUTFILE.
import { appendFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.PACKAGES + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { Client } = await load("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = await load("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = await load("@modelcontextprotocol/sdk/client/streamableHttp.js");
const types = await load("@modelcontextprotocol/sdk/types.js");

const [mode, ...rest] = process.argv.slice(2);
async function recorded(url, init) {
  const answer = await fetch(url, init);
  if ((init?.method ?? "GET") === "GET" || !answer.body) return answer;
  const [own, other] = answer.body.tee();
  const bytes = new Response(other).text();
  bytes.then((text) => appendFileSync(rest[1], `${answer.status} ${answer.headers.get("content-type")}\n${text}\n`));
  return new Response(own, { status: answer.status, headers: answer.headers });
}
const transport = mode === "stdio"
  ? new StdioClientTransport({ command: rest[0], args: rest.slice(1), env: process.env, stderr: "inherit" })
  : new StreamableHTTPClientTransport(new URL(rest[0]), { fetch: recorded });

const client = new Client(
  { name: "everything-test", version: "1" },
  { capabilities: { roots: {}, sampling: {}, elicitation: { form: {} } } },
);
let tellRoots;
const rootsTold = new Promise((done) => (tellRoots = done));
client.setRequestHandler(types.ListRootsRequestSchema, () => {
  tellRoots();
  return { roots: [{ uri: "file:///srv", name: "srv" }] };
});
client.setRequestHandler(types.CreateMessageRequestSchema, () => ({
  model: "none", role: "assistant", stopReason: "endTurn", content: { type: "text", text: "sampled" },
}));
client.setRequestHandler(types.ElicitRequestSchema, () => ({ action: "decline" }));

async function step(what, ask) {
  let said;
  try {
    said = await ask();
  } catch (fault) {
    said = { code: fault.code, message: fault.message };
  }
  console.log(JSON.stringify([what, said]));
}
const tool = (name, args = {}, options) =>
  step(name, () => client.callTool({ name, arguments: args }, undefined, options));

await client.connect(transport);
await step("server", async () => [client.getServerVersion(), client.getServerCapabilities(), client.getInstructions()]);
// The server registers more once it has asked for our roots.
await rootsTold;
await new Promise((done) => setTimeout(done, 1000));
await step("ping", () => client.ping());
await step("level", () => client.setLoggingLevel("error"));
await step("tools", () => client.listTools());
await step("resources", () => client.listResources());
await step("templates", () => client.listResourceTemplates());
await step("prompts", () => client.listPrompts());
await tool("echo", { message: "grüße \u{1f600} \" \\ \u0000 \u2028" });
await tool("echo", {});
await tool("no-such-tool", {});
for (const messageType of ["error", "success", "debug"]) {
  await tool("get-annotated-message", { messageType, includeImage: true });
}
await tool("get-env");
await tool("get-resource-links", { count: 10 });
await tool("get-resource-reference", { resourceType: "Text", resourceId: 1 });
await tool("get-resource-reference", { resourceType: "Blob", resourceId: 2 });
await tool("get-structured-content", { location: "Chicago" });
await tool("get-sum", { a: 1.5, b: -2e3 });
await tool("get-tiny-image");
await tool("get-roots-list");
await tool("gzip-file-as-resource", { name: "x.gz", data: "data:text/plain,hello", outputType: "resource" });
await tool("trigger-long-running-operation", { duration: 0.3, steps: 3 }, {
  onprogress: (progress) => console.log(JSON.stringify(["progress", progress])),
});
await tool("trigger-sampling-request", { prompt: "say", maxTokens: 5 });
await tool("trigger-elicitation-request");
const { resources } = await client.listResources();
for (const { uri } of resources.slice(0, 3)) await step("read", () => client.readResource({ uri }));
await step("read", () => client.readResource({ uri: "demo://resource/dynamic/text/1" }));
await step("read", () => client.readResource({ uri: "demo://nowhere" }));
await step("subscribe", () => client.subscribeResource({ uri: "demo://resource/dynamic/text/1" }));
await step("unsubscribe", () => client.unsubscribeResource({ uri: "demo://resource/dynamic/text/1" }));
const { prompts } = await client.listPrompts();
for (const { name, arguments: args = [] } of prompts) {
  const given = Object.fromEntries(args.map((arg) => [arg.name, { resourceType: "Text", resourceId: "1" }[arg.name] ?? "x"]));
  await step("prompt", () => client.getPrompt({ name, arguments: given }));
}
await step("complete", () => client.complete({
  ref: { type: "ref/prompt", name: "completable-prompt" }, argument: { name: "department", value: "E" },
}));
await step("unknown", () => client.request({ method: "no/such", params: { a: 1 } }, types.EmptyResultSchema));
if (mode === "http") await transport.terminateSession();
await client.close();
process.exit(0);
