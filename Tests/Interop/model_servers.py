"""Model servers that speak what Ollama's and LM Studio's documentation records, each piece of a stream in the smallest chunks.

Usage: model_servers.py {ollama|lmstudio}; prints the port that it listens on.
"""
import http.server
import json
import sys

TAGS = {
    "models": [{
        "name": "llama3.2:latest", "model": "llama3.2:latest", "modified_at": "2024-05-04T17:37:44.706015396-07:00",
        "size": 2019393189, "digest": "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72",
        "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "3.2B",
                    "quantization_level": "Q4_K_M"}}]
}
STUDIO = {
    "object": "list",
    "data": [{"id": "granite-3.0-2b-instruct", "object": "model", "type": "llm", "publisher": "lmstudio-community", "arch": "granite",
              "compatibility_type": "gguf", "quantization": "Q4_K_M", "state": "loaded", "max_context_length": 4096}],
}
WORDS = ["Grüße", " aus", " der", " Tiefe", " 🌊"]


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, kind, data):
        """Three bytes a chunk, so that characters and lines are cut."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(data), 3):
            piece = data[start:start + 3]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def do_GET(self):
        ollama = {"/api/version": {"version": "0.5.1"}, "/api/tags": TAGS, "/api/ps": {"models": []},
                  "/v1/models": {"object": "list", "data": [
                      {"id": "llama3.2:latest", "object": "model", "created": 1714869464, "owned_by": "library"}]}}
        studio = {"/api/v0/models": STUDIO, "/v1/models": {"data": [
            {"id": "granite-3.0-2b-instruct", "object": "model", "owned_by": "organization_owner"}], "object": "list"}}
        known = ollama if KIND == "ollama" else studio
        if self.path in known:
            self.answer(known[self.path])
        elif KIND == "ollama":
            self.answer("404 page not found", 404)
        else:
            self.answer({"error": f"Unexpected endpoint or method. (GET {self.path})"})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/show":
            return self.answer({"capabilities": ["completion"], "model_info": {"llama.context_length": 131072}})
        if self.path == "/api/chat":
            base = {"model": asked["model"], "created_at": "2023-08-04T08:52:19.385406455-07:00"}
            last = {**base, "message": {"role": "assistant", "content": ""}, "done_reason": "stop", "done": True,
                    "total_duration": 4883583458, "load_duration": 1334875, "prompt_eval_count": 26,
                    "prompt_eval_duration": 342546000, "eval_count": len(WORDS), "eval_duration": 4535599000}
            if not asked["stream"]:
                return self.answer({**last, "message": {"role": "assistant", "content": "".join(WORDS)}})
            lines = [{**base, "message": {"role": "assistant", "content": word}, "done": False} for word in WORDS] + [last]
            return self.stream(
                "application/x-ndjson", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
        if self.path == "/v1/chat/completions":
            base = {"id": "chatcmpl-i3gkjwthhw96whukek9tz", "object": "chat.completion.chunk", "created": 1731990317,
                    "model": asked["model"], "system_fingerprint": "granite-3.0-2b-instruct"}
            events = [{**base, "choices": [{"index": 0, "delta": {"role": "assistant", "content": word}, "logprobs": None,
                                            "finish_reason": None}]} for word in WORDS]
            events.append({**base, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]})
            if asked.get("stream_options", {}).get("include_usage"):
                events.append({**base, "choices": [], "usage": {"prompt_tokens": 24, "completion_tokens": 53, "total_tokens": 77}})
            text = "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events) + "data: [DONE]\n\n"
            return self.stream("text/event-stream", text.encode())
        return self.answer({"error": "not found"}, 404)


KIND = sys.argv[1]
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
print(server.server_address[1], flush=True)
server.serve_forever()
