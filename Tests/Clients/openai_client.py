"""openai-python against a coordinator, by changing the base URL only: openai_client.py URL KEY [CHECK…].

Behind it are llama.cpp's server with a tiny model, one that embeds, and a server whose answers are known: a model of random weights
calls no tool by itself.
"""
import asyncio
import json
import math
import sys
import time
import urllib.request

import openai

url, key = sys.argv[1:3]
model, embedder, scripted = "tiny-chat", "tiny-embed", "scripted"
client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0, timeout=60)
hello = [{"role": "user", "content": "hello"}]
weather = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}


def expect(holds, what):
    if not holds:
        raise AssertionError(what)


def key_with(**settings):
    """Another key of this account."""
    request = urllib.request.Request(
        url + "/keys", json.dumps({"name": "client", **settings}).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["key"]


def refused(error, call):
    try:
        call()
    except error as raised:
        return raised
    raise AssertionError(f"{error.__name__} was expected")


def models():
    listed = {entry.id for entry in client.models.list()}
    expect({model, embedder} <= listed, f"the list has {listed}")
    expect(client.models.retrieve(model).object == "model", "a model by its id")


def chat():
    first = client.chat.completions.create(model=model, messages=hello, max_tokens=12, temperature=0, seed=7)
    again = client.chat.completions.create(model=model, messages=hello, max_tokens=12, temperature=0, seed=7)
    expect(first.choices[0].message.content == again.choices[0].message.content, "the same at temperature 0")
    expect(first.usage.completion_tokens == 12 and first.choices[0].finish_reason == "length", f"usage: {first.usage}")
    expect(first._request_id, "an id of the request")


def streaming():
    whole = client.chat.completions.create(model=model, messages=hello, max_tokens=16, temperature=0)
    chunks = list(client.chat.completions.create(model=model, messages=hello, max_tokens=16, temperature=0, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    expect(text == whole.choices[0].message.content, f"streamed {text!r}")
    expect(all(chunk.usage is None and chunk.choices for chunk in chunks), "no usage that nobody asked for")
    chunks = list(
        client.chat.completions.create(
            model=model, messages=hello, max_tokens=3, stream=True, stream_options={"include_usage": True}
        )
    )
    expect(chunks[-1].usage.completion_tokens == 3 and chunks[-1].choices == [], "usage in the last chunk, without choices")
    expect(all(chunk.usage is None for chunk in chunks[:-1]), "usage in no other chunk")


def fields():
    several = client.chat.completions.create(model=model, messages=hello, max_tokens=4, n=2, temperature=1.2)
    expect(len(several.choices) == 2, "n choices")
    whole = client.chat.completions.create(model=model, messages=hello, max_tokens=16, temperature=0)
    letter = whole.choices[0].message.content[3]
    stopped = client.chat.completions.create(model=model, messages=hello, max_tokens=16, temperature=0, stop=[letter])
    expect(stopped.choices[0].finish_reason == "stop" and letter not in stopped.choices[0].message.content, "stop")
    likely = client.chat.completions.create(model=model, messages=hello, max_tokens=3, logprobs=True, top_logprobs=2)
    expect(len(likely.choices[0].logprobs.content[0].top_logprobs) == 2, "logprobs")
    schema = {"name": "n", "schema": {"type": "object", "properties": {"n": {"type": "boolean"}}, "required": ["n"]}}
    shaped = client.chat.completions.create(
        model=model, messages=hello, max_tokens=64, temperature=0, response_format={"type": "json_schema", "json_schema": schema}
    )
    expect(isinstance(json.loads(shaped.choices[0].message.content)["n"], bool), "an answer in the schema")
    text = client.completions.create(model=model, prompt="once", max_tokens=5)
    expect(text.object == "text_completion" and text.usage.completion_tokens == 5, "completions")


def accepted():
    """What editors and chat programs send along, whether or not a model makes use of it."""
    turns = [
        {"role": "developer", "content": "Be brief."}, {"role": "user", "name": "ada", "content": [{"type": "text", "text": "hello"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "hello"}], "refusal": None}, {"role": "user", "content": "go on"},
    ]
    asked = {
        "model": model, "messages": turns, "max_completion_tokens": 5, "temperature": 0, "top_p": 1, "presence_penalty": 0,
        "frequency_penalty": 0, "n": 1, "stop": None, "user": "ada", "store": False, "metadata": {"page": "1"}, "seed": 1,
        "parallel_tool_calls": True, "tools": [weather], "tool_choice": "none", "service_tier": "auto", "reasoning_effort": "low",
        "verbosity": "low", "modalities": ["text"], "prompt_cache_key": "k", "safety_identifier": "s", "logit_bias": {},
        "response_format": {"type": "text"}, "extra_body": {"num_ctx": 4096, "keep_alive": "5m", "unknown": {"deep": [1, {"x": None}]}},
    }
    whole = client.chat.completions.create(**asked)
    expect(whole.usage.completion_tokens == 5 and whole.choices[0].message.role == "assistant", f"{whole}")
    streamed = client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    expect([chunk.usage.completion_tokens for chunk in streamed if chunk.usage] == [5], "the same in a stream")
    for wrong, value in [("max_tokens", 0), ("temperature", "hot"), ("tools", {"no": "list"}), ("n", 99), ("messages", [])]:
        error = refused(openai.BadRequestError, lambda: client.chat.completions.create(
            **{"model": model, "messages": hello, "extra_body": {wrong: value}}))
        expect(error.param == wrong and wrong in error.message, f"{wrong}: {error}")
    error = refused(openai.BadRequestError, lambda: client.embeddings.create(model=model, input="x"))
    expect(error.param == "model" and error.code == "unsupported_operation", f"{error}")


def headers():
    raw = client.chat.completions.with_raw_response.create(model=model, messages=hello, max_tokens=3)
    expect(raw.headers["x-request-id"] and raw.headers["longshore-job"] and raw.parse().usage.completion_tokens == 3, f"{raw}")
    with client.chat.completions.with_streaming_response.create(model=model, messages=hello, max_tokens=3, stream=True) as raw:
        expect(raw.headers["content-type"] == "text/event-stream" and raw.headers["x-request-id"], f"{raw.headers}")
        expect(raw.headers["x-accel-buffering"] == "no", "a proxy in between passes events on as they come")
        expect(list(raw.iter_lines())[-2:] == ["data: [DONE]", ""], "how a stream ends")
    listed = client.models.with_raw_response.list()
    expect(listed.headers["x-request-id"] and len(listed.parse().data) > 2, "a list has an id of its request too")
    error = refused(openai.NotFoundError, lambda: client.models.retrieve("no/such"))
    expect(error.request_id and error.code == "model_not_found" and error.param == "model", f"{error.request_id} {error}")


def limits():
    reader = client.with_options(api_key=key_with(scopes=["read"]))
    expect({model, scripted} <= {entry.id for entry in reader.models.list()}, "who may read sees the models")
    refused(openai.PermissionDeniedError, lambda: reader.chat.completions.create(model=model, messages=hello, max_tokens=1))
    few = client.with_options(api_key=key_with(scopes=["read", "write"], policy={"requests_per_minute": 1}))
    few.chat.completions.create(model=model, messages=hello, max_tokens=1)
    error = refused(openai.RateLimitError, lambda: few.chat.completions.create(model=model, messages=hello, max_tokens=1))
    expect(0 < int(error.response.headers["retry-after"]) <= 60, f"{error.response.headers}")
    stream = {"model": model, "messages": hello, "max_tokens": 1, "stream": True}
    refused(openai.RateLimitError, lambda: few.chat.completions.create(**stream))
    memory = client.with_options(api_key=key_with(scopes=["read", "write"], policy={"durable": False}))
    chunks = list(memory.chat.completions.create(**{**stream, "max_tokens": 5}))
    expect(chunks[-1].choices[0].finish_reason == "length", "a request that is kept in memory only")
    error = refused(openai.BadRequestError, lambda: memory.chat.completions.create(model=model, messages=hello, n=99))
    expect(error.param == "n", f"{error}")


def patience():
    """Who waits for less than the answer takes is told, by the client or by us, and the next request is answered."""
    hurried = client.with_options(timeout=0.05)
    asked = {"model": model, "messages": hello, "max_tokens": 1900, "extra_body": {"ignore_eos": True}}
    error = refused(openai.APIError, lambda: hurried.chat.completions.create(**asked))
    expect(isinstance(error, openai.APITimeoutError) or error.status_code == 504, f"{error!r}")
    with client.chat.completions.create(**asked, stream=True) as stream:
        for _, _ in zip(range(5), stream):
            pass
    expect(client.chat.completions.create(model=model, messages=hello, max_tokens=2).usage.completion_tokens == 2, "after it")


def tools():
    question = {"model": scripted, "messages": hello, "tools": [weather]}
    called = client.chat.completions.create(**question, tool_choice="required").choices[0]
    call = called.message.tool_calls[0].function
    expect(called.finish_reason == "tool_calls" and call.name == "weather", "a call of the tool")
    expect(json.loads(call.arguments) == {"place": "你好こんにちは"}, f"arguments: {call.arguments}")
    deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**question, stream=True) if chunk.choices]
    expect([delta.tool_calls[0].function.name for delta in deltas if delta.tool_calls] == ["weather"], "a call in a stream")
    result = {"role": "tool", "tool_call_id": called.message.tool_calls[0].id, "content": "sunny"}
    after = client.chat.completions.create(
        model=scripted, messages=[*hello, called.message.model_dump(exclude_none=True), result], tools=[weather]
    )
    expect(after.choices[0].message.content.startswith("the model says"), "words after the tool's result")


def responses():
    short = {"model": model, "max_output_tokens": 12, "temperature": 0}
    whole = client.responses.create(**short, input="hello", instructions="Be brief.")
    expect(whole.object == "response" and whole.status == "incomplete", f"{whole}")
    expect(whole.incomplete_details.reason == "max_output_tokens" and whole.usage.output_tokens == 12, f"{whole.usage}")
    events = list(client.responses.create(**short, input=hello, instructions="Be brief.", stream=True))
    kinds = [event.type for event in events]
    expect(kinds[:4] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"], f"{kinds}")
    expect(kinds[-4:] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete"], f"{kinds}")
    expect([event.sequence_number for event in events] == list(range(len(events))), "every event has its number")
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    expect(said == whole.output_text == events[-1].response.output_text, f"{said!r} is not {whole.output_text!r}")
    function = {"type": "function", "strict": False, **weather["function"]}
    question = {"model": scripted, "input": hello, "tools": [function]}
    call = client.responses.create(**question).output[0]
    expect(call.type == "function_call" and json.loads(call.arguments) == {"place": "你好こんにちは"}, f"{call}")
    with client.responses.stream(**question) as stream:
        streamed = stream.until_done().get_final_response().output[0]
    expect((streamed.name, streamed.arguments) == (call.name, call.arguments), f"{streamed}")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    after = client.responses.create(model=scripted, input=[*hello, call.model_dump(exclude_none=True), result], tools=[function])
    expect(after.status == "completed" and after.output_text.startswith("the model says"), f"{after}")
    schema = {"type": "object", "properties": {"n": {"type": "boolean"}}, "required": ["n"], "additionalProperties": False}
    shaped = client.responses.create(
        model=model, input="hello", temperature=0, max_output_tokens=64,
        text={"format": {"type": "json_schema", "name": "n", "schema": schema}})
    expect(isinstance(json.loads(shaped.output_text)["n"], bool), "an answer in the schema")
    for stream in (False, True):
        error = refused(openai.BadRequestError, lambda: client.responses.create(model=model, input="a" * 9000, stream=stream))
        expect(error.code == "context_length_exceeded", f"a refusal of the host, streamed {stream}: {error}")
    for unsupported in [
        {"store": True}, {"previous_response_id": "resp_1"}, {"background": True}, {"tools": [{"type": "web_search"}]},
    ]:
        error = refused(openai.BadRequestError, lambda: client.responses.create(**short, input="hello", **unsupported))
        expect(next(iter(unsupported)) in error.message, f"{error}")


def images():
    drawn = client.images.generate(model="flux-pixel", prompt="a pixel", n=2, response_format="b64_json")
    expect(len(drawn.data) == 2 and drawn.data[0].b64_json.startswith("iVBOR"), "two PNG images")


def embeddings():
    floats = client.embeddings.create(model=embedder, input=["one", "two"], encoding_format="float")
    packed = client.embeddings.create(model=embedder, input=["one", "two"])  # base64 by default
    expect(len(floats.data) == 2 and [entry.index for entry in floats.data] == [0, 1], "one for each input")
    for plain, unpacked in zip(floats.data, packed.data):
        expect(all(math.isclose(a, b, abs_tol=1e-5) for a, b in zip(plain.embedding, unpacked.embedding)), "base64 is the same")


def errors():
    for call, error in [
        (lambda: client.chat.completions.create(model="no/such", messages=hello), openai.NotFoundError),
        (lambda: client.chat.completions.create(model=model, messages=[]), openai.BadRequestError),
        (lambda: client.embeddings.create(model=model, input="x"), openai.BadRequestError),
        (lambda: client.with_options(api_key="ls_wrong").models.list(), openai.AuthenticationError),
    ]:
        try:
            call()
        except error:
            continue
        raise AssertionError(f"{error.__name__} was expected")


async def many():
    asynchronous = openai.AsyncOpenAI(base_url=url + "/api/v1", api_key=key, max_retries=0, timeout=60)

    async def one(number):
        stream = await asynchronous.chat.completions.create(
            model=model, messages=[{"role": "user", "content": str(number)}], max_tokens=8, stream=True
        )
        return sum([1 async for chunk in stream if chunk.choices and chunk.choices[0].delta.content])

    counts = await asyncio.gather(*(one(number) for number in range(12)))
    expect(all(count > 0 for count in counts), f"pieces of each stream: {counts}")
    said = await asynchronous.chat.completions.create(model=scripted, messages=hello, tools=[weather])
    expect(said.choices[0].message.tool_calls[0].function.name == "weather", f"{said}")
    vectors = await asynchronous.embeddings.create(model=embedder, input=["one", "two"])
    expect(len(vectors.data) == 2 and len(vectors.data[0].embedding) == len(vectors.data[1].embedding), "vectors")
    answer = await asynchronous.responses.create(model=model, input="hello", max_output_tokens=4)
    expect(answer.usage.output_tokens == 4, f"{answer}")
    listed = {entry.id async for entry in asynchronous.models.list()}
    expect({model, embedder, scripted} <= listed, f"{listed}")
    made = await asynchronous.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
    expect((await asynchronous.files.content(made.id)).read() == b"{}\n", "a file")
    expect((await asynchronous.files.delete(made.id)).deleted, "deleted")
    try:
        await asynchronous.with_options(api_key="ls_wrong").models.list()
        raise AssertionError("a wrong key was taken")
    except openai.AuthenticationError as error:
        expect(error.request_id and error.code == "invalid_api_key", f"{error}")


def files():
    made = client.files.create(file=("notes.jsonl", b'{"a":1}\n'), purpose="batch")
    expect(made.bytes == 8 and made.filename == "notes.jsonl" and made.purpose == "batch", f"{made}")
    expect(client.files.content(made.id).read() == b'{"a":1}\n', "the bytes of a file")
    expect(made.id in {file.id for file in client.files.list()} and client.files.retrieve(made.id).id == made.id, "found")
    expect(client.files.delete(made.id).deleted, "deleted")
    try:
        client.files.retrieve(made.id)
        raise AssertionError("a file that was deleted is found")
    except openai.NotFoundError:
        pass


def ended(batch):
    end = time.monotonic() + 60
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        expect(time.monotonic() < end, f"the batch stays {batch.status}")
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    return batch


def batches():
    lines = [
        {
            "custom_id": f"line-{number}", "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": model if number % 5 else "no/such", "messages": hello, "max_tokens": 4},
        }
        for number in range(20)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    source = client.files.create(file=("in.jsonl", text.encode()), purpose="batch")
    batch = client.batches.create(input_file_id=source.id, endpoint="/v1/chat/completions", completion_window="24h")
    batch = ended(batch)
    counts = batch.request_counts
    expect(batch.status == "completed" and (counts.total, counts.completed, counts.failed) == (20, 16, 4), f"{batch}")
    done = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    failed = [json.loads(line) for line in client.files.content(batch.error_file_id).text.splitlines()]
    expect([line["custom_id"] for line in done] == [f"line-{n}" for n in range(20) if n % 5], "results by their own ids")
    expect(all(line["response"]["body"]["usage"]["completion_tokens"] == 4 for line in done), "whole answers")
    expect(all(line["response"]["status_code"] == 404 for line in failed) and len(failed) == 4, f"{failed}")
    expect(batch.id in {entry.id for entry in client.batches.list()}, "the batch is listed")
    broken = client.files.create(file=("in.jsonl", b"no json\n"), purpose="batch")
    refused = client.batches.create(input_file_id=broken.id, endpoint="/v1/chat/completions", completion_window="24h")
    refused = ended(refused)
    expect(refused.status == "failed" and refused.errors.data[0].line == 1, "a file that is no JSONL")


checks = [
    models, chat, streaming, fields, accepted, headers, limits, patience, tools, responses, images, embeddings, errors, files, batches,
]
wanted = sys.argv[3:]
for check in checks:
    if not wanted or check.__name__ in wanted:
        check()
        print("ok", check.__name__, flush=True)
if not wanted or "many" in wanted:
    asyncio.run(many())
    print("ok many", flush=True)
