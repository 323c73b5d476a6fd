"""The anthropic package against a coordinator, by changing the base URL only: anthropic_client.py URL KEY."""
import sys

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


def counting():
    expect(client.messages.count_tokens(model="tiny-chat", messages=hello).input_tokens > 5, "tokens")


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
    ]:
        try:
            call()
        except error:
            continue
        raise AssertionError(f"{error.__name__} was expected")


for check in (messages, streaming, tools, counting, models, errors):
    check()
    print("ok", check.__name__, flush=True)
