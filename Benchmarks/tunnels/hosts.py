"""Hosts as a coordinator sees them, many in one process: each dials a tunnel, reports, asks for work and answers requests to models.

`Hosts(port, key)` registers and connects them; they speak the frames of Sources/CargoTunnel over a WebSocket of their own (RFC 6455).
"""

import asyncio
import base64
import itertools
import json
import os
import struct
import urllib.request

OPEN, HEAD, DATA, END, RESET, WINDOW, GO_AWAY = range(1, 8)
NAMES = [f"publisher{number % 40}/model-{number}" for number in range(2000)]
CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def word(text, reason=None):
    return b"data: " + json.dumps({**CHUNK, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}).encode() + b"\n\n"


class Host(asyncio.Protocol):
    """One connection. `asks` is whether it keeps two claims waiting, as an agent with a model does."""

    def __init__(self, number, token, models, asks, answer):
        self.number, self.token, self.models, self.asks, self.answer = number, token, models, asks, answer
        self.held, self.upgraded, self.streams, self.next = bytearray(), asyncio.Event(), {}, 1
        self.reports = self.answered = self.claims = 0
        self.broken = False

    def connection_made(self, transport):
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /hosts/tunnel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())

    def connection_lost(self, error):
        self.broken = True
        self.upgraded.set()

    def message(self, opcode, payload):
        size = len(payload)
        # A mask of zeros is a mask (RFC 6455, section 5.3), and what it hides from is not here.
        length = struct.pack("!B", 0x80 | size) if size < 126 else struct.pack("!BH", 0xFE, size)
        self.transport.write(bytes([0x80 | opcode]) + length + bytes(4) + payload)

    def frame(self, kind, stream, payload=b""):
        self.message(2, bytes([kind]) + struct.pack("!I", stream) + payload)

    def open(self, operation, body):
        stream, self.next = self.next, self.next + 2
        self.streams[stream] = operation
        self.frame(OPEN, stream, json.dumps({"operation": operation}).encode())
        self.frame(DATA, stream, json.dumps(body).encode())
        self.frame(END, stream)

    def capabilities(self):
        return {"kinds": ["process"], "models": self.models}

    def report(self):
        self.open("report", {"models": self.models, "slots": 4, "active_jobs": 0, "free_memory": 1 << 34, "formats": ["gguf"]})

    def claim(self, wait=30):
        self.open("claim", {"wait": wait, "slots": 4, "capabilities": self.capabilities()})

    def begin(self):
        self.report()
        # The first claim says what the host can, as an agent's does; without `asks` it waits for nothing.
        self.open("claim", {"wait": 30 if self.asks else 0, "slots": 4, "capabilities": self.capabilities()})
        if self.asks:
            self.claim()

    def data_received(self, data):
        self.held += data
        if not self.upgraded.is_set():
            end = self.held.find(b"\r\n\r\n")
            if end < 0:
                return
            self.broken = not self.held.startswith(b"HTTP/1.1 101")
            del self.held[:end + 4]
            self.upgraded.set()
        while len(self.held) >= 2:
            size, start = self.held[1] & 127, 2
            if size == 126:
                if len(self.held) < 4:
                    return
                size, start = struct.unpack_from("!H", self.held, 2)[0], 4
            elif size == 127:
                if len(self.held) < 10:
                    return
                size, start = struct.unpack_from("!Q", self.held, 2)[0], 10
            if len(self.held) < start + size:
                return
            opcode, payload = self.held[0] & 15, bytes(self.held[start:start + size])
            del self.held[:start + size]
            if opcode == 9:
                self.message(10, payload)
            elif opcode == 2:
                self.taken(payload[0], struct.unpack_from("!I", payload, 1)[0], payload[5:])

    def taken(self, kind, stream, payload):
        if stream % 2:
            operation = self.streams.get(stream)
            if kind == HEAD and json.loads(payload)["status"] >= 400:
                raise SystemExit(f"a host's {operation} was refused: {payload!r}")
            if kind in (END, RESET):
                self.streams.pop(stream, None)
                if operation == "report":
                    self.reports += 1
                elif operation == "claim" and self.asks:
                    self.claims += 1
                    self.claim()
        elif kind == OPEN:
            self.streams[stream] = json.loads(payload)["operation"]
        elif kind == END and self.streams.get(stream) == "answer":
            self.streams.pop(stream)
            self.answered += 1
            self.answer(self, stream)
        elif kind == END and stream in self.streams:
            self.streams.pop(stream)
            self.frame(HEAD, stream, b'{"status":200}')
            self.frame(END, stream)

    def begins(self, stream):
        self.frame(DATA, stream)
        self.frame(HEAD, stream, b'{"status":200,"content_type":"text/event-stream"}')

    def says(self, stream, text):
        self.frame(DATA, stream, word(text))

    def ends(self, stream, tokens):
        self.frame(DATA, stream, word("", "stop") + b"data: [DONE]\n\n")
        self.frame(END, stream, json.dumps({"prompt_tokens": 5, "completion_tokens": tokens}).encode())


def at_once(host, stream):
    """One word and the end."""
    host.begins(stream)
    host.says(stream, "word ")
    host.ends(stream, 1)


class Hosts:
    def __init__(self, port, key, count, models=50, asks=True, answer=at_once):
        self.port, self.key, self.count, self.of_each, self.asks, self.answer = port, key, count, models, asks, answer
        self.hosts, self.beats = [], []

    def call(self, path, body):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def offer(self, number):
        return [{
            "id": NAMES[(number * 37 + index * 41) % len(NAMES)], "source": "cargo", "operations": ["chat/completions"],
            "presence": "loaded" if index < 4 else "stored", "active": 0, "slots": 4} for index in range(self.of_each)]

    def register(self):
        self.tokens = [self.call("/hosts", {"name": f"load-{number}"})["token"] for number in range(self.count)]

    async def connect(self):
        loop = asyncio.get_running_loop()
        for number in range(len(self.hosts), self.count):
            _, host = await loop.create_connection(
                lambda: Host(number, self.tokens[number], self.offer(number), self.asks, self.answer), "127.0.0.1", self.port)
            self.hosts.append(host)
        for host in self.hosts:
            await asyncio.wait_for(host.upgraded.wait(), 60)
            if host.broken:
                raise SystemExit("a tunnel was refused")

    async def beat(self, every=10.0):
        """Each host reports every so many seconds, spread evenly; until cancelled."""
        for host in itertools.cycle(self.hosts):
            host.report()
            await asyncio.sleep(every / self.count)

    @property
    def broken(self):
        return sum(1 for host in self.hosts if host.broken)

    def close(self):
        for host in self.hosts:
            host.transport.close()
