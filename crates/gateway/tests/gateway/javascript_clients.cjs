// Drives the server at argv[2] with the unmodified clients for JavaScript: `openai`,
// `@anthropic-ai/sdk` and `ollama`; exits 1 on any difference.

const assert = require("node:assert");
const OpenAI = require("openai").default;
const Anthropic = require("@anthropic-ai/sdk").default;
const { Ollama } = require("ollama");

const root = process.argv[2];
const model = "own/script";
const hi = [{ role: "user", content: "hi" }];
const call = [{ role: "user", content: "call" }];
const said = "You said: hi ♥";
const schema = { type: "object", properties: { place: { type: "string" } }, required: ["place"] };
const about = { name: "weather", description: "The weather in a place." };
const functions = [{ type: "function", function: { ...about, parameters: schema } }];
const form = { type: "object", properties: { held: { type: "boolean" } } };

async function all(stream, text) {
  let whole = "";
  for await (const piece of stream) whole += text(piece) ?? "";
  return whole;
}

async function openai() {
  const client = new OpenAI({ baseURL: `${root}/v1`, apiKey: "none", maxRetries: 0 });
  const ask = (more) => client.chat.completions.create({ model, messages: hi, ...more });
  assert.equal((await ask()).choices[0].message.content, said);
  const text = (chunk) => chunk.choices[0]?.delta.content;
  assert.equal(await all(await ask({ stream: true }), text), said);
  const called = await ask({ messages: call, tools: functions });
  assert.equal(called.choices[0].message.tool_calls[0].function.arguments, '{"place":"Paris"}');
  const format = { type: "json_schema", json_schema: { name: "held", schema: form } };
  const messages = [{ role: "user", content: "json" }];
  const held = await ask({ messages, response_format: format });
  assert.equal(held.choices[0].message.content, '{"held":true}');

  const answer = await client.responses.create({ model, input: "hi" });
  assert.equal(answer.output_text, said);
  const events = await client.responses.create({ model, input: "hi", stream: true });
  const delta = (event) => (event.type === "response.output_text.delta" ? event.delta : "");
  assert.equal(await all(events, delta), said);
  await assert.rejects(ask({ model: "gpt-9" }), OpenAI.NotFoundError);
  assert.equal((await client.models.list()).data[0].id, model);
}

async function anthropic() {
  const client = new Anthropic({ baseURL: root, apiKey: "none", maxRetries: 0 });
  const ask = (more) => client.messages.create({ model, max_tokens: 50, messages: hi, ...more });
  assert.equal((await ask()).content[0].text, said);
  const text = (event) => (event.delta?.type === "text_delta" ? event.delta.text : "");
  assert.equal(await all(await ask({ stream: true }), text), said);
  const tools = [{ ...about, input_schema: schema }];
  const asked = { model, max_tokens: 50, messages: call, tools };
  const called = await client.messages.stream(asked).finalMessage();
  assert.equal(called.stop_reason, "tool_use");
  assert.deepEqual(called.content[0].input, { place: "Paris" });
  const thinking = { type: "enabled", budget_tokens: 1024 };
  const thought = await client.messages
    .stream({ model, max_tokens: 50, messages: hi, thinking })
    .finalMessage();
  assert.deepEqual(
    thought.content.map((block) => block.thinking ?? block.text),
    ["Let me see.", said],
  );
  await assert.rejects(ask({ model: "claude-9" }), Anthropic.NotFoundError);
}

async function ollama() {
  const client = new Ollama({ host: root });
  const ask = (more) => client.chat({ model, messages: hi, ...more });
  assert.equal((await ask()).message.content, said);
  const pieces = await ask({ stream: true });
  assert.equal(await all(pieces, (piece) => piece.message.content), said);
  const called = await ask({ messages: call, tools: functions });
  assert.deepEqual(called.message.tool_calls[0].function.arguments, { place: "Paris" });
  const held = await ask({ messages: [{ role: "user", content: "json" }], format: form });
  assert.equal(held.message.content, '{"held":true}');
  assert.equal((await client.generate({ model, prompt: "hi" })).response, said);
  assert.equal((await client.list()).models[0].model, model);
}

Promise.all([openai(), anthropic(), ollama()]).then(
  () => console.log("ok"),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
