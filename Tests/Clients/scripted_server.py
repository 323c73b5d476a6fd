"""A model server of OpenAI's shape whose answers are known: scripted_server.py PORT [--pace SECONDS] [--tokens N] [--slots N].

Says a call when it is given tools, and words otherwise; each token comes at its own time. Draws images of one pixel.
"""
import argparse
import asyncio
import json
import time

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("--pace", type=float, default=0.0)
parser.add_argument("--tokens", type=int, default=8)
parser.add_argument("--slots", type=int, help="say, as llama.cpp's server does, how many requests are answered at once")
options = parser.parse_args()

MODEL = "scripted"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WORDS = "the model says one word after another and ends where it was told to end".split()


def example(schema):
    """A value that the schema allows."""
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return example(schema["anyOf"][0])
    kind = schema.get("type")
    if kind == "object":
        return {name: example(part) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema.get("items", {}))]
    return {"integer": 3, "number": 1.5, "boolean": True}.get(kind, "你好こんにちは")


def called(asked):
    """The call that the conversation leads to; None for words."""
    tools = asked.get("tools") or []
    choice = asked.get("tool_choice", "auto")
    if not tools or choice == "none" or asked["messages"][-1]["role"] == "tool":
        return None
    function = tools[0]["function"]
    if isinstance(choice, dict):
        function = next(tool["function"] for tool in tools if tool["function"]["name"] == choice["function"]["name"])
    arguments = json.dumps(example(function.get("parameters", {})))
    return {"id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def said(asked):
    shape = asked.get("response_format", {})
    if shape.get("type") == "json_schema":
        return [json.dumps(example(shape["json_schema"]["schema"]))]
    if shape.get("type") == "json_object":
        return ['{"x": 1}']
    count = min(asked.get("max_completion_tokens") or asked.get("max_tokens") or options.tokens, options.tokens)
    return [WORDS[number % len(WORDS)] + " " for number in range(count)]


def base(kind):
    return {"id": "chatcmpl-1", "object": kind, "created": int(time.time()), "model": MODEL}


async def chat(asked, send):
    call, words = called(asked), None
    if call is None:
        words = said(asked)
    usage = {"prompt_tokens": 5, "completion_tokens": len(words or [1]), "total_tokens": 5 + len(words or [1])}
    finish = "tool_calls" if call else "stop"
    if not asked.get("stream"):
        for _ in words or []:
            await asyncio.sleep(options.pace)
        message = {"role": "assistant", "content": "".join(words) if words else None}
        if call:
            message["tool_calls"] = [call]
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return await send({**base("chat.completion"), "choices": [choice], "usage": usage})

    async def event(delta, reason=None):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        await send({**base("chat.completion.chunk"), "choices": [choice]}, stream=True)

    if call:
        await event({"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call}]})
    else:
        for number, word in enumerate(words):
            await asyncio.sleep(options.pace)
            await event({"role": "assistant", "content": word} if number == 0 else {"content": word})
    await event({}, finish)
    if (asked.get("stream_options") or {}).get("include_usage"):
        await send({**base("chat.completion.chunk"), "choices": [], "usage": usage}, stream=True)
    await send(None, stream=True)


async def answer(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            fields = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in head[1:] if ":" in line}
            asked = json.loads(await reader.readexactly(int(fields.get("content-length", 0))) or b"{}")
            begun = False

            async def send(value, stream=False, status="200 OK"):
                nonlocal begun
                if not stream:
                    body = json.dumps(value).encode()
                    writer.write(
                        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
                    )
                    return await writer.drain()
                data = b"data: " + (b"[DONE]" if value is None else json.dumps(value).encode()) + b"\n\n"
                if not begun:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                    begun = True
                writer.write(b"%x\r\n%s\r\n" % (len(data), data) + (b"0\r\n\r\n" if value is None else b""))
                await writer.drain()

            if path.endswith("/models"):
                owner = "llamacpp" if options.slots else "tests"
                await send({"object": "list", "data": [{"id": name, "object": "model", "owned_by": owner} for name in (MODEL, "flux-pixel")]})
            elif path == "/props" and options.slots:
                await send({"total_slots": options.slots})
            elif path.endswith("/chat/completions"):
                await chat(asked, send)
            elif path.endswith("/images/generations"):
                await send({"created": 1, "data": [{"b64_json": PIXEL}] * asked.get("n", 1)})
            else:
                await send({"error": {"message": "not here", "type": "invalid_request_error"}}, status="404 Not Found")
            if fields.get("connection", "").lower() == "close":
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", options.port)
    print(f"listening at http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


asyncio.run(main())
