"""The servers that are measured: each in a folder of its own, on a free port of loopback, stopped by its own pid."""

import glob, hashlib, json, os, pathlib, shutil, signal, socket, subprocess, sys, time, urllib.error, urllib.request


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process, what):
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"{what} ended with {process.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{what} does not listen on port {port}")


def venv(wheels):
    """A Python with these wheels, made once below the build folder."""
    build = pathlib.Path(__file__).resolve().parents[2] / ".build"
    folder = build / ("bench-venv-" + hashlib.sha256(" ".join(wheels).encode()).hexdigest()[:12])
    if not (folder / "ready").exists():
        subprocess.run(["/usr/bin/python3", "-m", "venv", folder], check=True)
        subprocess.run(
            [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wheels], check=True)
        (folder / "ready").touch()
    return folder / "bin/python"


def require(program, package):
    if not shutil.which(program):
        raise SystemExit(f"{program} is missing: apt-get install {package}, without starting its service")
    return program


class Server:
    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    stop_signal = signal.SIGTERM


class Coordinator(Server):
    def __init__(self, binaries, folder, options=()):
        self.folder, self.options = folder, list(options)
        self.program = binaries / "longshore-coordinator"
        self.key_file = folder / "admin.key"

    def start(self):
        self.port = free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = open(self.folder / "server.log", "ab")
        self.process = subprocess.Popen(
            [self.program, "serve", "--data", self.folder, "--listen", f"127.0.0.1:{self.port}", *self.options],
            stdout=self.log, stderr=self.log)
        wait_for(self.port, self.process, "longshore-coordinator")

    def memory(self):
        """Resident MiB."""
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024

    def call(self, method, path, body=None, content_type="application/json"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, method=method)
        request.add_header("Authorization", "Bearer " + self.key_file.read_text().strip())
        request.add_header("Content-Type", content_type)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path} answered {error.code}: {error.read()[:500]}")

    def push_cargo(self, name="bench/noop", version="1.0.0"):
        """The smallest cargo that the registry takes: jobs name it, nobody runs it."""
        config = json.dumps({
            "name": name, "version": version, "kind": "process", "command": ["true"], "interface": "files", "resources": {},
            "network": "none", "sandbox": "inference", "rootfs": "host"}).encode()
        digest = "sha256:" + hashlib.sha256(config).hexdigest()
        self.call("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", config, "application/octet-stream")
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.longshore.cargo.v1+json",
            "config": {
                "mediaType": "application/vnd.longshore.cargo.config.v1+json", "digest": digest, "size": len(config)},
            "layers": []}).encode()
        self.call("PUT", f"/v2/{name}/manifests/{version}", manifest, "application/vnd.oci.image.manifest.v1+json")

    def register_host(self, name="bench"):
        return json.loads(self.call("POST", "/hosts", json.dumps({"name": name}).encode()))


class PostgreSQL(Server):
    """A private cluster with the defaults of its release: fsync and synchronous_commit on."""

    stop_signal = signal.SIGINT  # Fast shutdown.

    def __init__(self, folder):
        self.folder = folder
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not found:
            raise SystemExit("PostgreSQL is missing: apt-get install postgresql")
        self.bin = pathlib.Path(found[-1])

    def run(self, *command, **more):
        # The server refuses to run as root.
        prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
        return subprocess.Popen([*prefix, *map(str, command)], cwd="/", **more)

    def start(self):
        self.port = free_port()
        self.folder.mkdir(parents=True)
        if os.getuid() == 0:
            shutil.chown(self.folder, "nobody", "nogroup")
        made = self.run(
            self.bin / "initdb", "-D", self.folder / "data", "-U", "bench", "-A", "trust", stdout=subprocess.DEVNULL)
        if made.wait():
            raise SystemExit("initdb failed")
        self.log = open(self.folder / "server.log", "ab")
        self.serve()

    def crash(self):
        """Ends every backend in the middle of what it does; what was committed is replayed from the log at the next start."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def serve(self):
        self.process = self.run(
            self.bin / "postgres", "-D", self.folder / "data", "-p", self.port, "-k", self.folder, "-c", "listen_addresses=127.0.0.1",
            "-c", "max_connections=200", stdout=self.log, stderr=self.log)
        wait_for(self.port, self.process, "postgres")
        self.url = f"postgresql://bench@127.0.0.1:{self.port}/postgres"
        for _ in range(200):
            if subprocess.run([self.bin / "pg_isready", "-q", "-d", self.url]).returncode == 0:
                return
            time.sleep(0.05)

    def sql(self, text):
        subprocess.run([self.bin / "psql", "-q", "-d", self.url, "-c", text], check=True, stdout=subprocess.DEVNULL)

    def inserts_per_second(self, clients, seconds):
        self.sql("CREATE TABLE jobs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), payload text NOT NULL)")
        script = self.folder / "insert.sql"
        script.write_text("INSERT INTO jobs (payload) VALUES (repeat('x', 250));\n")
        result = subprocess.run(
            [self.bin / "pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", "2", "-T", str(seconds), "-f", script,
             "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", "postgres"],
            check=True, capture_output=True, text=True)
        for line in result.stdout.splitlines():
            if line.startswith("tps"):
                return float(line.split()[2])
        raise SystemExit("pgbench printed no tps")


class Redis(Server):
    def __init__(self, folder):
        self.folder = folder

    def start(self):
        self.port = free_port()
        self.folder.mkdir(parents=True)
        self.process = subprocess.Popen(
            [require("redis-server", "redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--save",
             "", "--appendonly", "yes", "--appendfsync", "always"], stdout=subprocess.DEVNULL)
        wait_for(self.port, self.process, "redis-server")

    def pushes_per_second(self, clients, count):
        result = subprocess.run(
            [require("redis-benchmark", "redis-tools"), "-p", str(self.port), "-c", str(clients), "-n", str(count), "-d", "250", "-t",
             "lpush", "--csv"], check=True, capture_output=True, text=True)
        return float(result.stdout.splitlines()[-1].split(",")[1].strip('"'))
