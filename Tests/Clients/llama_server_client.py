"""What llama.cpp's own server promises its clients, asked through a coordinator: llama_server_client.py URL KEY DIRECT.

DIRECT is the address of the very server that answers, so that answers can be compared. What of its interface is not offered
here, and why, stands in docs/clients.md; the last check holds that list to the truth.
"""
import base64
import concurrent.futures
import json
import math
import struct
import sys
import urllib.error
import urllib.request

url, key, direct = sys.argv[1:4]
model, embedder = "tiny-chat", "tiny-embed"
hello = [{"role": "system", "content": "Book"}, {"role": "user", "content": "What is the best book"}]
A_TOKEN = 3  # The tiny model has one token a byte, behind three of its own.


def expect(holds, what):
    if not holds:
        raise AssertionError(what)


def call(path, body=None, base=None, headers=None, method=None):
    """Status, headers and body of an answer; the body parsed where it is JSON."""
    fields = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"} if headers is None else headers
    if base == direct:
        # A prefix out of the cache is computed in another order, and a tie can fall the other way; we never let it be used.
        body = {**body, "cache_prompt": False}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request((base or url) + path, data, fields, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, head, text = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        status, head, text = error.code, error.headers, error.read()
    try:
        return status, head, json.loads(text)
    except ValueError:
        return status, head, text


def ask(path, body, base=None):
    status, _, answer = call(path, body, base)
    expect(status == 200, f"{path} answered {status}: {answer}")
    return answer


def chat(body, base=None):
    return ask("/v1/chat/completions", {"model": model, "temperature": 0, **body}, base)


def stream(path, body, base=None):
    request = urllib.request.Request(
        (base or url) + path, json.dumps({"model": model, "temperature": 0, **body, "stream": True}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        lines = [line[6:].strip() for line in answer.read().decode().splitlines() if line.startswith("data: ")]
    expect(lines[-1] == "[DONE]", f"the stream ends with {lines[-1]}")
    return [json.loads(line) for line in lines[:-1]]


def refused(path, body, status=400):
    got, _, answer = call(path, body)
    expect(got == status and answer["error"]["message"], f"{body} was answered {got}: {answer}")
    return answer["error"]


def basic():
    expect(call("/healthz", headers={})[0] == 200, "health needs no key")
    entries = ask("/v1/models", None)["data"]
    expect({model, embedder} <= {entry["id"] for entry in entries}, f"{entries}")
    entry = next(entry for entry in entries if entry["id"] == model)
    expect(entry["object"] == "model" and "chat/completions" in entry["operations"], f"{entry}")


def chat_whole():
    for words in ["What is the best book", [{"type": "text", "text": "What is"}, {"type": "text", "text": "the best book"}]]:
        body = {"max_tokens": 8, "messages": [hello[0], {"role": "user", "content": words}]}
        mine, theirs = chat(body), chat(body, direct)
        expect("cmpl" in mine["id"] and mine["system_fingerprint"].startswith("b"), f"{mine}")
        expect(mine["choices"] == theirs["choices"], f"{mine} is not {theirs}")
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            expect(mine["usage"][name] == theirs["usage"][name], f"{name}: {mine['usage']}")
        choice = mine["choices"][0]
        expect(choice["message"]["role"] == "assistant" and choice["finish_reason"] == "length", f"{choice}")


def chat_stream():
    body = {"max_tokens": 8, "messages": hello, "stream_options": {"include_usage": True}}
    events, content = stream("/v1/chat/completions", body), ""
    first = events[0]["choices"][0]["delta"]
    expect(first["role"] == "assistant" and first["content"] is None, f"{first}")
    expect({event["id"] for event in events} == {events[0]["id"]} and {event["model"] for event in events} == {model}, "one id")
    for event in events[1:-1]:
        choice = event["choices"][0]
        expect("role" not in choice["delta"] and event["system_fingerprint"].startswith("b"), f"{event}")
        content += choice["delta"].get("content") or ""
    expect(events[-2]["choices"][0]["finish_reason"] == "length" and "content" not in events[-2]["choices"][0]["delta"], "the end")
    expect(events[-1]["choices"] == [] and events[-1]["usage"]["completion_tokens"] == 8, f"{events[-1]}")
    expect(content == chat({"max_tokens": 8, "messages": hello})["choices"][0]["message"]["content"], content)


def prefill():
    """A last turn of the assistant's is gone on with, or refused, as the server itself does."""
    for words in ["Whill", [{"type": "text", "text": "Wh"}, {"type": "text", "text": "ill"}]]:
        body = {"model": model, "temperature": 0, "max_tokens": 8, "messages": [*hello, {"role": "assistant", "content": words}]}
        mine, theirs = call("/v1/chat/completions", body), call("/v1/chat/completions", body, direct)
        expect(mine[0] == theirs[0] and mine[2].get("choices") == theirs[2].get("choices"), f"{mine} is not {theirs}")


def response_format():
    for shape, check in [
        ({"type": "json_object", "schema": {"const": "42"}}, lambda text: json.loads(text) == "42"),
        ({"type": "json_schema", "json_schema": {"schema": {"const": "foooooo"}}}, lambda text: json.loads(text) == "foooooo"),
        ({"type": "json_object"}, lambda text: text.startswith("{")),
    ]:
        said = chat({"max_tokens": 20, "messages": hello, "response_format": shape})["choices"][0]["message"]["content"]
        expect(check(said), f"{shape}: {said}")
    for shape in [
        {"type": "sound"}, {"type": "json_object", "schema": 123}, {"type": "json_object", "schema": {"type": 123}},
        {"type": "json_object", "schema": {"type": "hiccup"}},
    ]:
        # Some of these the server takes for no format at all.
        body = {"model": model, "max_tokens": 8, "messages": hello, "response_format": shape}
        mine, theirs = call("/v1/chat/completions", body)[0], call("/v1/chat/completions", body, direct)[0]
        expect(mine == theirs and mine in (200, 400), f"{shape}: {mine}, and {theirs} without us")


def messages_that_are_none():
    for messages in [
        None, "string", [123], [{}], [{"role": 123}], [{"role": "system", "content": 123}],
        [{"role": "system", "content": "test"}, {}],
    ]:
        refused("/v1/chat/completions", {"model": model, "messages": messages})


def logprobs():
    body = {"max_tokens": 5, "messages": hello, "logprobs": True, "top_logprobs": 10}
    choice = chat(body)["choices"][0]
    tokens = choice["logprobs"]["content"]
    expect("".join(token["token"] for token in tokens) == choice["message"]["content"], f"{tokens}")
    expect(all(token["logprob"] <= 0 and token["bytes"] is not None and len(token["top_logprobs"]) == 10 for token in tokens), "top")
    streamed = [
        token for event in stream("/v1/chat/completions", body) if event["choices"]
        for token in (event["choices"][0].get("logprobs") or {}).get("content") or []
    ]
    expect([token["token"] for token in streamed] == [token["token"] for token in tokens], f"{streamed}")


def logit_bias():
    plain = chat({"max_tokens": 16, "messages": hello})["choices"][0]["message"]["content"]
    banned = {str(A_TOKEN + ord(letter)): -100 for letter in set(plain)}
    other = chat({"max_tokens": 16, "messages": hello, "logit_bias": banned})["choices"][0]["message"]["content"]
    expect(not set(other) & set(plain), f"{other!r} has letters of {plain!r}")


def context():
    """More than the model reads is refused before the first byte, streamed or not, by OpenAI's own word."""
    long = [{"role": "user", "content": "a" * 9000}]
    for more in [{}, {"stream": True}]:
        error = refused("/v1/chat/completions", {"model": model, "messages": long, **more})
        expect(error["code"] == "context_length_exceeded" and "context size" in error["message"], f"{error}")
    refused("/v1/completions", {"model": model, "prompt": "a" * 9000})


def completions():
    prompt = "I believe the meaning of life is"
    body = {"model": model, "prompt": prompt, "max_tokens": 8, "temperature": 0, "seed": 42}
    whole = ask("/v1/completions", body)
    expect(whole["object"] == "text_completion" and whole["choices"][0]["finish_reason"] == "length", f"{whole}")
    expect(whole["usage"]["completion_tokens"] == 8 and whole["system_fingerprint"].startswith("b"), f"{whole}")
    text = "".join(event["choices"][0]["text"] for event in stream("/v1/completions", body) if event["choices"])
    expect(text == whole["choices"][0]["text"], f"streamed {text!r}")
    for _ in range(3):
        expect(ask("/v1/completions", body)["choices"][0]["text"] == text, "the same seed, the same text")
    seeds = {ask("/v1/completions", {**body, "temperature": 1, "seed": seed})["choices"][0]["text"] for seed in range(4)}
    expect(len(seeds) > 1, f"other seeds, other texts: {seeds}")


def prompts():
    """Tokens, lists of tokens and texts, and several prompts at once."""
    tokens = [1] + [A_TOKEN + byte for byte in b"once"]
    for prompt, count in [(tokens, 1), ([tokens, tokens], 2), ([tokens, "once"], 2), (["one", "two", "three"], 3)]:
        answer = ask("/v1/completions", {"model": model, "prompt": prompt, "max_tokens": 4, "temperature": 0})
        expect(len(answer["choices"]) == count and all(choice["text"] for choice in answer["choices"]), f"{prompt}: {answer}")
    same = ask("/v1/completions", {"model": model, "prompt": [tokens, "once"], "max_tokens": 4, "temperature": 0})["choices"]
    expect(same[0]["text"] == same[1]["text"], "tokens are the text that they stand for")


def probabilities():
    answer = ask("/v1/completions", {"model": model, "prompt": "once", "max_tokens": 5, "temperature": 0, "logprobs": 10})
    expect(len(answer["choices"][0]["logprobs"]["content"]) == 5, f"{answer}")


def parallel():
    """More requests at once than the server has slots: all are answered, whole."""
    asked = [{"max_tokens": 24, "messages": [{"role": "user", "content": f"Write story {number}"}]} for number in range(10)]
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(chat, asked))
    expect(all(answer["usage"]["completion_tokens"] == 24 for answer in answers), f"{answers}")
    expect(len({answer["id"] for answer in answers}) == len(asked), "each has an answer of its own")


def embeddings():
    def embed(value, **more):
        return ask("/v1/embeddings", {"model": embedder, "input": value, **more})

    text = "I believe the meaning of life is"
    one = embed(text)
    vector = one["data"][0]["embedding"]
    expect(len(one["data"]) == 1 and abs(sum(x * x for x in vector) - 1) < 1e-3, "one vector of the length 1")
    tokens = one["usage"]["prompt_tokens"]
    expect(tokens == one["usage"]["total_tokens"] and tokens >= len(text), f"{one['usage']}")
    same = embed([text] * 5)
    expect(same["usage"]["prompt_tokens"] == 5 * tokens, f"{same['usage']}")
    for entry in same["data"]:
        expect(all(math.isclose(a, b, abs_tol=1e-3) for a, b in zip(entry["embedding"], vector)), "equal texts, equal vectors")
    for value, count in [
        ("", 1), ("string", 1), ([12, 34, 56], 1), (["string1", "string2"], 2), (["string1", [12, 34, 56]], 2),
        ([[12, 34, 56], [12, 34, 56]], 2),
    ]:
        expect(len(embed(value)["data"]) == count, f"{value}")
    packed = base64.b64decode(embed(text, encoding_format="base64")["data"][0]["embedding"])
    numbers = struct.unpack(f"<{len(packed) // 4}f", packed)
    expect(len(numbers) == len(vector) and all(abs(a - b) < 1e-3 for a, b in zip(numbers, vector)), "base64 is the same")
    for value in ([], {"content": "string"}, [{"content": [{"type": "input_audio"}]}]):
        refused("/v1/embeddings", {"model": embedder, "input": value})
    status, _, answer = call("/v1/embeddings", {"model": embedder, "input": "This is a test " * 2048})
    expect(status >= 400 and "too large" in answer["error"]["message"], f"{status}: {answer}")


def tools():
    tool = {
        "type": "function", "function": {"name": "test", "description": "", "parameters": {
            "type": "object", "properties": {"success": {"type": "boolean", "const": True}}, "required": ["success"]}}}
    body = {"max_tokens": 256, "messages": hello, "tools": [tool], "parallel_tool_calls": False}
    mine, theirs = chat({**body, "tool_choice": "required"}), chat({**body, "tool_choice": "required"}, direct)

    def without_ids(answer):
        choice = answer["choices"][0]
        return choice["finish_reason"], choice["message"].get("content"), [
            call["function"] for call in choice["message"].get("tool_calls") or []]

    expect(without_ids(mine) == without_ids(theirs), f"{mine} is not {theirs}")
    for more in [{"tool_choice": "none"}, {"tools": [], "tool_choice": None}]:
        message = chat({**body, "max_tokens": 16, **more})["choices"][0]["message"]
        expect(message.get("tool_calls") is None, f"{message}")
    refused("/v1/chat/completions", {"model": model, "messages": hello, "tools": {"no": "list"}})


def security():
    body = {"model": model, "prompt": "once", "max_tokens": 2}
    for headers in [{}, {"Authorization": "Bearer invalid-key"}, {"Authorization": "Bearer "}, {"X-Api-Key": "no"}]:
        status, _, answer = call("/v1/completions", body, headers=headers)
        expect(status == 401 and answer["error"]["type"] == "authentication_error", f"{headers}: {status} {answer}")
    expect(call("/v1/completions", body, headers={"X-Api-Key": key})[0] == 200, "Anthropic's header works as well")
    status, head, _ = call(
        "/v1/completions", method="OPTIONS", headers={
            "Origin": "web.mydomain.fr", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "Authorization"})
    expect(status == 204 and head["Access-Control-Allow-Headers"] == "Authorization", f"{head}")
    for address in ["file:///etc/passwd", "file://mtmd/test-1.jpeg", "https://example.com/x.png", "http://127.0.0.1/x.png"]:
        part = {"type": "image_url", "image_url": {"url": address}}
        error = refused("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": [part]}]})
        expect("data:" in error["message"], f"{error}")
    pixel = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    error = refused("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": [pixel]}]})
    expect("not supported" in error["message"], f"a model without eyes says so: {error}")


def not_offered():
    """The owner's own side of the server is not reached through a coordinator, and its private fields change nothing."""
    for path in ["/props", "/slots", "/tokenize", "/apply-template", "/completion", "/infill", "/rerank", "/lora-adapters"]:
        for base in ("", "/v1"):
            status, _, answer = call(base + path, None if path in ("/props", "/slots") else {"content": "x"})
            expect(status == 404, f"{base + path} answered {status}: {answer}")
    plain = chat({"max_tokens": 8, "messages": hello})
    private = chat({
        "max_tokens": 8, "messages": hello, "grammar": 'root ::= "z"{5,5}', "json_schema": {"const": "42"}, "id_slot": 3,
        "cache_prompt": True, "timings_per_token": True, "chat_template": "{{ 'z' }}", "lora": [{"id": 0, "scale": 1.0}],
        "return_progress": True, "n_predict": 1,
    })
    expect(private["choices"] == plain["choices"] and "timings" not in private, f"{private} is not {plain}")
    expect("prompt_tokens_details" not in private["usage"], "what was cached is nobody's business")


wanted = sys.argv[4:]
for check in (
    basic, chat_whole, chat_stream, prefill, response_format, messages_that_are_none, logprobs, logit_bias, context, completions,
    prompts, probabilities, parallel, embeddings, tools, security, not_offered,
):
    if not wanted or check.__name__ in wanted:
        check()
        print("ok", check.__name__, flush=True)
