import CargoArtifact
import CargoGateway
import CargoWire
import FoundationEssentials
import Testing

@testable import CargoCoordinator

#if canImport(Glibc)
    import Glibc
#endif

/// The calls that are answered without a task are answered as the router answers them, and bytes mean one thing.
@Suite("Express lane")
struct ExpressTests {
    /// A connection of our own, to say exactly what goes over it.
    private struct Wire: ~Copyable {
        private let descriptor: Int32
        private var held: [UInt8] = []

        init(_ port: Port) throws {
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var patience = timeval(tv_sec: 60, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(UInt16(port.url.split(separator: ":").last ?? "") ?? 0).bigEndian
            address.sin_addr.s_addr = inet_addr("127.0.0.1")
            let size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let connected = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
            }
            guard connected == 0 else { throw TestFailure("no connection") }
        }

        deinit { close(descriptor) }

        func send(_ text: String) throws {
            let bytes = Array(text.utf8)
            guard Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
                throw TestFailure("nothing can be sent")
            }
        }

        /// The next answer: its status and body. Nil where the server has closed the connection.
        mutating func answer() throws -> (status: Int, head: [String], body: String)? {
            while true {
                let text = String(decoding: held, as: UTF8.self)
                if let end = text.firstRange(of: "\r\n\r\n") {
                    let head = text[..<end.lowerBound].split(separator: "\r\n").map(String.init)
                    let length =
                        head.first { $0.lowercased().hasPrefix("content-length:") }.flatMap { Int($0.dropFirst(16)) } ?? 0
                    let start = text[..<end.upperBound].utf8.count
                    if held.count >= start + length {
                        let body = String(decoding: held[start..<start + length], as: UTF8.self)
                        held.removeFirst(start + length)
                        return (Int(head[0].split(separator: " ")[1]) ?? 0, head, body)
                    }
                }
                var bytes = [UInt8](repeating: 0, count: 65536)
                let count = recv(descriptor, &bytes, bytes.count, 0)
                if count == 0 || count < 0 && errno == ECONNRESET { return nil }
                guard count > 0 else { throw TestFailure("no answer came within a minute: \(text)") }
                held += bytes[..<count]
            }
        }
    }

    private static let job = #"{"cargo":"acme/hello:1.0.0","metadata":{"n":1}}"#

    private func request(
        _ method: String, _ path: String, _ port: Port, _ body: String = "", more: String = "", length: Bool = true
    ) -> String {
        "\(method) \(path) HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(port.key)\r\n\(more)"
            + (length && method != "GET" ? "Content-Length: \(body.utf8.count)\r\n" : "") + "\r\n" + body
    }

    /// A field that the lane does not know: the router answers.
    private static let byRouter = "X-Other: 1\r\n"

    private func jobs(_ port: Port) async throws -> Int {
        guard case .array(let jobs) = try await port.get("/jobs?limit=500")["jobs"] else { return -1 }
        return jobs.count
    }

    @Test("answers to requests that are sent at once come in their order, whoever gives them")
    func order() async throws {
        try await withCoordinator { port in
            try await port.push()
            var wire = try Wire(port)
            let submit = request("POST", "/jobs", port, Self.job)
            let byRouter = request("POST", "/jobs", port, Self.job, more: Self.byRouter)
            let missing = request("GET", "/jobs/0190b0a0-0000-7000-8000-000000000000", port)
            try wire.send(submit + submit + missing + submit + byRouter + submit + missing)
            var statuses: [Int] = []
            for _ in 0..<7 { statuses.append(try #require(try wire.answer()).status) }
            #expect(statuses == [202, 202, 404, 202, 202, 202, 404])
            #expect(try await jobs(port) == 5)
        }
    }

    @Test("a call in pieces, and one behind a body that the server read to its end, is answered")
    func pieces() async throws {
        try await withCoordinator { port in
            try await port.push()
            var wire = try Wire(port)
            let submit = request("POST", "/jobs", port, Self.job)
            let large = request("POST", "/uploads", port, String(repeating: "x", count: 300_000))
            let parts = [
                String(submit.prefix(submit.count - 20)), String(submit.suffix(20)), String(large.prefix(1000)),
                String(large.dropFirst(1000)) + submit,
            ]
            for part in parts {
                try wire.send(part)
            }
            #expect(try #require(try wire.answer()).status == 202)
            #expect(try #require(try wire.answer()).status == 201)
            #expect(try #require(try wire.answer()).status == 202)
            // A head in two pieces is the server's, and the connection with it.
            var other = try Wire(port)
            try other.send(String(submit.prefix(30)))
            try other.send(String(submit.dropFirst(30)) + submit)
            #expect(try #require(try other.answer()).status == 202)
            #expect(try #require(try other.answer()).status == 202)
            #expect(try await jobs(port) == 4)
        }
    }

    @Test("what is refused is refused in the router's words, and what is taken is told in the same fields")
    func sameAnswers() async throws {
        try await withCoordinator { port in
            try await port.push()
            let stranger = try await port.stranger()
            var wire = try Wire(port)
            func both(_ path: String, _ port: Port, _ body: String, more: String = "") throws -> [(
                status: Int, head: [String], body: String
            )] {
                try ["", Self.byRouter].map { extra in
                    try wire.send(request("POST", path, port, body, more: more + extra))
                    return try #require(try wire.answer())
                }
            }
            for (path, caller, body, status) in [
                ("/jobs", port, "{", 400), ("/jobs", port, #"{"cargo":"acme/hello:1.0.0","tier":9}"#, 422),
                ("/jobs", port, #"{"cargo":"acme/none:1.0.0"}"#, 422), ("/jobs", port.with("nobody"), Self.job, 401),
                ("/jobs", port, #"{"cargo":"acme/hello:1.0.0","command":["sh"]}"#, 422),
                ("/jobs", port, #"{"cargo":"acme/hello:1.0.0","env":{"LD_PRELOAD":"x"}}"#, 422),
                ("/hosts/next-job", stranger, "{}", 422), ("/hosts/next-job", port, #"{"wait":-1}"#, 422),
                ("/jobs/0190b0a0-0000-7000-8000-000000000000/complete", port, "{}", 400),
            ] {
                let answers = try both(path, caller, body)
                #expect(answers[0].status == status && answers[1].status == status, "\(path) \(body) \(answers)")
                #expect(answers[0].body == answers[1].body)
            }
            let taken = try both("/jobs", port, Self.job)
            func names(_ head: [String]) -> Set<String> { Set(head.dropFirst().map { $0.prefix { $0 != ":" }.lowercased() }) }
            #expect(names(taken[0].head) == names(taken[1].head))
            let fields = try taken.map { try JSONDecoder().decode([String: JSONValueKind].self, from: Data($0.body.utf8)) }
            #expect(fields[0] == fields[1])
            // The same key once more, through either, is the same job; with another body it is refused.
            let keyed = try both("/jobs", port, Self.job, more: "Idempotency-Key: k\r\n")
            #expect(keyed.map(\.status) == [202, 202])
            let ids = try keyed.map { try JSONDecoder().decode(CargoWire.Job.self, from: Data($0.body.utf8)).id }
            #expect(ids[0] == ids[1])
            #expect(
                try both("/jobs", port, #"{"cargo":"acme/hello:1.0.0"}"#, more: "Idempotency-Key: k\r\n").map(\.status) == [
                    409, 409,
                ])
        }
    }

    /// Whether a field is there, whatever it says.
    private struct JSONValueKind: Decodable, Equatable {
        init(from decoder: any Decoder) throws { _ = try decoder.singleValueContainer() }
    }

    @Test(
        "where a request ends is never read in two ways: a hidden call is not heard",
        arguments: [
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            "Content-Length: 4\r\nContent-Length: 0\r\n", "Content-Length: 4, 0\r\n", "Content-Length: +4\r\n",
            "Content-Length : 4\r\n", "Content-Length: 4\r\n Transfer-Encoding: chunked\r\n", "Content-Length: 4\u{0B}\r\n",
            "Content-Length: 99999999999999999999\r\n", "Content-Length: 4\n",
        ])
    func smuggling(_ fields: String) async throws {
        try await withCoordinator { port in
            try await port.push()
            var wire = try Wire(port)
            let hidden = request("POST", "/jobs", port, Self.job)
            try wire.send(request("POST", "/jobs", port, "0\r\n\r\n" + hidden, more: fields, length: false))
            while let answer = try wire.answer() {
                #expect(answer.status >= 400)
                if answer.head.contains(where: { $0.lowercased() == "connection: close" }) || answer.status == 400 { break }
            }
            #expect(try await jobs(port) == 0)
        }
    }

    @Test(
        "only a head that can be read in one way is plain",
        arguments: [
            ("POST /jobs HTTP/1.1\r\nHost: x\r\n\r\n", true),
            ("POST /jobs HTTP/1.1\r\nhost: x\r\nCONTENT-length: 12\r\n\r\n", true),
            ("GET /jobs/1?wait=1 HTTP/1.1\r\nHost: x\r\nX-Any: y z\r\n\r\n", true),
            ("POST /jobs HTTP/1.0\r\nHost: x\r\n\r\n", false),
            ("POST /jobs HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", true),
            ("POST /jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false),
            ("POST /jobs HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n", false),
            ("POST /jobs HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", false), ("POST /jobs HTTP/1.1\r\n\r\n", false),
            ("POST /jobs HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", false), ("CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", false),
            ("POST  /jobs HTTP/1.1\r\nHost: x\r\n\r\n", false),
            ("POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\n", false),
            ("POST /jobs HTTP/1.1\nHost: x\n\n", false), ("POST /jobs HTTP/1.1\r\nHost: x\r\n", false), ("", false),
            ("POST /jobs HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", false), ("POST /jobs HTTP/1.1\r\nHost: é\r\n\r\n", false),
        ])
    func heads(_ text: String, isPlain: Bool) {
        let head = Array(text.utf8).withUnsafeBufferPointer { ExpressHead($0) }
        #expect((head != nil) == isPlain, "\(text)")
        if let head { #expect(head.headLength == text.utf8.count) }
    }

    @Test("a head says its method, path, key and length")
    func parts() throws {
        let text =
            "POST /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ls_1\r\nIdempotency-Key: a b\r\nContent-Length: 7\r\n\r\n{}"
        let bytes = Array(text.utf8)
        let head = try #require(bytes.withUnsafeBufferPointer { ExpressHead($0) })
        func part(_ range: Range<Int>?) -> String? { range.map { String(decoding: bytes[$0], as: UTF8.self) } }
        #expect(part(head.method) == "POST" && part(head.target) == "/jobs" && part(head.token) == "ls_1")
        #expect(part(head.idempotencyKey) == "a b" && head.bodyLength == 7 && head.isWhole)
    }
}
