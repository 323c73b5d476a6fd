import CargoArtifact
import CargoEndpoints
import CargoWire
import Glibc
import Synchronization
import SystemPackage
import Testing

/// OpenAI's own shape passes through, and nothing else does.
@Suite struct ModelServerTests {
    @Test func aStreamPassesThroughWhereverItIsCut() async throws {
        let token = #"{"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Grüße 🌊"}}]}"#
        let usage = #"{"id":"c1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#
        let stream = Array(": ping\r\n\r\ndata: \(token)\r\n\r\ndata:\(token)\n\ndata: \(usage)\n\ndata: [DONE]\n\n".utf8)
        for size in [1, 2, 3, 7, 64, stream.count] {
            try await ScriptedServer.run { exchange in
                try await exchange.begin(type: "text/event-stream")
                for start in stride(from: 0, to: stream.count, by: size) {
                    try await exchange.chunk(stream[start..<min(start + size, stream.count)])
                }
                try await exchange.end()
            } body: { port in
                let answer = Answer()
                let used = try await ModelServer(.tcp(host: "127.0.0.1", port: port)).ask(chat(stream: true), into: answer)
                #expect(answer.head == AnswerHead(status: 200, contentType: "text/event-stream"))
                #expect(answer.events == [token, token, "[DONE]"])
                #expect(used == ModelUsage(promptTokens: 5, completionTokens: 2))
            }
        }
    }

    @Test func theUsageEventComesWhenTheClientAskedForIt() async throws {
        let usage = #"{"choices":[],"usage":{"completion_tokens":2,"prompt_tokens":5}}"#
        try await ScriptedServer.run { exchange in
            try await exchange.answer("data: \(usage)\n\ndata: [DONE]\n\n", type: "text/event-stream")
        } body: { port in
            let answer = Answer()
            let request = chat(stream: true, more: #","stream_options":{"include_usage":true}"#)
            _ = try await ModelServer(.tcp(host: "127.0.0.1", port: port)).ask(request, into: answer)
            #expect(answer.events == [usage, "[DONE]"])
        }
    }

    @Test func theServerGetsItsOwnModelNameAndNoFieldThatIsNotAClientsToSet() async throws {
        try await ScriptedServer.run { exchange in
            try await exchange.answer(#"{"echo":\#(exchange.body),"path":"\#(exchange.path)"}"#)
        } body: { port in
            let answer = Answer()
            let more = #","temperature":0.5,"id_slot":3,"cache_prompt":true,"chat_template":"{{x}}","top_k":4,"user":"me""#
            let server = ModelServer(.tcp(host: "127.0.0.1", port: port), dialect: .llamaCpp)
            _ = try await server.ask(chat(more: more), as: "real.gguf", into: answer)
            let value = try StrictJSON.parse(Array(answer.text.utf8), limit: 1 << 20)
            guard case .object(let root) = value, case .object(let echo)? = root["echo"] else { throw Wrong() }
            #expect(root["path"] == .string("/v1/chat/completions"))
            #expect(Set(echo.keys) == ["model", "messages", "temperature", "top_k", "cache_prompt"])
            #expect(echo["model"] == .string("real.gguf"))
            #expect(echo["cache_prompt"] == .bool(false))
        }
    }

    @Test func `an answer carries the name that was asked for, and nothing else of it changes`() async throws {
        // The server's own name also stands where it is not the answer's: in texts, in lists, further in.
        let before = #"{"choices":[{"model":"m","text":"\"model\":\"m\" \\"}],"x":["model","m"],"y":"model", "model" : "#
        let after = #", "z":{"model":"m"}}"#
        let whole = before + #""m""# + after
        let named = before + #""acme/m""# + after
        try await ScriptedServer.run { exchange in
            if exchange.body.contains(#""stream":true"#) {
                try await exchange.answer("data: \(whole)\n\ndata: [DONE]\n\n", type: "text/event-stream")
            } else if exchange.path.contains("infer") {
                try await exchange.answer(#"{"model_name":"m","outputs":[]}"#)
            } else {
                try await exchange.answer(exchange.body.contains("other") ? #"{"model":"another"}"# : whole)
            }
        } body: { port in
            let server = ModelServer(.tcp(host: "127.0.0.1", port: port))
            func said(_ request: ModelRequest) async throws -> Answer {
                let answer = Answer()
                _ = try await server.ask(request, into: answer)
                return answer
            }
            let (one, streamed, other) = (
                try await said(chat()), try await said(chat(stream: true)), try await said(chat("other"))
            )
            #expect(one.text == named)
            #expect(streamed.events == [named, "[DONE]"])
            #expect(other.text == #"{"model":"another"}"#)
            let infer = try await said(ModelRequest(operation: .infer, model: "acme/m", body: #"{"inputs":[]}"#))
            #expect(infer.text == #"{"model_name":"acme/m","outputs":[]}"#)
        }
    }

    @Test func theTraceOfAClientGoesToTheServer() async throws {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        try await ScriptedServer.run { exchange in
            let names = exchange.head.lowercased().split(separator: "\r\n").filter { $0.hasPrefix("trace") }
            try await exchange.answer(#"{"choices":[],"echo":"\#(names.joined(separator: "|"))"}"#)
        } body: { port in
            let answer = Answer()
            var request = chat()
            request.trace = Trace(parent: parent, state: "vendor=1")
            _ = try await ModelServer(.tcp(host: "127.0.0.1", port: port)).ask(request, into: answer)
            #expect(answer.text.contains("traceparent: \(parent)|tracestate: vendor=1"), "\(answer.text)")
        }
    }

    @Test func whatWasCachedIsNotShown() async throws {
        let body =
            #"{"choices":[{"index":0}],"timings":{"cache_n":7},"usage":{"completion_tokens":1,"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":7}}}"#
        try await ScriptedServer.run {
            try await $0.answer(body)
        } body: { port in
            let answer = Answer()
            let used = try await ModelServer(.tcp(host: "127.0.0.1", port: port)).ask(chat(), into: answer)
            #expect(answer.text == #"{"choices":[{"index":0}],"usage":{"completion_tokens":1,"prompt_tokens":9}}"#)
            #expect(used == ModelUsage(promptTokens: 9, completionTokens: 1))
        }
    }

    @Test(arguments: [
        (#","max_tokens":"many""#, "max_tokens"), (#","n":100000"#, "n"), (#","stop":[1]"#, "stop"),
        (#","tools":{"no":"list"}"#, "tools"), (#","temperature":"hot""#, "temperature"),
    ])
    func aFieldOfAnotherTypeOrSizeIsRefusedByName(more: String, name: String) async throws {
        let failure = await failure {
            try await ModelServer(.tcp(host: "127.0.0.1", port: 1)).ask(chat(more: more), into: Answer())
        }
        #expect(failure?.code == .badRequest)
        #expect(failure?.param == name && failure?.message.contains("'\(name)'") == true)
    }

    @Test func anImageByAddressIsRefusedAndOneSentAlongIsNot() async throws {
        func request(_ url: String) -> ModelRequest {
            ModelRequest(
                operation: .chat, model: "m",
                body: #"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"\#(url)"}}]}]}"#)
        }
        try await ScriptedServer.run {
            try await $0.answer("{}")
        } body: { port in
            let server = ModelServer(.tcp(host: "127.0.0.1", port: port))
            for url in ["http://169.254.169.254/latest", "file:///etc/passwd"] {
                let failure = await failure { try await server.ask(request(url), into: Answer()) }
                #expect(failure?.code == .badRequest)
            }
            _ = try await server.ask(request("data:image/png;base64,iVBORw0KGgo="), into: Answer())
        }
    }

    @Test(arguments: [
        ("400 Bad Request", #"{"error":{"message":"context is full"}}"#, ModelFailure.Code.badRequest, 400, false),
        ("400 Bad Request", #"{"error":{"type":"exceed_context_size_error"}}"#, .contextExceeded, 400, false),
        ("400 Bad Request", #"{"message":"This model's maximum context length is 9."}"#, .contextExceeded, 400, false),
        ("500 Internal Server Error", #"{"error":{"message":"image input is not supported"}}"#, .badRequest, 400, false),
        ("404 Not Found", #"{"error":"model not found"}"#, .modelNotFound, 404, false),
        ("401 Unauthorized", "no", .failed, 502, false),
        ("429 Too Many Requests", "{}", .overloaded, 503, true),
        ("503 Service Unavailable", #"{"error":{"message":"Loading model"}}"#, .overloaded, 503, true),
        ("500 Internal Server Error", #"{"error":{"message":"boom"}}"#, .failed, 502, true),
        ("200 OK", #"{"error":{"message":"boom"}}"#, .failed, 502, true),
        ("200 OK", "{\"choices\":[", .badAnswer, 502, false),
        ("200 OK", "[1,2]", .badAnswer, 502, false),
    ])
    func whatTheServerSaysOfItsFailureReachesTheClient(
        status: String, body: String, code: ModelFailure.Code, seen: Int, retryable: Bool
    ) async throws {
        try await ScriptedServer.run {
            try await $0.answer(body, status: status)
        } body: { port in
            let answer = Answer()
            let failure = await failure { try await ModelServer(.tcp(host: "127.0.0.1", port: port)).ask(chat(), into: answer) }
            #expect(failure?.code == code)
            #expect(failure?.status == seen)
            #expect(failure?.retryable == retryable)
            #expect(answer.head == nil)
        }
    }

    @Test func aStreamThatEndsTooEarlyIsAFailure() async throws {
        let token = #"data: {"choices":[{"delta":{"content":"a"}}]}"# + "\n\n"
        for ending in ["", "data: {\"error\":{\"message\":\"out of memory\"}}\n\n", "data: garbage\n\n"] {
            try await ScriptedServer.run { exchange in
                try await exchange.answer(token + ending, type: "text/event-stream")
            } body: { port in
                let answer = Answer()
                let server = ModelServer(.tcp(host: "127.0.0.1", port: port))
                let failure = await failure { try await server.ask(chat(stream: true), into: answer) }
                #expect(failure?.code == (ending.contains("garbage") ? .badAnswer : .failed))
            }
        }
    }

    @Test func aServerOnAUnixSocketAndOneHandedOverAnswerAlike() async throws {
        try await ScriptedServer.run {
            try await $0.answer(#"{"choices":[]}"#)
        } body: { port in
            let server = ModelServer(
                .connect {
                    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
                    var address = sockaddr_in()
                    address.sin_family = sa_family_t(AF_INET)
                    address.sin_port = in_port_t(port).bigEndian
                    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
                    let done = withUnsafePointer(to: &address) { pointer in
                        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                        }
                    }
                    guard done == 0 else { throw Wrong() }
                    return descriptor
                })
            let answer = Answer()
            _ = try await server.ask(chat(), into: answer)
            #expect(answer.text == #"{"choices":[]}"#)
        }
        let failure = await failure { try await ModelServer(.unix("/nowhere/at/all.sock")).ask(chat(), into: Answer()) }
        #expect(failure?.code == .unavailable)
    }

    @Test func requestsOfOneAccountFollowEachOtherOnOneConnection() async throws {
        let seen = Mutex<[Int]>([])
        try await ScriptedServer.run(keepsOpen: true) { exchange in
            seen.withLock { $0.append(exchange.connection) }
            try await exchange.begin(type: "text/event-stream")
            try await exchange.chunk(Array("data: {\"choices\":[]}\n\ndata: [DONE]\n\n".utf8))
            try await exchange.end()
        } body: { port in
            let server = ModelServer(.tcp(host: "127.0.0.1", port: port))
            for account in ["a", "a", "b", "a", "b"] {
                let answer = Answer()
                _ = try await server.ask(chat(stream: true), into: answer, account: account)
                #expect(answer.events.last == "[DONE]")
            }
        }
        // None of another account's, so that nothing that comes late can be a stranger's answer. From elsewhere than an event loop
        // any of the account's own will do.
        #expect(seen.withLock { $0 } == [1, 1, 2, 1, 2])
    }

    @Test func aConnectionThatItsServerEndsMeanwhileIsReplaced() async throws {
        try await ScriptedServer.run { exchange in
            try await exchange.answer(#"{"choices":[{"index":0}]}"#)
        } body: { port in
            let server = ModelServer(.tcp(host: "127.0.0.1", port: port))
            for _ in 0..<50 {
                let answer = Answer()
                _ = try await server.ask(chat(), into: answer)
                #expect(answer.text == #"{"choices":[{"index":0}]}"#)
            }
        }
    }

    @Test func aConnectionWhoseAnswerWasNotReadToItsEndServesNoOther() async throws {
        let seen = Mutex<[Int]>([])
        try await ScriptedServer.run(keepsOpen: true) { exchange in
            seen.withLock { $0.append(exchange.connection) }
            try await exchange.answer(#"{"choices":[{"index":\#(exchange.connection)}]}"#)
        } body: { port in
            let server = ModelServer(.tcp(host: "127.0.0.1", port: port))
            await #expect(throws: CancellationError.self) {
                _ = try await server.answer(
                    chat(stream: false), as: "m", account: "a", head: { _ in throw CancellationError() }, body: { _ in })
            }
            let answer = Answer()
            _ = try await server.ask(chat(), into: answer)
            #expect(answer.text == #"{"choices":[{"index":2}]}"#)
        }
        #expect(seen.withLock { $0 } == [1, 2])
    }

    @Test func cancellingEndsTheServersWork() async throws {
        let (ended, end) = AsyncStream.makeStream(of: Bool.self)
        let (began, begin) = AsyncStream.makeStream(of: Void.self)
        try await ScriptedServer.run { exchange in
            try await exchange.begin(type: "text/event-stream")
            let token = Array(("data: {\"choices\":[]}\n\n").utf8)
            do { while true { try await exchange.chunk(token) } } catch { end.yield(true) }
        } body: { port in
            let task = Task {
                try await ModelServer(.tcp(host: "127.0.0.1", port: port)).answer(
                    chat(stream: true), as: "m", account: "a", head: { _ in begin.yield() }, body: { _ in })
            }
            for await _ in began { break }
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
            for await wasEnded in ended {
                #expect(wasEnded)
                break
            }
        }
    }
}

struct Wrong: Error {}

/// The failure that an operation ends with; anything else is not one.
func failure(_ operation: () async throws -> ModelUsage?) async -> ModelFailure? {
    do {
        _ = try await operation()
        Issue.record("it was answered")
        return nil
    } catch let failure as ModelFailure {
        return failure
    } catch {
        Issue.record("\(error) is not a ModelFailure")
        return nil
    }
}
