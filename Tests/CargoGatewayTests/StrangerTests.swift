import CargoArtifact
import CargoWire
import FoundationEssentials
import NIOHTTP1
import Testing

/// A key of another account on every operation of `/openapi.json`: what belongs to others is answered as if it had never been,
/// in the same words and in the same time (docs/rules.md 17).
@Suite struct StrangerTests {
    /// Everything of one account that a path can name, and words that must never reach another.
    private struct Estate {
        /// By the parameter's name in the document.
        var parameters: [String: String]
        /// Of the same form, and never made.
        var never: [String: String]
        var secrets: [String]
        /// Bodies for operations that look at theirs before they look at what the path names, or that name others' things.
        var bodies: [String: JSONValue]
    }

    private struct Operation {
        var method: HTTPMethod
        var path: String
        var parameters: [String] {
            path.split(separator: "/").filter { $0.hasPrefix("{") }.map { String($0.dropFirst().dropLast()) }
        }

        func path(_ values: [String: String]) throws -> String {
            try path.split(separator: "/").reduce("") { text, part in
                guard part.hasPrefix("{") else { return text + "/" + part }
                let name = String(part.dropFirst().dropLast())
                guard let value = values[name] else {
                    throw TestFailure("\(path): this test does not know what '{\(name)}' names; add it to both estates")
                }
                return text + "/" + value
            }
        }
    }

    /// Operations that are open to everyone, or whose path is the secret itself.
    private static let open: Set<String> = [
        "GET /healthz", "GET /readyz", "GET /openapi.json", "POST /hosts/pairings", "POST /hosts/pairings/{code}/answer",
    ]

    private func operations(_ port: Port) async throws -> [Operation] {
        guard case .object(let paths) = try await port.get("/openapi.json")["paths"] else { return [] }
        return paths.sorted { $0.key < $1.key }.flatMap { path, methods -> [Operation] in
            guard case .object(let methods) = methods else { return [] }
            return methods.keys.filter { $0 != "servers" }.sorted().map {
                Operation(method: HTTPMethod(rawValue: $0.uppercased()), path: path)
            }
        }
    }

    private func account(_ port: Port, _ name: String) async throws -> Port {
        let scopes = ["read", "write", "host", "publish"].map(JSONValue.string)
        let reply = try await port.send(.POST, "/admin/keys", .object(["account": .string(name), "scopes": .array(scopes)]))
        return port.with(reply["key"].string)
    }

    /// Anna's group with a closed host that serves a model, jobs that wait, run and have ended, files, batches, shares, keys.
    private func settle(_ anna: Port, _ port: Port) async throws -> Estate {
        let group = try await anna.send(.POST, "/groups", .object(["name": .string("secret-circle")]))["id"].string
        let invite = try await anna.send(.POST, "/groups/\(group)/invites", .object([:]))["invite"].string
        let made = try await anna.send(
            .POST, "/hosts", .object(["name": .string("secret-gpu"), "groups": .array([.string(group)])]))
        let (host, gpu) = (made["id"].string, anna.with(made["token"].string))
        let model: JSONValue = .object([
            "id": .string("secret-model"), "source": .string("endpoint"), "operations": .array([.string("chat/completions")]),
            "presence": .string("loaded"), "active": .integer(0), "slots": .integer(4),
        ])
        let capabilities: JSONValue = .object([
            "kinds": .array([.string("process")]), "region": .string("secret-region"), "models": .array([model]),
        ])
        func claim() async throws -> (String, JSONValue) {
            let reply = try await gpu.send(
                .POST, "/hosts/next-job", .object(["wait": .integer(0), "capabilities": capabilities]))
            return (reply["job"]["id"].string, reply["lease"])
        }
        _ = try await claim()
        _ = try await gpu.send(.POST, "/hosts/heartbeat", .object(["speed": .object(["secret-model": .number(1)])]))
        let job = try await anna.submit(["metadata": .string("secret-metadata")])
        let (claimed, lease) = try await claim()
        guard claimed == job else { throw TestFailure("the host did not get the job") }
        _ = try await gpu.beat(job, lease, log: "secret-log\n")
        let share = try await anna.send(.POST, "/jobs/\(job)/share", .object([:]))["url"].string
        let waiting = try await anna.submit(["constraints": .object(["group": .string(group)])])
        let upload = try await anna.call(.POST, "/uploads", body: [1, 2, 3])["id"].string
        let key = try await anna.send(
            .POST, "/keys", .object(["name": .string("secret-key"), "scopes": .array([.string("read")])]))
        let form =
            "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\n"
            + "Content-Disposition: form-data; name=\"file\"; filename=\"secret-file.jsonl\"\r\n\r\n"
            + #"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"secret-model","messages":[]}}"#
            + "\r\n--x--\r\n"
        let file = try await anna.call(
            .POST, "/v1/files", body: Array(form.utf8), headers: [("Content-Type", "multipart/form-data; boundary=x")])["id"]
            .string
        let batch = try await anna.send(
            .POST, "/v1/batches",
            .object([
                "input_file_id": .string(file), "endpoint": .string("/v1/chat/completions"), "completion_window": .string("24h"),
            ]))["id"].string
        guard !group.isEmpty, !file.isEmpty, !batch.isEmpty, !upload.isEmpty, !key["id"].string.isEmpty else {
            throw TestFailure("the estate is not whole: \(group) \(file) \(batch) \(upload) \(key)")
        }
        let uuid = "01a1fb7b-0000-7000-8000-000000000000"
        let body: JSONValue = .object(["model": .string("secret-model"), "messages": .array([])])
        let text: JSONValue = .object(["model": .string("secret-model"), "input_text": .string("x")])
        return Estate(
            parameters: [
                "id": job, "host": host, "group": group, "member": "anna", "key": key["id"].string, "file": file, "batch": batch,
                "path": "secret-model", "task": "instruct", "code": "ABCDEF", "webhook": "msg_" + job, "publisher": "acme",
                "name": "hello", "token": String(repeating: "0", count: 64),
                "digest": "sha256:" + String(repeating: "0", count: 64),
                "reference": "9.9.9", "upload": uuid, "job": job, "attempt": "1", "report": "complete",
                "change": "delete",
            ],
            never: [
                "id": uuid, "host": "host_" + String(repeating: "0", count: 32), "group": "grp_00", "member": "nobody",
                "key": "key_0000000000000000", "file": "file-" + String(repeating: "0", count: file.utf8.count - 5),
                "batch": "batch_" + String(repeating: "0", count: batch.utf8.count - 6), "path": "never-model",
                "task": "instruct", "code": "ABCDEF", "webhook": "msg_" + uuid, "publisher": "acme", "name": "hello",
                "token": String(repeating: "0", count: 64), "digest": "sha256:" + String(repeating: "0", count: 64),
                "reference": "9.9.9", "upload": uuid, "job": uuid, "attempt": "1", "report": "complete",
                "change": "delete",
            ],
            secrets: [
                group, host, job, waiting, upload, file, batch, invite, share, key["id"].string, "secret-", gpu.key,
            ],
            bodies: [
                "PATCH /hosts/{host}": .object(["open": .bool(true)]),
                "POST /v1/chat/completions": body, "POST /v1/completions": text, "POST /v1/embeddings": text,
                "POST /v1/images/generations": text,
                "POST /v1/responses": .object(["model": .string("secret-model"), "input": .string("x")]),
                "POST /v1/messages": .object([
                    "model": .string("secret-model"), "max_tokens": .integer(1),
                    "messages": .array([.object(["role": .string("user"), "content": .string("x")])]),
                ]),
                "POST /v1/messages/count_tokens": .object([
                    "model": .string("secret-model"),
                    "messages": .array([.object(["role": .string("user"), "content": .string("x")])]),
                ]),
                "POST /run/model": text, "POST /run/{path}": .object(["input_text": .string("x")]),
                "POST /v1/batches": .object([
                    "input_file_id": .string(file), "endpoint": .string("/v1/chat/completions"),
                    "completion_window": .string("24h"),
                ]),
                "POST /jobs": .object([
                    "cargo": .string("acme/hello:1.0.0"), "constraints": .object(["group": .string(group)]),
                ]),
                "POST /jobs/{id}/heartbeat": .object(["lease": lease]),
                "POST /jobs/{id}/complete": .object(["lease": lease, "exit_code": .integer(0)]),
                "POST /jobs/{id}/fail": .object([
                    "lease": lease, "error": .object(["code": .string("x"), "message": .string("x")]),
                ]),
                "PUT /jobs/{id}/outputs/{path}": lease, "GET /jobs/{id}/files/{path}": lease,
                "POST /groups/join": .object(["invite": .string("never")]),
            ])
    }

    private func ask(_ port: Port, _ operation: Operation, _ path: String, _ estate: Estate) async throws -> Reply {
        let name = "\(operation.method.rawValue) \(operation.path)"
        var headers: [(String, String)] = []
        var body: [UInt8]?
        if let value = estate.bodies[name] {
            let bytes = Array(try JSONEncoder().encode(value))
            if operation.path.contains("{path}"), operation.path.hasPrefix("/jobs/") {
                headers.append(("Longshore-Lease", String(decoding: bytes, as: UTF8.self)))
            } else {
                body = bytes
            }
        } else if operation.method != .GET, operation.method != .HEAD {
            body = Array("{}".utf8)
        }
        return try await port.call(operation.method, path, body: body, headers: headers)
    }

    @Test(.timeLimit(.minutes(3))) func onEveryOperationWhatBelongsToOthersIsAsIfItHadNeverBeen() async throws {
        try await withCoordinator { port in
            try await port.push()
            let (anna, eve) = (try await account(port, "anna"), try await account(port, "eve"))
            let estate = try await settle(anna, port)
            let operations = try await operations(port)
            #expect(operations.count > 90)
            for operation in operations where !Self.open.contains("\(operation.method.rawValue) \(operation.path)") {
                let name = "\(operation.method.rawValue) \(operation.path)"
                let path = try operation.path(estate.parameters)
                let reply = try await ask(eve, operation, path, estate)
                #expect(reply.status < 500, "\(name): \(reply.status) \(reply.text)")
                // Nothing that it did not say itself.
                var said = path + String(decoding: try JSONEncoder().encode(estate.bodies[name] ?? .null), as: UTF8.self)
                said += reply.status < 300 ? "" : "secret-model"
                for secret in estate.secrets where !said.contains(secret) {
                    #expect(!reply.text.contains(secret), "\(name) shows '\(secret)': \(reply.text)")
                    for header in reply.headers { #expect(!header.value.contains(secret), "\(name): \(header)") }
                }
                let never = try operation.path(estate.never)
                guard path != never else { continue }
                #expect((400..<500).contains(reply.status), "\(name): \(reply.status) \(reply.text)")
                let other = try await ask(eve, operation, never, estate)
                var expected = other.text
                for (name, value) in estate.never {
                    if let own = estate.parameters[name] { expected = expected.replacing(value, with: own) }
                }
                #expect(reply.status == other.status && reply.text == expected, "\(name): '\(reply.text)' is not '\(expected)'")
                // Nor without a key. What opens by a proof or a link of its own does not exist to anyone else.
                let isClosed = ["/peer/", "/shared/"].contains { operation.path.hasPrefix($0) }
                #expect(
                    try await ask(port.with("ls_never"), operation, path, estate).status == (isClosed ? 404 : 401), "\(name)")
            }
            // And nothing of it changed.
            #expect(try await anna.get("/jobs/\(estate.parameters["id"] ?? "")")["status"].string == "processing")
            #expect(try await anna.get("/groups/\(estate.parameters["group"] ?? "")").status == 200)
            #expect(try await anna.get("/v1/files/\(estate.parameters["file"] ?? "")").status == 200)
        }
    }

    @Test func aModelOfOthersIsUnknownWhoeverNamesIt() async throws {
        try await withCoordinator { port in
            try await port.push()
            let (anna, eve) = (try await account(port, "anna"), try await account(port, "eve"))
            let estate = try await settle(anna, port)
            let models = ["/v1/models", "/api/v1/models", "/models"]
            for path in models {
                #expect(try await anna.get(path).text.contains("secret-model"), "\(path)")
                #expect(try await !eve.get(path).text.contains("secret-model"), "\(path)")
            }
            for name in ["POST /v1/chat/completions", "POST /v1/messages", "POST /run/model"] {
                guard let body = estate.bodies[name] else { continue }
                let path = String(name.dropFirst(5))
                let reply = try await eve.send(.POST, path, body)
                var bytes = String(decoding: try JSONEncoder().encode(body), as: UTF8.self)
                bytes = bytes.replacing("secret-model", with: "absent-model")
                let other = try await eve.call(.POST, path, body: Array(bytes.utf8))
                #expect(reply.status == 404 && other.status == 404, "\(name): \(reply.text)")
                #expect(reply.text == other.text.replacing("absent-model", with: "secret-model"), "\(name)")
            }
        }
    }

    /// Medians of many calls in turns: what exists and what does not take the same time, as far as a client can tell.
    @Test(.timeLimit(.minutes(2))) func howLongAnAnswerTakesSaysNothing() async throws {
        try await withCoordinator { port in
            try await port.push()
            let (anna, eve) = (try await account(port, "anna"), try await account(port, "eve"))
            let estate = try await settle(anna, port)
            for path in ["/jobs/{id}?wait=20s", "/hosts/{host}", "/groups/{group}", "/v1/files/{file}", "/v1/models/{path}"] {
                func fill(_ values: [String: String]) -> String {
                    values.reduce(path) { $0.replacing("{\($1.key)}", with: $1.value) }
                }
                let paths = [fill(estate.parameters), fill(estate.never)]
                var times: [[Double]] = [[], []]
                for round in 0..<60 {
                    for kind in [round % 2, 1 - round % 2] {
                        let start = ContinuousClock.now
                        #expect(try await eve.get(paths[kind]).status == 404, "\(path)")
                        times[kind].append((ContinuousClock.now - start) / .milliseconds(1))
                    }
                }
                let (there, never) = (times[0].sorted()[30], times[1].sorted()[30])
                #expect(abs(there - never) < max(1, min(there, never)), "\(path): \(there) ms and \(never) ms")
            }
        }
    }
}
