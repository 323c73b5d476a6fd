import Foundation
import TestStage
import Testing

/// A large cargo on its way from the registry to a host.
@Suite(.serialized) struct TransferJourney {
    let stage: Stage

    init() throws { stage = try Stage() }

    /// Publishes a cargo with 40 MiB that nothing can compress: three chunks of its table.
    private func publish(_ harbour: Harbour) async throws -> String {
        let source = try stage.cargo("test/large", script: "sha256sum < data.bin\n", yaml: "files: [main.sh, data.bin]\n")
        var generator = SystemRandomNumberGenerator()
        let words = (0..<(40 << 17)).map { _ in generator.next() }
        try words.withUnsafeBytes { Data($0) }.write(to: URL(fileURLWithPath: source + "/data.bin"))
        let archive = stage.path("large.cargo")
        let pack = try await stage.run("longshore", "pack", source, "--key", "test", "-o", archive)
        try #require(pack.code == 0, "\(pack.stderr)")
        let push = try await stage.run("longshore", "push", archive, "test/large:1.0.0")
        try #require(push.code == 0, "\(push.stderr)")
        return archive
    }

    /// Runs with the loader's trace; what was printed, and whether libcurl was loaded.
    private func traced(_ command: [String]) async throws -> (output: String, curl: Bool) {
        let trace = stage.path("trace-" + UUID().uuidString)
        let finished = try await stage.start(command, environment: ["LD_DEBUG": "files", "LD_DEBUG_OUTPUT": trace]).finish()
        #expect(finished.code == 0, "\(finished.stderr)")
        let folder = URL(fileURLWithPath: trace).deletingLastPathComponent()
        let name = URL(fileURLWithPath: trace).lastPathComponent
        let traces = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasPrefix(name) }
        let lines = try traces.map { try String(contentsOf: folder.appending(path: $0), encoding: .utf8) }.joined()
        return (finished.text, lines.contains("libcurl"))
    }

    @Test func `a large cargo is transferred and runs, and a local run loads no libcurl`() async throws {
        let harbour = try await Harbour.open(stage)
        let archive = try await publish(harbour)
        let local = try await traced(["cargo-run", archive])
        #expect(!local.curl)
        try FileManager.default.removeItem(atPath: stage.path("home"))
        let pulled = try await traced(["cargo-run", "test/large:1.0.0"])
        #expect(pulled.curl)
        #expect(pulled.output == local.output)
        #expect(try FileManager.default.contentsOfDirectory(atPath: stage.path("home/partial")) == [])
        await harbour.close()
    }

    @Test func `many hosts' runs of one uncached cargo share one transfer`() async throws {
        let harbour = try await Harbour.open(stage)
        _ = try await publish(harbour)
        let runs = try (0..<6).map { _ in try stage.start(["cargo-run", "test/large:1.0.0"]) }
        var outputs: Set<String> = []
        for run in runs {
            let finished = await run.finish()
            #expect(finished.code == 0, "\(finished.stderr)")
            outputs.insert(finished.text)
        }
        #expect(outputs.count == 1)
        #expect(try FileManager.default.contentsOfDirectory(atPath: stage.path("home/partial")) == [])
        await harbour.close()
    }

    /// A way to the coordinator that counts what comes back on it, and after `limit` bytes lets nothing more through.
    private func counted(_ harbour: Harbour, limit: Int = .max >> 1) async throws -> (url: String, way: RunningProgram) {
        let script = """
            import socket, sys, threading
            host, port, left = "127.0.0.1", int(sys.argv[1]), int(sys.argv[2])
            lock, came = threading.Lock(), 0
            def copy(one, other, counts):
                global left, came
                while data := one.recv(65536):
                    if counts:
                        with lock:
                            data = data[:left]
                            left -= len(data)
                            came += len(data)
                            print(came, flush=True)
                            if left == 0: threading.Event().wait()
                    other.sendall(data)
                other.shutdown(socket.SHUT_WR)
            server = socket.create_server((host, 0))
            print("port", server.getsockname()[1], flush=True)
            while True:
                one, other = server.accept()[0], socket.create_connection((host, port))
                for pair in ((one, other, False), (other, one, True)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()
            """
        let port = try #require(harbour.url.split(separator: ":").last)
        let way = try stage.start(["/usr/bin/python3", "-c", script, String(port), "\(limit)"])
        var own: Substring?
        _ = await eventually {
            own = lines(way).first?.split(separator: " ").last
            return own != nil
        }
        return ("http://127.0.0.1:\(try #require(own))", way)
    }

    private func lines(_ way: RunningProgram) -> [Substring] {
        String(decoding: way.stdout, as: UTF8.self).split(separator: "\n")
    }

    /// The bytes that have come back on a way.
    private func came(_ way: RunningProgram) -> Int { lines(way).compactMap { Int($0) }.last ?? 0 }

    private func hidden(_ folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasPrefix(".") }
    }

    @Test func `a pull that was killed goes on where it was, with one copy on disk`() async throws {
        let harbour = try await Harbour.open(stage)
        let archive = try await publish(harbour)
        let size = 40 << 20
        let target = stage.path("pulled/large.cargo")
        try stage.write("", to: "pulled/beside")
        let key = ["LONGSHORE_API_KEY": try String(contentsOfFile: harbour.keyFile, encoding: .utf8).trimmed]
        let held = try await counted(harbour, limit: 24 << 20)
        let first = try stage.start(
            ["longshore", "pull", "test/large:1.0.0", "-o", target], environment: key.merging(["LONGSHORE_URL": held.url]) { $1 })
        #expect(await eventually { came(held.way) == 24 << 20 })
        await first.destroy()
        await held.way.destroy()
        #expect(try !hidden(stage.path("pulled")).isEmpty && !FileManager.default.fileExists(atPath: target))
        let open = try await counted(harbour)
        let second = try await stage.start(
            ["longshore", "pull", "test/large:1.0.0", "-o", target], environment: key.merging(["LONGSHORE_URL": open.url]) { $1 }
        ).finish()
        #expect(second.code == 0, "\(second.stderr)")
        // What lay in the sockets when it was killed comes twice: some megabytes.
        #expect(came(open.way) < size - (10 << 20), "\(came(open.way)) bytes came")
        #expect(try await stage.run("/usr/bin/cmp", archive, target).code == 0)
        #expect(try hidden(stage.path("pulled")) == [])
        await open.way.destroy()
        await harbour.close()
    }

    @Test func `pulls of one cargo to one place share a transfer, and a whole one is not fetched again`() async throws {
        let harbour = try await Harbour.open(stage)
        let archive = try await publish(harbour)
        let key = ["LONGSHORE_API_KEY": try String(contentsOfFile: harbour.keyFile, encoding: .utf8).trimmed]
        let (url, way) = try await counted(harbour)
        let target = stage.path("pulled.cargo")
        let pulls = try (0..<4).map { _ in
            try stage.start(
                ["longshore", "pull", "test/large:1.0.0", "-o", target], environment: key.merging(["LONGSHORE_URL": url]) { $1 })
        }
        for pull in pulls {
            let finished = await pull.finish()
            #expect(finished.code == 0, "\(finished.stderr)")
        }
        #expect(came(way) < 42 << 20, "\(came(way)) bytes came")
        #expect(try await stage.run("/usr/bin/cmp", archive, target).code == 0)
        // Damaged where it stands, it is fetched again.
        let file = try FileHandle(forUpdating: URL(fileURLWithPath: target))
        try file.seek(toOffset: 20 << 20)
        try file.write(contentsOf: Data([1, 2, 3, 4, 5, 6, 7, 8]))
        try file.close()
        #expect(try await stage.run("longshore", "pull", "test/large:1.0.0", "-o", target).code == 0)
        #expect(try await stage.run("/usr/bin/cmp", archive, target).code == 0)
        #expect(try hidden(stage.path("")) == [])
        await way.destroy()
        await harbour.close()
    }
}

extension String {
    fileprivate var trimmed: String { trimmingCharacters(in: .whitespacesAndNewlines) }
}
