"""A coordinator with real agents that run a real cargo, and a wire between them that can be cut."""

import json, pathlib, select, socket, subprocess, threading, time


class Island:
    """The cargo runs one line of shell that it is given; its processes are found by their command line."""

    def __init__(self, binaries, folder, server, lease):
        self.binaries, self.folder = binaries.resolve(), folder
        self.server = server(binaries, folder / "data", ["--lease-seconds", str(lease)])
        self.agents, self.line = [], None

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.server.__enter__()
        self.environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(self.folder), "LONGSHORE_CONFIG": str(self.folder / "config")}
        source = self.folder / "source"
        source.mkdir()
        (source / "cargo.yaml").write_text("name: chaos/shell\nversion: 1.0.0\nkind: process\ncommand: [sh, -c]\n")
        self.longshore("login", f"http://127.0.0.1:{self.server.port}", "--api-key-file", self.server.key_file)
        self.longshore("key", "create", "chaos")
        self.longshore("key", "trust", self.folder / "config/keys/chaos.pub", "--for", "chaos/*")
        self.longshore("pack", source, "--key", "chaos", "-o", self.folder / "shell.cargo")
        self.longshore("push", self.folder / "shell.cargo", "chaos/shell:1.0.0")
        return self

    def __exit__(self, *_):
        for agent in self.agents:
            if agent.poll() is None:
                agent.kill()
                agent.wait()
        self.server.__exit__(None, None, None)

    def longshore(self, *arguments):
        done = subprocess.run(
            [self.binaries / "longshore", *map(str, arguments)], env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"longshore {arguments[0]}: {done.stderr}")
        return done.stdout

    def agent(self, name, port):
        home = self.folder / f"home-{name}"
        log = open(self.folder / f"{name}.log", "ab")
        self.agents.append(subprocess.Popen(
            [self.binaries / "cargo-run", "agent", "--coordinator", f"http://127.0.0.1:{port}", "--api-key-file", self.server.key_file,
             "--name", name], env={**self.environment, "LONGSHORE_HOME": str(home)}, stdout=log, stderr=log))
        return self.agents[-1]

    def submit(self, line):
        self.line = line
        return self.longshore("submit", "chaos/shell:1.0.0", "--", line).strip()

    def job(self, id):
        return json.loads(self.server.call("GET", f"/jobs/{id}"))

    def logs(self):
        return "".join(path.read_text()[-500:] for path in self.folder.glob("*.log"))

    def processes(self):
        """The shells of the last job that are alive."""
        wanted, found = ["sh", "-c", self.line], set()
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if path.read_bytes().decode(errors="replace").split("\0")[:-1] == wanted:
                    found.add(int(path.parent.name))
            except OSError:
                pass
        return found

    def wait_for_processes(self, count, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if len(self.processes()) >= count:
                return True
            time.sleep(0.05)
        return False

    def watch(self, seconds, until=lambda: False):
        """The most processes of the job that were alive at once, and all that were seen."""
        most, seen, end, asked = 0, set(), time.monotonic() + seconds, 0
        while time.monotonic() < end:
            alive = self.processes()
            most, seen = max(most, len(alive)), seen | alive
            if time.monotonic() > asked + 0.5:
                asked = time.monotonic()
                if until():
                    break
            time.sleep(0.05)
        return most, seen


class Proxy:
    """A port before another one; while `cut` is set it swallows what comes and lets nobody notice, as a dead wire does."""

    def __init__(self, port):
        self.target, self.cut, self.ended = port, False, False

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.listener.close()

    def accept(self):
        while not self.ended:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def carry(self, client):
        while self.cut:
            time.sleep(0.05)
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            return client.close()
        others = {client: server, server: client}
        try:
            while True:
                for side in select.select(list(others), [], [], 0.2)[0]:
                    data = side.recv(65536)
                    while self.cut:
                        time.sleep(0.05)
                    if not data:
                        return
                    others[side].sendall(data)
        except OSError:
            pass
        finally:
            client.close()
            server.close()
