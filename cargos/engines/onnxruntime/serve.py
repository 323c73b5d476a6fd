"""Serves one ONNX model over a unix socket: the Open Inference Protocol, and OpenAI's embeddings and images."""
import argparse
import json
import os
import signal
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler

import onnxruntime

from tasks import Model, Wrong

MOST_BYTES = 64 << 20
# Requests that are computed at once; others wait, a probe never does.
PLACES = threading.BoundedSemaphore(4)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64
    model = None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def address_string(self):
        return "local"

    def log_message(self, *_):
        pass

    def reply(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def refuse(self, status, message):
        self.reply(status, {"error": {"message": message, "type": "invalid_request_error" if status < 500 else "server_error"}})

    def do_GET(self):
        if self.path in ("/v2/health/ready", "/v2/health/live"):
            self.reply(200, {"ready": True})
        elif self.path == "/v2/models/model":
            self.reply(200, self.server.model.describe())
        else:
            self.refuse(404, "there is nothing here")

    def do_POST(self):
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
        model = self.server.model
        ways = {
            "/v2/models/model/infer": model.infer, "/v1/embeddings": model.embeddings,
            "/v1/images/generations": lambda b: model.images(b, int(time.time())),
        }
        way = ways.get(self.path)
        if way is None:
            return self.refuse(404, "this engine answers infer, embeddings and images/generations")
        try:
            with PLACES:
                answer = way(body)
        except Wrong as wrong:
            return self.refuse(400, str(wrong))
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            return self.refuse(500, "the model failed on this request")
        self.reply(200, answer)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--threads", type=int, required=True)
    wanted = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = wanted.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(wanted.model, options, providers=["CPUExecutionProvider"])
    server = Server(wanted.socket, Handler)
    server.model = Model(session)
    print("ready", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
