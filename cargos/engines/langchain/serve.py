"""Serves a chain or an agent over a unix socket as OpenAI's chat; the models that it asks are reached by another socket."""
import argparse
import importlib.util
import sys
import time
from pathlib import Path

import httpx
import openai
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI

from wire import Wrong, serve

MOST_MESSAGES = 4096
# What a request says about how its models shall speak, as far as a chain does not say so itself.
SETTINGS = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop", "presence_penalty", "frequency_penalty")
# Fields that are no argument of ChatOpenAI's own.
EXTRA = ("ignore_eos", "top_k", "min_p", "repeat_penalty")


class Gone(Exception):
    """Nobody waits for the answer any more."""


class Models:
    """The models that the host lets this cargo ask, as LangChain's chat models."""

    def __init__(self, socket):
        limits = httpx.Limits(max_connections=32, max_keepalive_connections=0)
        wait = httpx.Timeout(600, connect=10)
        self.client = httpx.Client(transport=httpx.HTTPTransport(uds=socket, limits=limits), timeout=wait)
        self.async_client = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=socket, limits=limits), timeout=wait)

    def names(self):
        return [m["id"] for m in self.client.get("http://models/v1/models").raise_for_status().json()["data"]]

    def give(self, body):
        """`model(name, **settings)` for one request; the first model where no name is given."""
        said = {key: body[key] for key in SETTINGS if body.get(key) is not None}
        extra = {key: body[key] for key in EXTRA if body.get(key) is not None}

        def model(name=None, **settings):
            return ChatOpenAI(**{
                "model": name or self.names()[0], "base_url": "http://models/v1", "api_key": "none", "max_retries": 0,
                "http_client": self.client, "http_async_client": self.async_client, "stream_usage": True,
                "extra_body": extra or None, **said, **settings})
        return model


def read(path):
    """The cargo's own file, which defines `chain(model)`."""
    sys.path.insert(0, str(Path(path).resolve().parent))
    spec = importlib.util.spec_from_file_location("cargo_chain", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if not callable(getattr(module, "chain", None)):
        raise SystemExit(f"{path} defines no function chain(model)")
    return module.chain


def text(value):
    """What a piece of a chain's answer says."""
    if isinstance(value, BaseMessage):
        return value.text if isinstance(value.text, str) else value.text()
    return value if isinstance(value, str) else "" if value is None else str(value)


def pieces(chain, given, config):
    """The answer in pieces: a chain's output as it comes, an agent's as its model says it."""
    if hasattr(chain, "stream_mode"):
        for message, _ in chain.stream({"messages": given["messages"]}, config, stream_mode="messages"):
            if isinstance(message, AIMessage) or message.type == "AIMessageChunk":
                yield text(message)
    else:
        # A model by itself reads messages and no names.
        given = given["messages"] if isinstance(chain, BaseLanguageModel) else given
        for piece in chain.stream(given, config):
            yield text(piece)


def refusal(error):
    """What the host said of a model that was asked, in its own sentence."""
    told = error.body if isinstance(error.body, dict) else {}
    # A model that is not found is no chain that is not found.
    status = error.status_code if error.status_code in (400, 503, 504) else 502
    return Wrong(f"the chain's model did not answer: {str(told.get('message') or error.status_code)[:300]}", status)


def chat(build, models):
    serial = 0

    def way(body, isgone):
        nonlocal serial
        messages = body.get("messages")
        if not isinstance(messages, list) or not 0 < len(messages) <= MOST_MESSAGES:
            raise Wrong(f"'messages' is a list of 1 to {MOST_MESSAGES}")
        try:
            messages = convert_to_messages(messages)
        except (ValueError, KeyError, TypeError, NotImplementedError) as error:
            raise Wrong(f"these messages are not understood: {str(error)[:200]}") from error
        serial += 1
        head = {"id": f"chatcmpl-{serial}", "created": int(time.time()), "model": "model"}
        # Built anew for each request: nothing that one request leaves in a chain is there for the next.
        chain = build(models.give(body))
        if not isinstance(chain, Runnable):
            raise TypeError("chain(model) gave no Runnable")
        counts = UsageMetadataCallbackHandler()
        given = {"input": text(messages[-1]), "messages": messages, "history": messages[:-1]}
        made = pieces(chain, given, {"callbacks": [counts], "recursion_limit": 50})

        def usage():
            sums = {"prompt_tokens": 0, "completion_tokens": 0}
            for one in counts.usage_metadata.values():
                sums["prompt_tokens"] += one.get("input_tokens", 0)
                sums["completion_tokens"] += one.get("output_tokens", 0)
            return sums | {"total_tokens": sum(sums.values())}

        if body.get("stream") is not True:
            said = ""
            try:
                for piece in made:
                    if isgone():
                        raise Gone
                    said += piece
            except openai.APIStatusError as error:
                raise refusal(error) from error
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
            return head | {"object": "chat.completion", "choices": [choice], "usage": usage()}

        def events():
            def event(delta, reason=None):
                choice = {"index": 0, "finish_reason": reason, "delta": delta}
                return head | {"object": "chat.completion.chunk", "choices": [choice]}

            begun = False
            try:
                for piece in made:
                    if isgone():
                        raise Gone
                    if not begun:
                        begun = True
                        yield event({"role": "assistant", "content": ""})
                    if piece:
                        yield event({"content": piece})
            except openai.APIStatusError as error:
                raise refusal(error) from error
            yield event({}, "stop")
            if (body.get("stream_options") or {}).get("include_usage"):
                yield head | {"object": "chat.completion.chunk", "choices": [], "usage": usage()}
        return events()
    return way


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--models", required=True, help="the socket by which models are asked")
    parser.add_argument("chain", nargs="?", default="chain.py")
    wanted = parser.parse_args()
    # A chain that cannot be built says so before anybody asks it.
    models = Models(wanted.models)
    build = read(Path("/cargo") / wanted.chain)
    build(models.give({}))
    serve(wanted.socket, {"/v1/chat/completions": chat(build, models)}, places=4)


if __name__ == "__main__":
    main()
