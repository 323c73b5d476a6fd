import CargoEndpoints
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
}
