import CargoArtifact
import CargoEndpoints
import CargoWire
import FoundationEssentials
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import CargoEngines

/// The socket by which a chain asks models, against whoever is on its other end.
@Suite(.serialized) struct ModelDoorTests {
    /// Says what it was asked, and streams where it is asked to.
    private struct Echo: ModelService {
        let asked = Asked()

        final class Asked: Sendable {
            let state = Mutex((requests: [String](), accounts: Set<String>(), cancelled: 0))
        }

        func models() async -> [ServedModel] { [] }

        func answer(
            _ request: ModelRequest, account: String,
            head: @Sendable (AnswerHead) async throws -> Void, body: @Sendable ([UInt8]) async throws -> Void
        ) async throws -> ModelUsage? {
            asked.state.withLock {
                $0.requests.append("\(request.operation.rawValue) \(request.model)")
                $0.accounts.insert(account)
            }
            guard request.stream else {
                try await head(AnswerHead(status: 200, contentType: "application/json"))
                try await body(Array(#"{"ok":true}"#.utf8))
                return nil
            }
            do {
                try await head(AnswerHead(status: 200, contentType: "text/event-stream"))
                while true {
                    try await body(Array("data: {}\n\n".utf8))
                    try await Task.sleep(for: .milliseconds(1))
                }
            } catch {
                asked.state.withLock { $0.cancelled += 1 }
                throw ModelFailure(.failed, message: "over")
            }
        }
    }

    /// A door in a folder of its own while `body` runs, and the path of its socket.
    private func withDoor(admits: Bool = true, _ body: @escaping @Sendable (String, Echo.Asked) async throws -> Void) async throws
    {
        var template = Array("/tmp/longshore-door-XXXXXX".utf8CString)
        _ = mkdtemp(&template)
        let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { _ = system("rm -rf '\(folder)'") }
        let path = folder + "/models.sock"
        let line = try listening(path)
        let echo = Echo()
        let door = ModelDoor(models: ["acme/one", "two"], service: echo, account: "alice", admits: { $0 == getpid() && admits })
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await door.run(on: line) }
            try await body(path, echo.asked)
            group.cancelAll()
        }
    }

    private func address(_ path: String) -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return address
    }

    private func listening(_ path: String) throws -> CInt {
        let line = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        var address = address(path)
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(line, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard bound == 0, listen(line, 16) == 0 else { throw Errno(rawValue: errno) }
        return line
    }

    private func connect(_ path: String) throws -> CInt {
        let line = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = address(path)
        let joined = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(line, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard joined == 0 else { throw Errno(rawValue: errno) }
        // Nothing here waits for longer than that.
        var patience = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(line, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(line, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        return line
    }

    /// Everything that is answered to these bytes until the door closes, at most `limit` bytes.
    @concurrent private func ask(_ path: String, _ bytes: [UInt8], limit: Int = 1 << 16) async throws -> String {
        let line = try connect(path)
        defer { close(line) }
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes { send(line, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { break }
            sent += count
        }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while answer.count < limit {
            let count = recv(line, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            answer += buffer[..<count]
        }
        return String(decoding: answer, as: UTF8.self)
    }

    private func post(_ path: String, _ body: String) -> [UInt8] {
        Array("POST \(path) HTTP/1.1\r\nHost: m\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)".utf8)
    }

    @Test func `what is asked goes on for the chain's account, and what is not named is not found`() async throws {
        try await withDoor { path, asked in
            #expect(try await ask(path, post("/v1/chat/completions", #"{"model":"two"}"#)).contains(#"{"ok":true}"#))
            #expect(try await ask(path, post("/v1/embeddings", #"{"model":"acme/one"}"#)).hasPrefix("HTTP/1.1 200 OK"))
            for name in ["acme/one", "acme%2Fone"] {
                #expect(try await ask(path, post("/v2/models/\(name)/infer", "{}")).hasPrefix("HTTP/1.1 200 OK"))
            }
            let list = try await ask(path, Array("GET /v1/models HTTP/1.1\r\nHost: m\r\n\r\n".utf8))
            #expect(list.contains(#"{"id":"acme/one","object":"model"},{"id":"two","object":"model"}"#))
            for (call, status) in [
                (post("/v1/chat/completions", #"{"model":"three"}"#), 404), (post("/v1/chat/completions", "{}"), 400),
                (post("/v1/chat/completions", "[]"), 400), (post("/v1/chat/completions", "{"), 400),
                (post("/v2/models/three/infer", "{}"), 404), (post("/admin", #"{"model":"two"}"#), 404),
                (Array("DELETE /v1/models HTTP/1.1\r\nHost: m\r\n\r\n".utf8), 404),
            ] {
                #expect(try await ask(path, call).hasPrefix("HTTP/1.1 \(status) "))
            }
            let seen = asked.state.withLock { ($0.requests, $0.accounts) }
            #expect(seen.0 == ["chat/completions two", "embeddings acme/one", "infer acme/one", "infer acme/one"])
            #expect(seen.1 == ["alice"])
        }
    }

    @Test func `who is no process of the job gets not a byte`() async throws {
        try await withDoor(admits: false) { path, asked in
            let said = try await ask(path, post("/v1/chat/completions", #"{"model":"two"}"#))
            #expect(said.isEmpty)
            #expect(asked.state.withLock { $0.requests.isEmpty })
        }
    }

    @Test func `whoever hangs up ends the model's work`() async throws {
        try await withDoor { path, asked in
            let some = try await ask(path, post("/v1/chat/completions", #"{"model":"two","stream":true}"#), limit: 100)
            #expect(some.contains("data: {}"))
            while asked.state.withLock({ $0.cancelled }) == 0 { try await Task.sleep(for: .milliseconds(1)) }
        }
    }

    @Test func `garbage, heads and bodies without an end, and floods of connections are dropped; a sound request is answered`()
        async throws
    {
        try await withDoor { path, asked in
            _ = try await ask(path, (0..<100_000).map { UInt8(truncatingIfNeeded: $0) })
            _ = try await ask(path, Array("GET / HTTP/1.1\r\n".utf8) + [UInt8](repeating: 97, count: 4 << 20))
            let huge = Array("POST /v1/chat/completions HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n".utf8)
            let chunk = Array("100000\r\n".utf8) + [UInt8](repeating: 32, count: 1 << 20) + [13, 10]
            _ = try await ask(path, huge + Array(repeatElement(chunk, count: 34).joined()))
            // Connections that say nothing hold their places; they lose them again, and the next one is answered.
            var silent: [CInt] = []
            defer { for line in silent { close(line) } }
            for _ in 0..<ModelDoor.mostConnections { silent.append(try connect(path)) }
            let late = Task { try await ask(path, post("/v1/chat/completions", #"{"model":"two"}"#)) }
            for line in silent { close(line) }
            silent = []
            #expect(try await late.value.contains(#"{"ok":true}"#))
            #expect(asked.state.withLock { $0.requests } == ["chat/completions two"])
        }
    }
}
