import CargoArtifact
import CargoEndpoints
import CargoRunner
import CargoStore
import Glibc
import SystemPackage
import Testing

@testable import CargoEngines

/// Engines that mean harm, or are broken: each ends as a clear error within its time.
@Suite(.serialized) struct HostileEngineTests {
    /// A server that answers `/health` well and then does as `body` says with the connection `c`.
    private func script(_ body: String) -> String {
        """
        import socket, sys, os, time, threading
        s = socket.socket(socket.AF_UNIX)
        s.bind(sys.argv[1])
        s.listen(64)
        def serve(c):
            head = b""
            while b"\\r\\n\\r\\n" not in head:
                more = c.recv(65536)
                if not more: return
                head += more
            if head.startswith(b"GET /health"):
                c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\n{}")
                c.close()
                return
            try:
        \(body.split(separator: "\n").map { "        " + $0 }.joined(separator: "\n"))
            except OSError:
                pass
            c.close()
        while True:
            c, _ = s.accept()
            threading.Thread(target=serve, args=(c,), daemon=True).start()
        """
    }

    private func failure(of engine: String, timeout: String = "5s") async throws -> (failure: ModelFailure?, seconds: Double) {
        let bench = try EngineBench()
        try bench.addScript(engine, timeout: timeout)
        try bench.addChat()
        let begin = ContinuousClock.now
        let failure = try await bench.withHouse { house in
            do {
                _ = try await house.chat("longshore/tiny-chat")
                return nil as ModelFailure?
            } catch let failure as ModelFailure {
                return failure
            }
        }
        return (failure, (ContinuousClock.now - begin) / .seconds(1))
    }

    @Test func `never ready`() async throws {
        let (failure, seconds) = try await failure(of: "import time\nwhile True: time.sleep(60)\n", timeout: "1s")
        #expect(failure?.code == .unavailable)
        #expect(failure?.message.contains("not ready within 1.0 s") == true)
        #expect(seconds < 15)
    }

    @Test func `ends at once`() async throws {
        let (failure, _) = try await failure(of: "import sys\nsys.exit(3)\n")
        #expect(failure?.message.contains("exit code 3") == true)
    }

    @Test func `answers garbage instead of being ready`() async throws {
        let engine = """
            import socket, sys
            s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(8)
            while True:
                c, _ = s.accept()
                c.sendall(b"\\x00\\xff\\xfe garbage\\r\\n\\r\\n" * 100)
                c.close()
            """
        let (failure, seconds) = try await failure(of: engine, timeout: "60s")
        #expect(failure?.code == .unavailable)
        #expect(seconds < 15)
    }

    @Test func `sends a head without an end`() async throws {
        let (failure, seconds) = try await failure(
            of: script("c.sendall(b'HTTP/1.1 200 OK\\r\\n')\nwhile True: c.sendall(b'X-Padding: ' + b'a' * 65536 + b'\\r\\n')"))
        #expect(failure?.code == .badAnswer)
        #expect(seconds < 15)
    }

    @Test func `floods an answer without an end`() async throws {
        let (failure, seconds) = try await failure(
            of: script(
                "c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n\\r\\n')\nwhile True: c.sendall(b'x' * 65536)"
            ))
        #expect(failure?.code == .badAnswer)
        #expect(seconds < 20)
    }

    @Test func `is silent in the middle of an answer`() async throws {
        let (failure, seconds) = try await failure(
            of: script(
                "c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n\\r\\ndata: {')\ntime.sleep(600)"))
        #expect(failure?.code == .timedOut)
        #expect(seconds < 20)
    }

    @Test func `answers with something that is no chat`() async throws {
        let (failure, _) = try await failure(
            of: script("c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Type: text/html\\r\\nContent-Length: 4\\r\\n\\r\\n<b/>')"))
        #expect(failure?.code == .badAnswer)
    }

    @Test func `puts a link to a socket of the host where it should listen`() async throws {
        let (failure, _) = try await failure(
            of: "import os, sys, time\nos.symlink('/run/docker.sock', sys.argv[1])\ntime.sleep(600)\n", timeout: "60s")
        #expect(failure?.message.contains("something else than a socket") == true)
    }

    @Test func `what an engine says never reaches whoever asks`() async throws {
        let (failure, _) = try await failure(of: "import sys\nprint('secret of the host', file=sys.stderr)\nsys.exit(1)\n")
        #expect(failure != nil)
        #expect(failure?.message.contains("secret") == false)
    }

    // MARK: Hostile models

    /// What a model's file may say so that a careless reader asks for all memory, or reads for ever.
    private static func hostile() -> [(name: String, weights: [UInt8])] {
        func number<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] { withUnsafeBytes(of: value.littleEndian, Array.init) }
        func head(tensors: UInt64, entries: UInt64) -> [UInt8] {
            Array("GGUF".utf8) + number(UInt32(3)) + number(tensors) + number(entries)
        }
        let key = number(UInt64(1)) + Array("k".utf8)
        let rest = [UInt8](repeating: 0, count: 4096)
        return [
            ("counts all tensors", head(tensors: .max, entries: 0) + rest),
            ("counts all metadata", head(tensors: 0, entries: .max / 2) + rest),
            ("has a text of 10 GB", head(tensors: 0, entries: 1) + key + number(UInt32(8)) + number(UInt64(10 << 30)) + rest),
            (
                "has a list of 2^60 texts",
                head(tensors: 0, entries: 1) + key + number(UInt32(9)) + number(UInt32(8)) + number(UInt64(1 << 60)) + rest
            ),
            ("is empty", []),
        ]
    }

    @Test(arguments: HostileEngineTests.hostile().indices)
    func `a model with a hostile header is refused in time, and its engine never sees it`(index: Int) async throws {
        let (name, weights) = HostileEngineTests.hostile()[index]
        let bench = try EngineBench()
        try bench.addLlama()
        let cargo = try bench.addHostile(weights: weights)
        let begin = ContinuousClock.now
        try await bench.withHouse(
            onChange: { change in if case .loading = change { Issue.record("the engine was started") } }
        ) { house in
            await #expect("\(name)") {
                _ = try await house.chat("test/hostile")
            } throws: {
                guard let failure = $0 as? ModelFailure else { return false }
                return failure.code == .failed && !failure.retryable && failure.message.contains("gguf-header")
            }
        }
        var request = RunRequest(
            cargo: cargo, jobID: "0198c0de-0000-7000-8000-000000000000", output: bench.root.appending("out"))
        request.arguments = ["hello"]
        await #expect {
            _ = try await EngineRunner(store: bench.store, list: bench.list).run(request) { _ in }
        } throws: {
            ($0 as? Refusal)?.rule == "gguf-header"
        }
        #expect(ContinuousClock.now - begin < .seconds(20))
    }

    @Test func `a header of 10 GB is given up after a bounded part of it`() async throws {
        let bench = try EngineBench()
        try bench.addLlama()
        // A list of as many empty texts as a sparse file of 10 GB holds.
        let path = bench.root.appending("sparse.gguf")
        let file = try FileDescriptor.open(path, .readWrite, options: [.create], permissions: .ownerReadWrite)
        func number<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] { withUnsafeBytes(of: value.littleEndian, Array.init) }
        var head = Array("GGUF".utf8) + number(UInt32(3)) + number(UInt64(0)) + number(UInt64(1))
        head += number(UInt64(1)) + Array("k".utf8) + number(UInt32(9)) + number(UInt32(8)) + number(UInt64(1_300_000_000))
        _ = try file.closeAfter {
            try file.writeAll(head)
            guard ftruncate(file.rawValue, 10 << 30) == 0 else { throw Errno(rawValue: errno) }
        }
        let stored = try bench.addHostile(weights: head)
        let cargo = StoredCargo(
            digest: Digest(of: [UInt8](0...9)), manifest: stored.manifest, config: stored.config,
            parts: [.file(path: "model.gguf", blob: path)])
        var request = RunRequest(
            cargo: cargo, jobID: "0198c0de-0000-7000-8000-000000000000", output: bench.root.appending("out"))
        request.arguments = ["hello"]
        let begin = ContinuousClock.now
        await #expect {
            _ = try await EngineRunner(store: bench.store, list: bench.list).run(request) { _ in }
        } throws: {
            ($0 as? Refusal)?.rule == "gguf-header" && "\($0)".contains("longer than any real one")
        }
        #expect(ContinuousClock.now - begin < .seconds(60))
    }

    @Test func `a model whose header is in order and whose weights no engine can load is an error that says so`() async throws {
        let bench = try EngineBench()
        try bench.addLlama()
        // Nothing but the architecture: the header is whole, the model is not.
        func number<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] { withUnsafeBytes(of: value.littleEndian, Array.init) }
        func text(_ text: String) -> [UInt8] { number(UInt64(text.utf8.count)) + Array(text.utf8) }
        let weights =
            Array("GGUF".utf8) + number(UInt32(3)) + number(UInt64(0)) + number(UInt64(1))
            + text("general.architecture") + number(UInt32(8)) + text("llama")
        _ = try bench.addHostile(weights: weights)
        try await bench.withHouse { house in
            await #expect {
                _ = try await house.chat("test/hostile")
            } throws: {
                guard let failure = $0 as? ModelFailure else { return false }
                return failure.code == .unavailable && failure.message.contains("could not be loaded")
            }
        }
    }
}
