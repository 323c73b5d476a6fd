"""LiteLLM's proxy in front of a coordinator, asked by openai-python: litellm_client.py URL KEY LITELLM.

LITELLM is the proxy's program. Its models name the coordinator as `api_base`; nothing else of it is set.
"""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import openai

url, key, program = sys.argv[1:4]
MASTER = "sk-litellm-master"
MODELS = ["tiny-chat", "tiny-embed", "scripted", "flux-pixel", "no/such"]
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


def start(folder):
    """The proxy, once it answers: importing it takes half a minute of a busy core."""
    entries = [
        {"model_name": name, "litellm_params": {"model": "openai/" + name, "api_base": url + "/v1", "api_key": key}}
        for name in MODELS
    ]
    settings = {"num_retries": 0, "telemetry": False, "request_timeout": 60}
    config = os.path.join(folder, "config.yaml")
    with open(config, "w") as file:
        json.dump({"model_list": entries, "litellm_settings": settings, "router_settings": {"disable_cooldowns": True}}, file)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = open(os.path.join(folder, "log"), "w+b")
    process = subprocess.Popen(
        [program, "--config", config, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"], stdout=log, stderr=log,
        start_new_session=True,
        env={**os.environ, "HOME": folder, "LITELLM_MASTER_KEY": MASTER, "LITELLM_LOCAL_MODEL_COST_MAP": "True"})
    end = time.monotonic() + 240
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5):
                return process, port, log
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                log.seek(0)
                raise SystemExit(f"LiteLLM does not answer: {log.read()[-4000:].decode()}")
            time.sleep(0.2)


def models(client):
    expect(set(MODELS) <= {entry.id for entry in client.models.list()}, "the list of its models")


def chat(client, direct):
    asked = {"model": "tiny-chat", "messages": hello, "max_tokens": 12, "temperature": 0}
    through = client.chat.completions.create(**asked)
    ours = direct.chat.completions.create(**asked)
    expect(through.choices[0].message.content == ours.choices[0].message.content, f"{through} is not {ours}")
    expect(through.usage.completion_tokens == 12 and through.choices[0].finish_reason == "length", f"{through.usage}")


def streaming(client):
    asked = {"model": "tiny-chat", "messages": hello, "max_tokens": 12, "temperature": 0}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    expect(text == whole, f"streamed {text!r}, whole {whole!r}")
    expect([chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [12], "usage once")


def tools(client):
    question = {"model": "scripted", "messages": hello, "tools": [weather], "tool_choice": "required"}
    called = client.chat.completions.create(**question).choices[0]
    call = called.message.tool_calls[0]
    expect(called.finish_reason == "tool_calls" and call.function.name == "weather", f"{called}")
    expect(json.loads(call.function.arguments) == {"place": "你好こんにちは"}, call.function.arguments)
    pieces = [
        delta for chunk in client.chat.completions.create(**question, stream=True) if chunk.choices
        for delta in chunk.choices[0].delta.tool_calls or []
    ]
    expect([piece.function.name for piece in pieces if piece.function.name] == ["weather"], f"{pieces}")
    expect(json.loads("".join(piece.function.arguments or "" for piece in pieces)) == {"place": "你好こんにちは"}, f"{pieces}")
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    after = client.chat.completions.create(
        model="scripted", messages=[*hello, called.message.model_dump(exclude_none=True), result], tools=[weather])
    expect(after.choices[0].message.content.startswith("the model says"), f"{after}")


def embeddings(client, direct):
    asked = {"model": "tiny-embed", "input": ["one", "two"]}
    for form in ("float", "base64"):
        mine = client.embeddings.create(**asked, encoding_format=form)
        ours = direct.embeddings.create(**asked, encoding_format=form)
        expect([entry.embedding for entry in mine.data] == [entry.embedding for entry in ours.data], f"{form} embeddings")


def images(client):
    drawn = client.images.generate(model="flux-pixel", prompt="a pixel")  # it knows no response_format of this name
    expect(drawn.data[0].b64_json.startswith("iVBOR"), "a PNG image")


def errors(client):
    for call, error in [
        (lambda: client.chat.completions.create(model="no/such", messages=hello), openai.NotFoundError),
        (lambda: client.chat.completions.create(model="tiny-chat", messages=hello, extra_body={"n": 99}), openai.BadRequestError),
        (lambda: client.with_options(api_key="sk-wrong").models.list(), openai.APIStatusError),
    ]:
        try:
            call()
        except error:
            continue
        raise AssertionError(f"{error.__name__} was expected")


with tempfile.TemporaryDirectory() as folder:
    process, port, log = start(folder)
    try:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=MASTER, max_retries=0, timeout=60)
        direct = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0, timeout=60)
        for check, given in [
            (models, [client]), (chat, [client, direct]), (streaming, [client]), (tools, [client]),
            (embeddings, [client, direct]), (images, [client]), (errors, [client]),
        ]:
            check(*given)
            print("ok", check.__name__, flush=True)
    except BaseException:
        log.seek(0)
        print(log.read()[-3000:].decode(errors="replace"), file=sys.stderr)
        raise
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
