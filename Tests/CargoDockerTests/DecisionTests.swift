import CargoArtifact
import SystemPackage
import Testing

@testable import CargoDocker

@Suite("Decisions about containers and images")
struct DecisionTests {
    static func end(_ way: ContainerEnd.Way, oom: Int = 0) -> ContainerEnd {
        ContainerEnd(way: way, cpuSeconds: 1, peakBytes: 2, oomKills: oom)
    }

    @Test(
        "How a command ended follows from pid 1's word, the engine's code and the reason to stop it",
        arguments: [
            (137, Self.end(.exited(137)), false, nil, 137, nil, false),
            (137, Self.end(.signalled(9)), false, nil, nil, 9, false),
            (137, Self.end(.signalled(9), oom: 1), false, nil, nil, 9, true),
            (1, Self.end(.exited(1), oom: 1), false, nil, 1, nil, true),
            (0, Self.end(.exited(0), oom: 1), false, nil, 0, nil, false),
            (137, nil, true, nil, nil, 9, true), (137, nil, false, nil, nil, 9, false), (3, nil, false, nil, 3, nil, false),
            // A word that does not fit the engine's code is not believed.
            (137, Self.end(.exited(0)), false, nil, nil, 9, false),
            (nil, Self.end(.exited(4)), false, nil, 4, nil, false), (nil, nil, false, nil, nil, nil, false),
            (0, Self.end(.exited(0)), false, .timedOut, nil, nil, false), (137, nil, true, .cancelled, nil, 9, false),
        ] as [(Int?, ContainerEnd?, Bool, StopReason?, Int?, Int?, Bool)])
    func way(_ row: (code: Int?, end: ContainerEnd?, oom: Bool, stopped: StopReason?, exit: Int?, signal: Int?, killed: Bool)) {
        let way = ContainerOutcome.way(engine: row.code, end: row.end, oomFlag: row.oom, stopped: row.stopped)
        #expect(way.exitCode == row.exit && way.signal == row.signal && way.oomKilled == row.killed)
    }

    @Test(
        "Published escapes are named by the part's own number, each line by its own fix",
        arguments: [
            ("runc 1.0.0-rc6", 3), ("runc 1.1.5+ds1-1+deb12u1", 2), ("runc 1.1.12", 1), ("runc 1.1.15", 1), ("runc 1.2.7", 1),
            ("runc 1.2.8", 0), ("runc 1.3.2", 1), ("runc 1.3.3", 0), ("runc v1.4.0", 0), ("runc", 0), ("runc one", 0),
            ("crun 1.8.1", 0), ("containerd 1.6.20", 0), ("nvidia-container-toolkit 1.17.0", 1),
        ])
    func escapes(_ row: (part: String, count: Int)) { #expect(KnownEscapes.of(row.part).count == row.count) }

    @Test("Pid 1's lines are read, and nothing else")
    func lines() {
        #expect(ControlWord(line: "exec") == .executed)
        #expect(ControlWord(line: "fail 2") == .failed(2))
        #expect(ControlWord(line: "told 15") == .told(15))
        #expect(
            ControlWord(line: "end signal 9 1500000000 64 1")
                == .ended(.init(way: .signalled(9), cpuSeconds: 1.5, peakBytes: 64, oomKills: 1)))
        for line in [
            "", "exec now", "fail", "fail -1", "end exit 256 0 0 0", "end signal 65 0 0 0", "end exit 1 -1 0 0", "end exit 1 0 0",
            "x",
        ] {
            #expect(ControlWord(line: line) == nil)
        }
    }

    @Test("Frames are taken apart however they are cut", arguments: 1...12)
    func frames(size: Int) throws {
        let bytes: [UInt8] = [
            1, 0, 0, 0, 0, 0, 0, 3, 97, 98, 99, 2, 0, 0, 0, 0, 0, 0, 2, 100, 101, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1,
            102,
        ]
        var frames = LogFrames(isTerminal: false)
        var out: [UInt8] = []
        var error: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: size) {
            for piece in try frames.take(Array(bytes[start..<min(start + size, bytes.count)])) {
                if piece.stream == .stderr { error += piece.bytes } else { out += piece.bytes }
            }
        }
        #expect(String(decoding: out, as: UTF8.self) == "abcf" && String(decoding: error, as: UTF8.self) == "de")
    }

    @Test("What is no frame is not taken for log")
    func badFrames() {
        var frames = LogFrames(isTerminal: false)
        #expect(throws: LogFrames.Malformed.self) { try frames.take(Array("HTTP/1.1".utf8)) }
    }

    @Test(
        "The version spoken is the highest that both know",
        arguments: [("1.41", "1.41"), ("1.99", "1.47"), ("1.40", "1.40"), ("1.39", nil), ("2.0", "1.47")] as [(String, String?)])
    func version(offered: String, spoken: String?) throws {
        #expect(Engine.APIVersion.negotiated(try #require(Engine.APIVersion(offered)))?.description == spoken)
    }

    @Test("Sockets are tried in order, and DOCKER_HOST alone where it is set")
    func sockets() {
        #expect(EngineSocket.candidates(environment: ["DOCKER_HOST": "unix:///x.sock"], user: 0) == ["/x.sock"])
        #expect(EngineSocket.candidates(environment: ["DOCKER_HOST": "tcp://1.2.3.4:2375"], user: 0).isEmpty)
        #expect(EngineSocket.candidates(environment: [:], user: 0) == ["/var/run/docker.sock", "/run/podman/podman.sock"])
        #expect(
            EngineSocket.candidates(environment: ["XDG_RUNTIME_DIR": "/run/user/5"], user: 5).last
                == "/run/user/5/podman/podman.sock")
    }

    @Test(
        "A stranger may name what the owner allows",
        arguments: [
            ("alpine:3", ["docker.io/*"], true, false), ("alpine:3", ["ghcr.io/*"], false, false),
            ("alpine:3", ["alpine"], true, false),
            ("alpine:3", ["alpine:2"], false, false), ("acme/private:1", ["local:acme/*"], false, true),
            ("acme/private:1", ["docker.io/*"], true, false),
            ("ghcr.io/a/b", ["ghcr.io/a/*"], true, false), ("ghcr.io.evil.com/a/b", ["ghcr.io/*"], false, false),
            ("evil/ghcr.io", ["ghcr.io/*"], false, false),
            ("x.io/a", ["*"], true, false), ("alpine", [], false, false),
        ])
    func policy(image: String, patterns: [String], pull: Bool, local: Bool) throws {
        let policy = ImagePolicy(patterns: patterns)
        let reference = try #require(ImageReference(image))
        #expect(policy.allowsPull(reference) == pull && policy.allowsLocal(reference) == local)
    }

    @Test("Images go least recently used first, and never what is pinned or in use")
    func eviction() {
        func entry(_ id: String, _ used: Int64, pinned: Bool? = nil) -> ImageCacheIndex.Entry {
            .init(id: id, name: "n-\(id)-\(used)", size: 10, lastUsed: used, isPinned: pinned)
        }
        let entries = [entry("a", 1), entry("b", 2), entry("c", 3, pinned: true), entry("a", 9), entry("d", 4)]
        #expect(ImageCacheIndex.evicted(entries, budget: 40, held: []).isEmpty)
        #expect(ImageCacheIndex.evicted(entries, budget: 25, held: []).map(\.id) == ["b", "d"])
        #expect(ImageCacheIndex.evicted(entries, budget: 25, held: ["b"]).map(\.id).sorted() == ["a", "a", "d"])
    }

    @Test("Pull lines add up, whatever their cut, and an error in them is one")
    func pull() {
        var reader = PullReader()
        let text = """
            {"status":"Downloading","id":"l1","progressDetail":{"current":5,"total":10}}
            {"status":"Downloading","id":"l2","progressDetail":{"current":1,"total":20}}
            not json
            {"status":"Extracting","id":"l1","progressDetail":{"current":10,"total":10}}
            {"stream":"Loaded image ID: sha256:abc\\n"}
            {"errorDetail":{"message":"manifest unknown"},"error":"manifest unknown"}

            """
        for byte in text.utf8 { _ = reader.take([byte]) }
        reader.finish()
        #expect(reader.progress == PullProgress(phase: "extracting", current: 6, total: 30))
        #expect(reader.loaded == ["sha256:abc"] && reader.failure == "manifest unknown")
    }
}
