"""agent URL KEYFILE NAME JOURNAL: a host in plain REST that works as an agent must, and may be killed at any line.

It journals its claim before it works and each accepted report after it, so that a run can be checked afterwards."""

import http.client, json, os, random, sys, time, urllib.parse, uuid

url, key_file, name, journal_path = sys.argv[1:5]
address = urllib.parse.urlsplit(url).netloc
key = open(key_file).read().strip()
journal = open(journal_path, "a", buffering=1)


def call(method, path, body, token):
    """One request; None when no answer came, so nobody knows whether it took effect."""
    try:
        connection = http.client.HTTPConnection(address, timeout=15)
        connection.request(method, path, json.dumps(body), {"Authorization": "Bearer " + token, "Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, json.loads(data) if data else None
    except (OSError, http.client.HTTPException, ValueError):
        return None


def until_answered(method, path, body, token):
    while True:
        answer = call(method, path, body, token)
        if answer and answer[0] < 500:
            return answer
        time.sleep(random.uniform(0.02, 0.2))


host = until_answered("POST", "/hosts", {"name": name}, key)[1]
token = host["token"]
claim_id = str(uuid.uuid4())
while True:
    status, claim = until_answered(
        "POST", "/hosts/next-job", {"wait": 2, "slots": 1, "claim_id": claim_id, "capabilities": {"kinds": ["process"]}}, token)
    if status == 401:  # The registration's commit was lost with its answer: it cannot be, an answer means that it is on disk.
        sys.exit(f"the host's token is not known any more: {claim}")
    if status != 200:
        continue
    claim_id = str(uuid.uuid4())
    job, lease = claim["job"], claim["lease"]
    text = f"{job['id']} {lease['epoch']}"
    journal.write(f"claimed {text}\n")
    line = f"attempt {lease['epoch']} on {name}\n"
    beat = {"lease": lease, "state": "processing", "logs": [{"stream": "stdout", "offset": 0, "data": line}]}
    status, _ = until_answered("POST", f"/jobs/{job['id']}/heartbeat", beat, token)
    if status == 200:
        time.sleep(random.uniform(0.005, 0.08))
        end = {"lease": lease, "exit_code": 0, "outputs": [], "log_bytes": len(line)}
        status, done = until_answered("POST", f"/jobs/{job['id']}/complete", end, token)
        if status == 200:
            journal.write(f"accepted {text}\n")
            continue
    journal.write(f"lost {text} {status}\n")
