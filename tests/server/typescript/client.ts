// A program in TypeScript, on types that were made from the description of the API. It is compiled strictly, then run.

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };

const [baseUrl, key] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });

function must<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

const made = must(await client.POST("/api/workflows/runs", { body: { workflowName: "ask-outside", input: [1], tags: ["ts"] } }));
must(
  await client.POST("/api/workflows/runs/{runId}/signals", {
    params: { path: { runId: made.runId } },
    body: { name: "answer", payload: { from: "TypeScript" } },
  }),
);
const run: components["schemas"]["Run"] = must(
  await client.GET("/api/workflows/runs/{runId}", { params: { path: { runId: made.runId }, query: { wait: "30s" } } }),
);
const page = must(await client.GET("/api/workflows/runs", { params: { query: { tag: ["ts"], status: "completed" } } }));
const refused = await client.POST("/api/workflows/runs", { body: { workflowName: "" } });
console.log(
  JSON.stringify({
    status: run.status,
    output: run.output,
    listed: page.items.map((each) => each.runId === run.runId),
    code: refused.error?.code,
    pointer: refused.error?.errors?.[0]?.pointer,
  }),
);
