"""HTTP/1.1 over an engine's unix socket: JSON in, JSON or server-sent events out. The same file in each engine that is Python."""
import json
import os
import select
import signal
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler

MOST_BYTES = 64 << 20
# Connections that are served at once; more wait in the kernel.
MOST_CONNECTIONS = 64


class Wrong(Exception):
    """The request asks for something that this model cannot do; the sentence goes to whoever asked."""

    def __init__(self, message, status=400):
        super().__init__(message)
        self.status = status


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path, ways, shows, places):
        self.ways, self.shows = ways, shows
        # Requests that are computed at once; others wait, a probe never does.
        self.places = threading.BoundedSemaphore(places)
        self.connections = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(path, Handler)

    def process_request(self, request, address):
        self.connections.acquire()
        super().process_request(request, address)

    def process_request_thread(self, request, address):
        try:
            super().process_request_thread(request, address)
        finally:
            self.connections.release()

    def handle_error(self, request, address):
        error = sys.exc_info()[1]
        if not isinstance(error, (BrokenPipeError, ConnectionError, TimeoutError)):
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def address_string(self):
        return "local"

    def log_message(self, *_):
        pass

    def isgone(self):
        """Whether whoever asked has hung up, so that nobody wants the rest."""
        try:
            # With a timeout of its own the socket would wait in `recv`.
            if not select.select([self.connection], [], [], 0)[0]:
                return False
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def begin(self, status, kind, size=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if size is not None:
            self.send_header("Content-Length", str(size))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def reply(self, status, value):
        body = json.dumps(value).encode()
        self.begin(status, "application/json", len(body))
        self.wfile.write(body)

    def refuse(self, status, message):
        self.reply(status, fault(message, status))

    def do_GET(self):
        if self.path in ("/health", "/v2/health/ready", "/v2/health/live"):
            return self.reply(200, {"ready": True})
        show = self.server.shows.get(self.path)
        return self.reply(200, show()) if show else self.refuse(404, "there is nothing here")

    def do_POST(self):
        way = self.server.ways.get(self.path)
        if way is None:
            return self.refuse(404, f"this engine answers {', '.join(self.server.ways)}")
        try:
            size = int(self.headers.get("Content-Length", ""))
        except ValueError:
            return self.refuse(411, "a length is needed")
        if not 0 <= size <= MOST_BYTES:
            return self.refuse(413, f"a request has at most {MOST_BYTES} bytes")
        try:
            body = json.loads(self.rfile.read(size))
        except (ValueError, RecursionError):
            return self.refuse(400, "the body is not JSON")
        if not isinstance(body, dict):
            return self.refuse(400, "the body is not a JSON object")
        with self.server.places:
            self.answer(way, body)

    def answer(self, way, body):
        try:
            answer = way(body, self.isgone)
            # The first event is made before the head is sent: what is wrong with the request still has a status.
            events = None if isinstance(answer, dict) else iter(answer)
            first = None if events is None else next(events, None)
        except Wrong as wrong:
            return self.refuse(wrong.status, str(wrong))
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            return self.refuse(500, "the model failed on this request")
        if events is None:
            return self.reply(200, answer)
        self.begin(200, "text/event-stream")
        try:
            while first is not None:
                self.event(first)
                first = next(events, None)
            self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionError, TimeoutError):
            pass
        except Wrong as wrong:
            self.event(fault(str(wrong), wrong.status))
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            self.event(fault("the model failed in the middle of its answer", 500))
        finally:
            events.close()

    def event(self, value):
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()


def fault(message, status):
    return {"error": {"message": message, "type": "invalid_request_error" if status < 500 else "server_error"}}


def number(body, key, least, most, default):
    """A number of a request within its bounds."""
    value = body.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise Wrong(f"'{key}' is a number from {least} to {most}")
    return value


def whole(body, key, least, most, default):
    value = number(body, key, least, most, default)
    if not isinstance(value, int):
        raise Wrong(f"'{key}' is a whole number from {least} to {most}")
    return value


def serve(path, ways, shows=None, places=4):
    """Serves until it is told to end. `ways`: what each path does with (body, isgone): a dictionary is the answer, an iterator
    its events."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = Server(path, ways, shows or {}, places)
    print("ready", file=sys.stderr, flush=True)
    server.serve_forever()
