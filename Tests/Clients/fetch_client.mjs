// A program in JavaScript with nothing but the platform's fetch: node fetch_client.mjs URL KEY [CHECK...].
//
// It asks as OpenAI's client for JavaScript does: the same paths, bodies and headers, streams read from a ReadableStream, and requests
// that an AbortController ends.
const [url, key, ...wanted] = process.argv.slice(2);
const [model, embedder, scripted] = ["tiny-chat", "tiny-embed", "scripted"];
const hello = [{ role: "user", content: "hello" }];
const weather = {
  type: "function",
  function: {
    name: "weather",
    description: "The weather of a place",
    parameters: { type: "object", properties: { place: { type: "string" } }, required: ["place"] },
  },
};

function expect(holds, what) {
  if (!holds) throw new Error(typeof what === "string" ? what : JSON.stringify(what));
}

function ask(path, { body, method, headers, base = "/v1", token = key, signal = AbortSignal.timeout(60_000) } = {}) {
  const isForm = body instanceof FormData;
  return fetch(url + base + path, {
    method: method ?? (body === undefined ? "GET" : "POST"),
    headers: {
      Authorization: `Bearer ${token}`,
      Accept: "application/json",
      "X-Stainless-Lang": "js",
      "X-Stainless-Retry-Count": "0",
      ...(body === undefined || isForm ? {} : { "Content-Type": "application/json" }),
      ...headers,
    },
    body: body === undefined || isForm ? body : JSON.stringify(body),
    signal,
  });
}

async function json(path, options) {
  const answer = await ask(path, options);
  const text = await answer.text();
  expect(answer.ok, `${path} answered ${answer.status}: ${text}`);
  return JSON.parse(text);
}

// The events of a stream, cut where an empty line ends them, however the bytes come.
async function* events(answer) {
  expect(answer.headers.get("content-type").startsWith("text/event-stream"), answer.headers.get("content-type"));
  let kept = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    kept += piece;
    for (let end = kept.indexOf("\n\n"); end >= 0; end = kept.indexOf("\n\n")) {
      const lines = kept.slice(0, end).split("\n");
      kept = kept.slice(end + 2);
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      if (data.length > 0) yield data.join("\n");
    }
  }
  expect(kept === "", `the stream ends inside an event: ${kept}`);
}

async function streamed(body, options) {
  const chunks = [];
  let isDone = false;
  for await (const data of events(await ask("/chat/completions", { body: { ...body, stream: true }, ...options }))) {
    expect(!isDone, "something follows [DONE]");
    if (data === "[DONE]") isDone = true;
    else chunks.push(JSON.parse(data));
  }
  expect(isDone, "the stream ends with [DONE]");
  return chunks;
}

const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

const checks = {
  async models() {
    const listed = await json("/models");
    expect(listed.object === "list" && listed.data.every((entry) => entry.object === "model" && entry.owned_by), listed);
    const ids = listed.data.map((entry) => entry.id);
    expect([model, embedder, scripted].every((id) => ids.includes(id)), ids);
    expect((await json(`/models/${model}`)).id === model, "a model by its id");
  },

  async chat() {
    const asked = { model, messages: hello, max_completion_tokens: 12, temperature: 0, seed: 7 };
    const answer = await ask("/chat/completions", { body: asked });
    expect(answer.headers.get("x-request-id"), "an id of the request");
    const first = await answer.json();
    const again = await json("/chat/completions", { body: asked, base: "/api/v1" });
    expect(first.choices[0].message.content === again.choices[0].message.content, "the same at temperature 0");
    expect(first.usage.completion_tokens === 12 && first.choices[0].finish_reason === "length", first);
  },

  async streaming() {
    const asked = { model, messages: hello, max_tokens: 16, temperature: 0 };
    const whole = await json("/chat/completions", { body: asked });
    const plain = await streamed(asked);
    expect(textOf(plain) === whole.choices[0].message.content, textOf(plain));
    expect(plain.every((chunk) => !chunk.usage && chunk.choices.length === 1), "no usage that nobody asked for");
    const counted = await streamed({ ...asked, stream_options: { include_usage: true } });
    expect(counted.at(-1).usage.completion_tokens === 16 && counted.at(-1).choices.length === 0, counted.at(-1));
    expect(counted.slice(0, -1).every((chunk) => !chunk.usage), "usage in no other chunk");
  },

  async tools() {
    const question = { model: scripted, messages: hello, tools: [weather], tool_choice: "required" };
    const said = (await json("/chat/completions", { body: question })).choices[0];
    const call = said.message.tool_calls[0];
    expect(said.finish_reason === "tool_calls" && JSON.parse(call.function.arguments).place === "你好こんにちは", said);
    const deltas = (await streamed(question)).flatMap((chunk) => chunk.choices[0]?.delta.tool_calls ?? []);
    expect(deltas.map((delta) => delta.function.arguments ?? "").join("") === call.function.arguments, deltas);
    const turns = [...hello, said.message, { role: "tool", tool_call_id: call.id, content: "sunny" }];
    const after = await json("/chat/completions", { body: { model: scripted, messages: turns, tools: [weather] } });
    expect(after.choices[0].message.content.startsWith("the model says"), after);
  },

  async embeddings() {
    const input = ["one", "two"];
    const floats = await json("/embeddings", { body: { model: embedder, input, encoding_format: "float" } });
    const packed = await json("/embeddings", { body: { model: embedder, input, encoding_format: "base64" } });
    expect(floats.data.length === 2, floats);
    floats.data.forEach(({ embedding, index }) => {
      const bytes = Buffer.from(packed.data[index].embedding, "base64");
      expect(bytes.length === 4 * embedding.length, "four bytes a number");
      embedding.forEach((number, place) => {
        expect(Math.abs(number - bytes.readFloatLE(4 * place)) < 1e-5, `number ${place} of ${index}`);
      });
    });
  },

  async images() {
    const drawn = await json("/images/generations", { body: { model: "flux-pixel", prompt: "a pixel", n: 2 } });
    expect(drawn.data.length === 2 && drawn.data.every((image) => image.b64_json.startsWith("iVBOR")), drawn);
  },

  async files() {
    const form = new FormData();
    form.append("purpose", "batch");
    form.append("file", new Blob(['{"größe":1}\n'], { type: "application/jsonl" }), "notes ü.jsonl");
    const made = await json("/files", { body: form });
    expect(made.bytes === 14 && made.filename === "notes ü.jsonl" && made.purpose === "batch", made);
    expect((await (await ask(`/files/${made.id}/content`)).text()) === '{"größe":1}\n', "the bytes of a file");
    expect((await json("/files")).data.some((file) => file.id === made.id), "the file is listed");
    expect((await json(`/files/${made.id}`, { method: "DELETE" })).deleted, "deleted");
    expect((await ask(`/files/${made.id}`)).status === 404, "a file that was deleted is not found");
  },

  // The socket closes, nothing is thrown at anybody else, and the same program asks on.
  async abort() {
    const controller = new AbortController();
    const body = { model, messages: hello, max_tokens: 1900, stream: true, ignore_eos: true };
    const answer = await ask("/chat/completions", { body, signal: controller.signal });
    let count = 0;
    try {
      for await (const data of events(answer)) {
        expect(data !== "[DONE]", "the answer ended before it was aborted");
        count += 1;
        if (count === 5) controller.abort();
      }
      throw new Error("the stream ended as if nobody had aborted it");
    } catch (error) {
      expect(error.name === "AbortError", `${error}`);
    }
    const id = answer.headers.get("longshore-job");
    const job = await (await fetch(`${url}/jobs/${id}`, { headers: { Authorization: `Bearer ${key}` } })).json();
    expect(job.id === id, job);
    const after = await json("/chat/completions", { body: { model, messages: hello, max_tokens: 3 } });
    expect(after.usage.completion_tokens === 3, after);
    const before = new AbortController();
    const waiting = ask("/chat/completions", { body: { ...body, stream: false }, signal: before.signal });
    before.abort();
    expect((await waiting.catch((error) => error)).name === "AbortError", "a request that was aborted before its answer");
  },

  async errors() {
    const table = [
      [401, "authentication_error", "invalid_api_key", "/models", { token: "ls_wrong" }],
      [401, "authentication_error", "invalid_api_key", "/chat/completions", { token: "", body: { model, messages: hello } }],
      [404, "invalid_request_error", "model_not_found", "/chat/completions", { body: { model: "no/such", messages: hello } }],
      [404, "invalid_request_error", "model_not_found", "/models/no%2Fsuch", {}],
      [400, "invalid_request_error", "bad_request", "/chat/completions", { body: { model, messages: [] } }],
      [400, "invalid_request_error", "unsupported_operation", "/embeddings", { body: { model, input: "x" } }],
      [404, "invalid_request_error", "unknown_url", "/nothing/here", { body: {} }],
      [404, "invalid_request_error", "unknown_url", "/nothing/here", { base: "/api/v1" }],
      [405, "invalid_request_error", "method_not_allowed", "/chat/completions", {}],
    ];
    for (const [status, type, code, path, options] of table) {
      const answer = await ask(path, options);
      const { error } = await answer.json();
      expect(answer.status === status && error.type === type && error.code === code, { path, status: answer.status, error });
      expect(error.message.length > 10 && "param" in error && answer.headers.get("x-request-id"), error);
    }
    const stream = await ask("/chat/completions", { body: { model: "no/such", messages: hello, stream: true } });
    expect(stream.status === 404 && (await stream.json()).error.code === "model_not_found", "an error before a stream");
  },

  // What a browser asks before it lets a page send a key.
  async browser() {
    const page = { Origin: "https://app.example" };
    const asked = await fetch(url + "/v1/chat/completions", {
      method: "OPTIONS",
      headers: { ...page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-stainless-os" },
    });
    expect(asked.status === 204 && asked.headers.get("access-control-allow-origin") === "*", "a preflight");
    expect(asked.headers.get("access-control-allow-headers").split(",").includes("authorization"), "a key may come along");
    for (const token of [key, "ls_wrong"]) {
      const answer = await ask("/models", { headers: page, token });
      await answer.text();
      expect(answer.headers.get("access-control-allow-origin") === "*", `the page may read a ${answer.status}`);
      expect(/x-request-id/i.test(answer.headers.get("access-control-expose-headers")), "and the id of the request");
    }
  },

  async many() {
    const asks = Array.from({ length: 12 }, (_, number) =>
      streamed({ model, messages: [{ role: "user", content: `${number}` }], max_tokens: 8 }));
    for (const chunks of await Promise.all(asks)) expect(textOf(chunks).length > 0, chunks);
  },
};

for (const [name, check] of Object.entries(checks)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  await check();
  console.log("ok", name);
}
