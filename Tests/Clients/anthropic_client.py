"""The anthropic package against a coordinator, by changing the base URL only: anthropic_client.py URL KEY."""
import asyncio
import json
import sys
import urllib.request

import anthropic

url, key = sys.argv[1:3]
client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=60)
hello = [{"role": "user", "content": "hello"}]
weather = {
    "name": "weather",
    "description": "The weather of a place",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}


def expect(holds, what):
    if not holds:
        raise AssertionError(what)


def messages():
    said = client.messages.create(model="tiny-chat", max_tokens=9, messages=hello, system="Be brief.", extra_body={"temperature": 0})
    expect(said.type == "message" and said.stop_reason == "max_tokens" and said.usage.output_tokens == 9, f"{said}")
    expect(said.content[0].type == "text" and said.content[0].text, "text")


def streaming():
    whole = client.messages.create(model="tiny-chat", max_tokens=9, messages=hello, extra_body={"temperature": 0})
    with client.messages.stream(model="tiny-chat", max_tokens=9, messages=hello, extra_body={"temperature": 0}) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    expect(text == whole.content[0].text and final.usage.output_tokens == 9, f"{text!r} {final}")
    expect(final.stop_reason == "max_tokens", "why it stopped")


def events():
    """The helper's own events, one after the other, and the text that they grow."""
    kinds, snapshot = [], ""
    with client.messages.stream(model="tiny-chat", max_tokens=9, messages=hello, extra_body={"temperature": 0}) as stream:
        for event in stream:
            kinds.append(event.type)
            if event.type == "text":
                snapshot = event.snapshot
        expect(stream.request_id and stream.get_final_text() == snapshot, f"{stream.request_id} {snapshot!r}")
    expect(kinds[:2] == ["message_start", "content_block_start"] and kinds[-1] == "message_stop", f"{kinds}")
    expect("content_block_delta" in kinds and kinds.count("content_block_stop") == 1 and "message_delta" in kinds, f"{kinds}")
    raw = list(client.messages.create(model="tiny-chat", max_tokens=3, messages=hello, stream=True))
    expect(raw[0].message.usage.output_tokens == 0 and raw[-2].usage.output_tokens == 3, f"{raw}")


def fields():
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": "hi"}, {"role": "user", "content": [{"type": "text", "text": "go"}, {"type": "text", "text": " on"}]},
    ]
    asked = {"model": "tiny-chat", "max_tokens": 16, "messages": turns, "metadata": {"user_id": "ada"}, "extra_body": {"temperature": 0}}
    whole = client.messages.create(**asked, system=[{"type": "text", "text": "Be brief."}])
    expect(whole._request_id and whole.usage.input_tokens > 10 and whole.role == "assistant", f"{whole}")
    letter = whole.content[0].text[3]
    stopped = client.messages.create(**asked, system=[{"type": "text", "text": "Be brief."}], stop_sequences=[letter])
    expect(letter not in stopped.content[0].text and stopped.stop_reason in ("stop_sequence", "end_turn"), f"{stopped}")
    other = anthropic.Anthropic(base_url=url + "/api", auth_token=key, max_retries=0, timeout=60)
    expect(other.messages.create(**asked).usage.output_tokens == 16, "under /api too, with the key as a bearer's")
    raw = client.messages.with_raw_response.create(**asked)
    expect(raw.headers["request-id"] and raw.parse().type == "message", f"{raw.headers}")


async def asynchronous():
    many = anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0, timeout=60)

    async def one(number):
        turns = [{"role": "user", "content": str(number)}]
        async with many.messages.stream(model="tiny-chat", max_tokens=6, messages=turns) as stream:
            return "".join([text async for text in stream.text_stream])

    expect(all(await asyncio.gather(*(one(number) for number in range(8)))), "a text of each stream")
    said = await many.messages.create(model="scripted", max_tokens=50, messages=hello, tools=[weather], tool_choice={"type": "any"})
    expect(said.stop_reason == "tool_use", f"{said}")


def key_with(**settings):
    request = urllib.request.Request(
        url + "/keys", json.dumps({"name": "client", **settings}).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["key"]


def tools():
    said = client.messages.create(model="scripted", max_tokens=50, messages=hello, tools=[weather])
    call = next(block for block in said.content if block.type == "tool_use")
    expect(said.stop_reason == "tool_use" and call.input == {"place": "你好こんにちは"}, f"{said}")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns = [*hello, {"role": "assistant", "content": said.content}, {"role": "user", "content": [result]}]
    after = client.messages.create(model="scripted", max_tokens=50, messages=turns, tools=[weather])
    expect(after.content[0].text.startswith("the model says"), "words after the tool's result")
    with client.messages.stream(model="scripted", max_tokens=50, messages=hello, tools=[weather]) as stream:
        final = stream.get_final_message()
    expect(any(block.type == "tool_use" and block.input == {"place": "你好こんにちは"} for block in final.content), f"{final}")
    bare = {"type": "custom", "name": "now", "input_schema": {}}
    said = client.messages.create(model="scripted", max_tokens=50, messages=hello, tools=[bare])
    expect(next(block for block in said.content if block.type == "tool_use").input == {}, f"an input is an object: {said}")
    try:
        client.messages.create(
            model="scripted", max_tokens=50, messages=hello, tools=[{"type": "web_search_20250305", "name": "web_search"}])
        raise AssertionError("a tool that nobody here runs was taken")
    except anthropic.BadRequestError as error:
        expect("web_search_20250305" in error.message, f"{error}")


def counting():
    expect(client.messages.count_tokens(model="tiny-chat", messages=hello).input_tokens > 5, "tokens")
    long = [{"role": "user", "content": "a" * 9000}]
    for call in (
        client.messages.count_tokens, lambda **asked: client.messages.create(max_tokens=5, **asked),
        lambda **asked: client.messages.create(max_tokens=5, stream=True, **asked),
    ):
        try:
            call(model="tiny-chat", messages=long)
            raise AssertionError("a prompt that is too long was taken")
        except anthropic.BadRequestError as error:
            expect("prompt is too long" in error.message, f"{error}")


def models():
    listed = client.models.list(limit=2)
    expect(len(listed.data) == 2 and listed.has_more and listed.data[0].type == "model", f"{listed}")
    everyone = [entry.id for entry in client.models.list(limit=2)]
    expect({"tiny-chat", "tiny-embed", "scripted"} <= set(everyone) and everyone == sorted(set(everyone)), f"{everyone}")
    expect(client.models.retrieve("tiny-chat").display_name == "tiny-chat", "a model by its id")


def errors():
    for call, error in [
        (lambda: client.messages.create(model="no/such", max_tokens=1, messages=hello), anthropic.NotFoundError),
        (lambda: client.models.retrieve("no/such"), anthropic.NotFoundError),
        (lambda: client.messages.create(model="tiny-chat", max_tokens=1, messages=[]), anthropic.BadRequestError),
        (
            lambda: client.with_options(api_key="ls_no").messages.create(model="tiny-chat", max_tokens=1, messages=hello),
            anthropic.AuthenticationError,
        ),
        (
            lambda: client.with_options(api_key=key_with(scopes=["read"])).messages.create(
                model="tiny-chat", max_tokens=1, messages=hello),
            anthropic.PermissionDeniedError,
        ),
        (lambda: ask_twice(key_with(scopes=["read", "write"], policy={"requests_per_minute": 1})), anthropic.RateLimitError),
        (lambda: client.messages.create(model="tiny-embed", max_tokens=1, messages=hello), anthropic.BadRequestError),
    ]:
        try:
            call()
        except error as raised:
            expect(raised.request_id and raised.body["type"] == "error", f"{raised.request_id} {raised.body}")
            continue
        raise AssertionError(f"{error.__name__} was expected")


def ask_twice(other):
    for _ in range(2):
        client.with_options(api_key=other).messages.create(model="tiny-chat", max_tokens=1, messages=hello)


for check in (messages, streaming, events, fields, tools, counting, models, errors):
    if not sys.argv[3:] or check.__name__ in sys.argv[3:]:
        check()
        print("ok", check.__name__, flush=True)
asyncio.run(asynchronous())
print("ok asynchronous", flush=True)
