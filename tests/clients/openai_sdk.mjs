// OpenAI's own client, unchanged: chat, streams, tools, errors. The model behind does as it is told.
import assert from "node:assert";
import { createRequire } from "node:module";

const [baseURL, folder] = process.argv.slice(2);
const OpenAI = createRequire(`${folder}/`)("openai");
const client = new OpenAI({ baseURL, apiKey: process.env.KAI_API_KEY });
const ask = (content, more = {}) =>
  client.chat.completions.create({ model: "kai-fast", messages: [{ role: "user", content }], ...more });

const { data, response, request_id } = await ask("hi", { max_tokens: 20 }).withResponse();
assert.equal(data.choices[0].message.content, "Hello there, trader");
assert.equal(data.usage.total_tokens, 16);
assert.equal(response.headers.get("x-kai-cost-micros"), "31");
assert.ok(request_id);

let text = "";
let usage;
for await (const chunk of await ask("hi", { stream: true, stream_options: { include_usage: true } })) {
  text += chunk.choices[0]?.delta.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, "Hello there, trader");
assert.equal(usage.total_tokens, 16);

const parameters = { type: "object", properties: { location: { type: "string" } }, required: ["location"] };
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const called = await ask("weather?", { model: "model", tools });
assert.equal(called.choices[0].message.tool_calls[0].function.name, "get_weather");
const runner = client.chat.completions.runTools({
  model: "model",
  messages: [{ role: "user", content: "weather?" }],
  tools: [{ type: "function", function: { ...tools[0].function, parse: JSON.parse, function: () => "sunny" } }],
});
assert.equal(await runner.finalContent(), "Hello there, trader");
const streamed = client.chat.completions.stream({ model: "model", messages: [{ role: "user", content: "w" }], tools });
assert.equal((await streamed.finalChatCompletion()).choices[0].finish_reason, "tool_calls");

const schema = { type: "object", properties: { side: { type: "string" }, confidence: { type: "integer" } } };
const format = { type: "json_schema", json_schema: { name: "decision", schema } };
const decided = await ask("decide", { model: "model", response_format: format });
assert.equal(JSON.parse(decided.choices[0].message.content).side, "buy");

const ids = [];
for await (const model of client.models.list()) ids.push(model.id);
assert.ok(ids.includes("kai-fast") && ids.includes("model"));
assert.equal((await client.models.retrieve("kai-smart")).owned_by, "up");

const fails = async (kind, code, call) =>
  assert.rejects(call, (error) => error instanceof kind && (assert.equal(error.code, code), true));
await fails(OpenAI.NotFoundError, "model_not_found", () => ask("x", { model: "gpt-9" }));
await fails(OpenAI.BadRequestError, "decimal_above_max_value", () => ask("x", { temperature: 9 }));
const nobody = new OpenAI({ baseURL, apiKey: "kai-000000000000000000000000000000000000" });
await fails(OpenAI.AuthenticationError, "invalid_api_key", () => nobody.models.list());
await fails(OpenAI.APIError, "provider_error", async () => {
  for await (const _ of await ask("cut", { stream: true }));
});
assert.equal((await ask("flaky", { model: "plain" })).choices[0].message.content, "Hello there, trader");
console.log("openai for JavaScript: all as with OpenAI");
