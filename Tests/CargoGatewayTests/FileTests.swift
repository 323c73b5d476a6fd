import CargoArtifact
import CargoWire
import FoundationEssentials
import NIOHTTP1
import SystemPackage
import Testing

@testable import CargoGateway

/// Files and batches of OpenAI's interface.
@Suite struct FileTests {
    static func form(_ content: String, purpose: String = "batch", name: String = "in.jsonl") -> [UInt8] {
        Array(
            ("--frontier\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n\(purpose)\r\n"
                + "--frontier\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\(name)\"\r\n"
                + "Content-Type: application/octet-stream\r\n\r\n\(content)\r\n--frontier--\r\n").utf8)
    }

    @Test(arguments: [1, 2, 7, 64, 4096]) func `a form is read the same in pieces of any size`(_ size: Int) throws {
        let content = "one\r\n--frontie\r\n\r\n--frontier-\n"
        let bytes = FileTests.form(String(content.dropLast(12)))
        var reader = try #require(MultipartReader(contentType: "multipart/form-data; boundary=\"frontier\""))
        var parts: [String: [UInt8]] = [:]
        var part = ""
        for start in stride(from: 0, to: bytes.count, by: size) {
            for event in try reader.take(Array(bytes[start..<min(start + size, bytes.count)])) {
                switch event {
                case .part(let name, _): part = name
                case .bytes(let more): parts[part, default: []] += more
                case .end: continue
                }
            }
        }
        #expect(reader.isOver && parts["purpose"] == Array("batch".utf8))
        #expect(parts["file"] == Array(content.dropLast(12).utf8))
    }

    @Test(.timeLimit(.minutes(1))) func `a file is its account's alone, and never named by a path`() async throws {
        try await withCoordinator { port in
            let headers = [("Content-Type", "multipart/form-data; boundary=frontier")]
            let made = try await port.call(.POST, "/v1/files", body: Self.form("abc", name: "../../x.jsonl"), headers: headers)
            let id = made["id"].string
            #expect(made.status == 200 && made["bytes"] == .integer(3))
            let content = try await port.get("/v1/files/\(id)/content")
            #expect(
                content.text == "abc" && content.headers.first(name: "Content-Disposition") == "attachment; filename=\"x.jsonl\"")
            let stranger = try await port.stranger()
            for path in ["/v1/files/\(id)", "/v1/files/\(id)/content"] {
                #expect(try await stranger.get(path)["error"]["code"].string == "not_found")
            }
            #expect(try await stranger.call(.DELETE, "/v1/files/\(id)").status == 404)
            for name in ["..%2F..%2Fadmin", "..", "%2e%2e%2fadmin.key"] {
                #expect(try await port.get("/v1/files/\(name)").status == 404)
            }
            let short = Array(Self.form("abc").dropLast(20))
            #expect(try await port.call(.POST, "/v1/files", body: short, headers: headers).status == 400)
            #expect(try await port.call(.POST, "/v1/files", body: Self.form("a", purpose: "x"), headers: headers).status == 400)
            #expect(try await port.call(.DELETE, "/v1/files/\(id)")["deleted"] == .bool(true))
            #expect(try await port.get("/v1/files/\(id)").status == 404)
        }
    }

    @Test(.timeLimit(.minutes(1))) func `a batch goes on after a restart, and is cancelled with what it has`() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "longshore-batch-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let line = { (number: Int) in
            #"{"custom_id":"\#(number)","method":"POST","url":"/v1/chat/completions","body":{"model":"acme/tiny","messages":[]}}"#
        }
        var (id, token) = ("", "")
        try await withServer(on: .init(folder)) { port in
            let host = try await port.servingHost()
            token = host.key
            let file = try await port.call(
                .POST, "/v1/files", body: Self.form((0..<3).map(line).joined(separator: "\n")),
                headers: [("Content-Type", "multipart/form-data; boundary=frontier")])
            let batch = try await port.send(
                .POST, "/v1/batches",
                .object([
                    "input_file_id": file["id"], "endpoint": .string("/v1/chat/completions"), "completion_window": .string("24h"),
                ]))
            id = batch["id"].string
            let claim = try await host.claimRequest()
            _ = try await host.answer(claim, #"{"n":0}"#, type: "application/json")
            _ = try await host.completeAnswer(claim, #"{"n":0}"#, type: "application/json")
        }
        try await withServer(on: .init(folder)) { port in
            let host = port.with(token)
            let claim = try await host.claimRequest()
            _ = try await host.answer(claim, #"{"n":1}"#, type: "application/json")
            _ = try await host.completeAnswer(claim, #"{"n":1}"#, type: "application/json")
            _ = try await host.claimRequest()
            #expect(try await port.stranger().get("/v1/batches/\(id)").status == 404)
            while try await port.get("/jobs/\(claim.id)")["status"].string != "complete" {}
            var batch = try await port.call(.POST, "/v1/batches/\(id)/cancel")
            #expect(batch["status"].string == "cancelling")
            while batch["status"].string != "cancelled" { batch = try await port.get("/v1/batches/\(id)") }
            // What was answered counts as answered, and nothing of what the restart interrupted as failed.
            #expect(batch["request_counts"]["failed"] == .integer(0))
            guard case .integer(let done) = batch["request_counts"]["completed"] else { throw TestFailure("no count") }
            #expect((0...2).contains(done))
            if done > 0 {
                let output = try await port.get("/v1/files/\(batch["output_file_id"].string)/content").text
                #expect(output.split(separator: "\n").count == Int(done) && output.contains(#""custom_id":"0""#))
            }
        }
    }
}
