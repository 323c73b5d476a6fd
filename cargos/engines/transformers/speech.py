"""Models that write: OpenAI's chat and completions, streamed token by token, by the model's own chat template."""
import os
import queue
import sys
import threading
import time

import torch
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from wire import Wrong, number, whole

# Seconds that a chat template may render: it comes with the model and may hold loops.
TEMPLATE_TIME = 10
MOST_MESSAGES = 4096
# Pieces that wait for whoever reads them; then the model waits.
MOST_WAITING = 64
# What an unfinished character looks like when it is decoded.
BROKEN = "\ufffd"


class Gone(Exception):
    """Nobody waits for the answer any more."""


class Pieces(BaseStreamer):
    """Tokens become text as they come, each once its characters are whole."""

    def __init__(self, tokenizer, hold):
        self.tokenizer, self.hold = tokenizer, hold
        self.waiting = queue.Queue(MOST_WAITING)
        self.tokens, self.begin, self.told = [], 0, 0
        self.count, self.isprompt = 0, True

    def put(self, value):
        if self.isprompt:
            self.isprompt = False
            return
        fresh = value.reshape(-1).tolist()
        self.count += len(fresh)
        self.tokens += fresh
        self.tell(False)

    def end(self):
        self.tell(True)

    def tell(self, islast):
        # A window of two steps is decoded, so that long answers cost no more a token than short ones.
        def text(upto):
            return self.tokenizer.decode(self.tokens[self.begin:upto], skip_special_tokens=True)

        known, whole_text = text(self.told), text(len(self.tokens))
        if len(whole_text) > len(known) and (islast or not whole_text.endswith(BROKEN)):
            self.begin, self.told = self.told, len(self.tokens)
            self.push(whole_text[len(known):])

    def push(self, piece):
        while not self.hold.is_set():
            try:
                return self.waiting.put(piece, timeout=0.5)
            except queue.Full:
                continue


class Halt(StoppingCriteria):
    def __init__(self, hold):
        self.hold = hold

    def __call__(self, input_ids, scores, **_):
        return torch.full((input_ids.shape[0],), self.hold.is_set(), dtype=torch.bool)


class Ending:
    """Cuts an answer before the first of its stop texts; keeps back what may be the beginning of one."""

    def __init__(self, stops):
        self.stops, self.kept, self.isover = stops, "", False

    def take(self, piece, islast=False):
        self.kept += piece
        places = [at for at in (self.kept.find(stop) for stop in self.stops) if at >= 0]
        if places:
            self.isover = True
            return self.kept[:min(places)]
        back = 0 if islast else max(
            (n for stop in self.stops for n in range(1, len(stop)) if self.kept.endswith(stop[:n])), default=0)
        out, self.kept = self.kept[:len(self.kept) - back], self.kept[len(self.kept) - back:]
        return out


class Speaker:
    def __init__(self, model, tokenizer, folder):
        self.model, self.tokenizer = model, tokenizer
        self.context = getattr(model.config, "max_position_embeddings", None) or 4096
        self.serial = 0

    def ways(self):
        return {"/v1/chat/completions": self.chat, "/v1/completions": self.completions}

    # What is asked.

    def chat(self, body, isgone):
        messages = [self.message(m) for m in self.listed(body.get("messages"))]
        if not self.tokenizer.chat_template:
            raise Wrong("this model has no chat template; ask it for completions")
        text = self.render(messages)
        tokens = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        return self.answer(body, tokens, isgone, True)

    def completions(self, body, isgone):
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str) or not prompt:
            raise Wrong("'prompt' is one text")
        return self.answer(body, self.tokenizer(prompt, return_tensors="pt")["input_ids"], isgone, False)

    @staticmethod
    def listed(messages):
        if not isinstance(messages, list) or not 0 < len(messages) <= MOST_MESSAGES:
            raise Wrong(f"'messages' is a list of 1 to {MOST_MESSAGES}")
        return messages

    @staticmethod
    def message(message):
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            if not all(isinstance(p, dict) and p.get("type") == "text" and isinstance(p.get("text"), str) for p in content):
                raise Wrong("this model reads text alone")
            content = "".join(p["text"] for p in content)
        if not isinstance(content, str) or not isinstance(message.get("role"), str):
            raise Wrong("each message has a role and a content")
        return {"role": message["role"], "content": content}

    def render(self, messages):
        done = []

        def work():
            try:
                done.append(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
            except Exception as error:
                done.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(TEMPLATE_TIME)
        if not done:
            # Nothing stops a thread from without: the engine ends, and its host says so.
            print(f"the chat template did not end within {TEMPLATE_TIME} s", file=sys.stderr, flush=True)
            os._exit(70)
        if isinstance(done[0], Exception):
            raise Wrong(f"the model's chat template refuses these messages: {str(done[0])[:200]}")
        return done[0]

    # What is answered.

    def settings(self, body, used):
        room = self.context - used
        if room < 1:
            raise Wrong(f"the prompt has {used} tokens and the model takes {self.context}")
        key = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
        most = min(room, whole(body, key, 1, 1_000_000, room))
        if whole(body, "n", 1, 1, 1) != 1 or body.get("tools"):
            raise Wrong("one answer at a time, and no tools")
        heat = number(body, "temperature", 0, 10, 1)
        settings = {"max_new_tokens": most, "do_sample": heat > 0, "use_cache": True}
        if heat > 0:
            settings |= {"temperature": float(heat), "top_p": float(number(body, "top_p", 0, 1, 1)) or 1e-6,
                         "top_k": max(0, whole(body, "top_k", -1, 1_000_000, 0))}
            if body.get("min_p") is not None:
                settings["min_p"] = float(number(body, "min_p", 0, 1, 0))
        penalty = number(body, "repetition_penalty", 0.01, 10, number(body, "repeat_penalty", 0.01, 10, 1))
        if penalty != 1:
            settings["repetition_penalty"] = float(penalty)
        least = most if body.get("ignore_eos") is True else min(most, whole(body, "min_tokens", 0, 1_000_000, 0))
        if least:
            settings["min_new_tokens"] = least
        stops = body.get("stop") or []
        stops = [stops] if isinstance(stops, str) else stops
        if not isinstance(stops, list) or len(stops) > 64 or not all(isinstance(s, str) and s for s in stops):
            raise Wrong("'stop' is a text or a list of them")
        return settings, stops, whole(body, "seed", -(1 << 63), (1 << 63) - 1, time.time_ns())

    def pieces(self, tokens, settings, stops, seed, isgone):
        """Texts as they are made, and at the end (why it ended, tokens made)."""
        hold = threading.Event()
        stream = Pieces(self.tokenizer, hold)
        ended = []

        def work():
            try:
                torch.manual_seed(seed & (1 << 63) - 1)
                with torch.inference_mode():
                    self.model.generate(
                        tokens, attention_mask=torch.ones_like(tokens), streamer=stream,
                        pad_token_id=self.model.config.pad_token_id or 0,
                        stopping_criteria=StoppingCriteriaList([Halt(hold)]), **settings)
                ended.append(None)
            except Exception as error:
                ended.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        ending = Ending(stops)
        try:
            while not ending.isover:
                if isgone():
                    raise Gone
                try:
                    piece = stream.waiting.get(timeout=0.2)
                except queue.Empty:
                    if not thread.is_alive() and stream.waiting.empty():
                        break
                    continue
                text = ending.take(piece)
                if text:
                    yield text, None
            if ended and ended[0]:
                raise ended[0]
            rest = "" if ending.isover else ending.take("", True)
            if rest:
                yield rest, None
            isfull = not ending.isover and stream.count >= settings["max_new_tokens"]
            yield "", ("length" if isfull else "stop", stream.count)
        finally:
            # One generation at a time: the next begins when this one has let go of the model.
            hold.set()
            thread.join()

    def answer(self, body, tokens, isgone, ischat):
        used = tokens.shape[1]
        settings, stops, seed = self.settings(body, used)
        self.serial += 1
        head = {"id": f"{'chatcmpl' if ischat else 'cmpl'}-{self.serial}", "created": int(time.time()), "model": "model"}
        made = self.pieces(tokens, settings, stops, seed, isgone)

        def usage(count):
            return {"prompt_tokens": used, "completion_tokens": count, "total_tokens": used + count}

        if body.get("stream") is not True:
            text = ""
            for piece, end in made:
                text += piece
            said = {"message": {"role": "assistant", "content": text}} if ischat else {"text": text}
            kind = "chat.completion" if ischat else "text_completion"
            return head | {"object": kind, "choices": [{"index": 0, "finish_reason": end[0]} | said], "usage": usage(end[1])}

        def events():
            kind = "chat.completion.chunk" if ischat else "text_completion"

            def event(choice, reason=None):
                return head | {"object": kind, "choices": [{"index": 0, "finish_reason": reason} | choice]}

            if ischat:
                yield event({"delta": {"role": "assistant", "content": ""}})
            for piece, end in made:
                if piece:
                    yield event({"delta": {"content": piece}} if ischat else {"text": piece})
            yield event({"delta": {}} if ischat else {"text": ""}, end[0])
            if (body.get("stream_options") or {}).get("include_usage"):
                yield head | {"object": kind, "choices": [], "usage": usage(end[1])}

        return events()
