#!/usr/bin/env python3
"""A Longshore host in plain REST: host.py URL KEYFILE. Counts the words of a job's input files."""
import base64, hashlib, json, socket, sys, threading, urllib.error, urllib.parse, urllib.request, uuid

url, key = sys.argv[1].rstrip("/"), open(sys.argv[2]).read().strip()


def call(method, path, body=None, lease=None, raw=None):
    headers = {"Authorization": "Bearer " + key}
    if lease:
        headers["Longshore-Lease"] = json.dumps(lease)
    data = raw if raw is not None else json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=90) as answer:
        return answer.status, answer.read()


class Attempt:
    def __init__(self, job, lease):
        self.path, self.job, self.lease = "/jobs/" + job["id"], job, lease
        self.log, self.sent, self.cancel, self.over = b"", 0, False, threading.Event()

    def beat(self, **more):
        piece, offset = self.log[self.sent :], self.sent
        chunk = {"stream": "stdout", "offset": offset, "data_base64": base64.b64encode(piece).decode()}
        body = {"lease": self.lease, "state": "processing", "logs": [chunk] if piece else []}
        reply = json.loads(call("POST", self.path + "/heartbeat", {**body, **more})[1])
        self.sent, self.cancel = reply["durable_offset"], reply["cancel"]

    def keep(self):  # renews at a third of the lease; a 409 says that it is no longer ours
        while not self.over.wait(self.lease["seconds"] / 3):
            self.beat()

    def run(self):
        threading.Thread(target=self.keep, daemon=True).start()
        counts = {}
        for number, file in enumerate(self.job["files"]):
            inline = file.get("content")
            path = self.path + "/files/" + urllib.parse.quote(file["name"])
            data = base64.b64decode(inline) if inline is not None else call("GET", path, lease=self.lease)[1]
            counts[file["name"]] = len(data.split())
            self.log += f"{file['name']}: {counts[file['name']]} words\n".encode()
            self.beat(progress={"done": number + 1, "of": len(self.job["files"])})
            if self.cancel:
                break
        self.over.set()
        result = json.dumps(counts).encode()
        call("PUT", self.path + "/outputs/counts.json", lease=self.lease, raw=result)
        output = {"path": "counts.json", "size": len(result), "sha256": hashlib.sha256(result).hexdigest()}
        call("POST", self.path + "/complete", {"lease": self.lease, "exit_code": 0, "outputs": [output], "log_bytes": len(self.log)})


key = json.loads(call("POST", "/hosts", {"name": socket.gethostname() + "-py", "slots": 1})[1])["token"]
while True:
    status, body = call("POST", "/hosts/next-job", {"wait": 30, "claim_id": str(uuid.uuid4())})
    if status == 200:
        try:
            Attempt(**json.loads(body)).run()
        except urllib.error.HTTPError as error:  # the lease was lost, or the job has ended: claim the next
            print(error.read().decode(), file=sys.stderr)
