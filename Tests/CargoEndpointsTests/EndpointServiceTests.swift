import CargoWire
import Glibc
import Synchronization
import Testing

@testable import CargoEndpoints

/// Servers that are there are found, told apart and followed; those of other users are not.
@Suite struct EndpointServiceTests {
    /// - Parameter patience: long where the server is honest, because a busy machine may be slow.
    private func settings(_ ports: [Int], patience: Duration = .seconds(20)) -> EndpointService.Settings {
        var settings = EndpointService.Settings()
        settings.ports = ports
        settings.patience = patience
        settings.secondLook = .seconds(3600)
        return settings
    }

    static let tags = #"""
        {"models":[{"name":"llama3.2:latest","model":"llama3.2:latest","modified_at":"2024-05-04T17:37:44.706015396-07:00","size":2019393189,"digest":"a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72","details":{"parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"3.2B","quantization_level":"Q4_K_M"}},
        {"name":"all-minilm:latest","model":"all-minilm:latest","modified_at":"2024-05-04T17:37:44.706015396-07:00","size":45960996,"digest":"1b226e2802dbb772b5fc32a58f103ca1804ef7501331012de126ab22f67475ef","details":{"parent_model":"","format":"gguf","family":"bert","families":["bert"],"parameter_size":"23M","quantization_level":"F16"}}]}
        """#
    static let running = #"""
        {"models":[{"name":"llama3.2:latest","model":"llama3.2:latest","size":5137025024,"digest":"a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72","details":{"parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"3.2B","quantization_level":"Q4_K_M"},"expires_at":"2024-06-04T14:38:31.83753-07:00","size_vram":5137025024,"context_length":4096}]}
        """#
    static let studio = #"""
        {"object":"list","data":[{"id":"qwen2-vl-7b-instruct","object":"model","type":"vlm","publisher":"mlx-community","arch":"qwen2_vl","compatibility_type":"mlx","quantization":"4bit","state":"not-loaded","max_context_length":32768},
        {"id":"meta-llama-3.1-8b-instruct","object":"model","type":"llm","publisher":"lmstudio-community","arch":"llama","compatibility_type":"gguf","quantization":"Q4_K_M","state":"loaded","max_context_length":131072,"loaded_context_length":8192},
        {"id":"text-embedding-nomic-embed-text-v1.5","object":"model","type":"embeddings","publisher":"nomic-ai","arch":"nomic-bert","compatibility_type":"gguf","quantization":"Q4_0","state":"not-loaded","max_context_length":2048}]}
        """#

    static func ollama(_ exchange: ScriptedServer.Exchange) async throws {
        switch exchange.path {
        case "/api/version": try await exchange.answer(#"{"version":"0.5.1"}"#)
        case "/api/tags": try await exchange.answer(tags)
        case "/api/ps": try await exchange.answer(running)
        case "/api/show":
            let isLlama = exchange.body.contains("llama3.2")
            try await exchange.answer(
                isLlama
                    ? #"{"details":{},"model_info":{"general.architecture":"llama","llama.context_length":131072},"capabilities":["completion","tools"]}"#
                    : #"{"details":{},"model_info":{"bert.context_length":512},"capabilities":["embedding"]}"#)
        case "/v1/models":
            try await exchange.answer(
                #"{"object":"list","data":[{"id":"llama3.2:latest","object":"model","created":1714869464,"owned_by":"library"}]}"#
            )
        case "/api/chat":
            try await exchange.answer(OllamaTests.stream, type: "application/x-ndjson")
        default: try await exchange.answer("404 page not found", status: "404 Not Found", type: "text/plain")
        }
    }

    static func lmStudio(_ exchange: ScriptedServer.Exchange) async throws {
        switch exchange.path {
        case "/api/v0/models": try await exchange.answer(studio)
        case "/v1/models":
            try await exchange.answer(
                #"{"data":[{"id":"meta-llama-3.1-8b-instruct","object":"model","owned_by":"organization_owner"}],"object":"list"}"#
            )
        case "/v1/chat/completions":
            try await exchange.answer(
                "data: {\"id\":\"chatcmpl-x\",\"object\":\"chat.completion.chunk\",\"created\":1706206681,\"model\":\"meta-llama-3.1-8b-instruct\",\"system_fingerprint\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hi\"},\"logprobs\":null,\"finish_reason\":null}]}\n\ndata: [DONE]\n\n",
                type: "text/event-stream")
        // It answers every other path too, and logs it.
        default: try await exchange.answer(#"{"error":"Unexpected endpoint or method. (GET \#(exchange.path))"}"#)
        }
    }

    static func llama(_ exchange: ScriptedServer.Exchange) async throws {
        switch exchange.path {
        case "/v1/models":
            try await exchange.answer(
                #"{"models":[{"name":"/home/me/models/sea-7b.gguf","capabilities":["completion"]}],"object":"list","data":[{"id":"/home/me/models/sea-7b.gguf","object":"model","created":1795244349,"owned_by":"llamacpp","meta":{"vocab_type":1,"n_vocab":259,"n_ctx":512,"n_ctx_train":2048,"n_embd":64,"ftype":"F16"}}]}"#
            )
        case "/props": try await exchange.answer(#"{"default_generation_settings":{},"total_slots":3,"chat_template":""}"#)
        default:
            try await exchange.answer(
                #"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#, status: "404 Not Found")
        }
    }

    static func vLLM(_ exchange: ScriptedServer.Exchange) async throws {
        guard exchange.path == "/v1/models" else {
            return try await exchange.answer(#"{"detail":"Not Found"}"#, status: "404 Not Found")
        }
        try await exchange.answer(
            #"{"object":"list","data":[{"id":"Qwen/Qwen2.5-0.5B","object":"model","created":1,"owned_by":"vllm","root":"Qwen/Qwen2.5-0.5B","parent":null,"max_model_len":32768,"permission":[]}]}"#
        )
    }

    @Test func allFiveAreFoundAndToldApart() async throws {
        try await ScriptedServer.run(EndpointServiceTests.ollama) { ollama in
            try await ScriptedServer.run(EndpointServiceTests.lmStudio) { studio in
                try await ScriptedServer.run(EndpointServiceTests.llama) { llama in
                    try await ScriptedServer.run(EndpointServiceTests.vLLM) { vllm in
                        let service = EndpointService(settings([ollama, studio, llama, vllm]))
                        let models = await service.models()
                        #expect(await service.found().map(\.dialect) == [.ollama, .lmStudio, .llamaCpp, .vLLM])
                        let byID = Dictionary(uniqueKeysWithValues: models.map { ($0.id, $0) })
                        #expect(byID.count == 7)
                        let chat: [ModelRequest.Operation] = [.chat, .completions]
                        #expect(
                            byID["llama3.2:latest"]
                                == ServedModel(
                                    id: "llama3.2:latest", source: .endpoint, operations: chat, presence: .loaded, context: 4096,
                                    format: "gguf", quantization: "Q4_K_M", slots: 4))
                        #expect(byID["all-minilm:latest"]?.operations == [.embeddings])
                        #expect(byID["all-minilm:latest"]?.presence == .stored)
                        #expect(byID["all-minilm:latest"]?.context == 512)
                        #expect(byID["meta-llama-3.1-8b-instruct"]?.presence == .loaded)
                        #expect(byID["meta-llama-3.1-8b-instruct"]?.context == 8192)
                        #expect(byID["qwen2-vl-7b-instruct"]?.presence == .stored)
                        #expect(byID["text-embedding-nomic-embed-text-v1.5"]?.operations == [.embeddings])
                        // Its file's path is the owner's business.
                        #expect(byID["sea-7b"]?.slots == 3)
                        #expect(byID["sea-7b"]?.context == 512)
                        #expect(byID["Qwen/Qwen2.5-0.5B"]?.context == 32768)
                    }
                }
            }
        }
    }

    @Test func `a server that its owner describes is taken as described, and let go when it is not any more`() async throws {
        try await ScriptedServer.run({ exchange in
            switch exchange.path {
            case "/v2/health/ready": try await exchange.answer("{}")
            case "/v2/models/digits%2Fone/infer":
                try await exchange.answer(#"{"model_name":"x","outputs":[]}"#)
            default: try await exchange.answer("{}", status: "404 Not Found")
            }
        }) { port in
            let described = Mutex<[NamedServer]>([])
            var settings = settings([])
            settings.named = { described.withLock { $0 } }
            let service = EndpointService(settings)
            await service.look()
            #expect(await service.models().isEmpty)
            var server = NamedServer(name: "me/triton", address: EndpointAddress(loopback: port), language: .openInference)
            server.models = ["digits/one"]
            server.slots = 7
            described.withLock { [server] in $0 = [server] }
            #expect(try await server.check() == ["digits/one"])
            await service.look()
            #expect(
                await service.models() == [
                    ServedModel(id: "digits/one", source: .endpoint, operations: [.infer], presence: .loaded, slots: 7)
                ])
            let answer = Answer()
            _ = try await service.answer(
                ModelRequest(operation: .infer, model: "digits/one", body: #"{"inputs":[]}"#), account: "a",
                head: { answer.take(head: $0) }, body: { answer.take($0) })
            #expect(answer.head?.status == 200)
            // Another protocol than it speaks is no server.
            server.language = .speaks(.ollama)
            await #expect(throws: ModelFailure.self) { try await server.check() }
            described.withLock { $0 = [] }
            await service.look()
            #expect(await service.models().isEmpty)
        }
    }

    @Test func `a described Ollama lists its own models`() async throws {
        try await ScriptedServer.run(EndpointServiceTests.ollama) { port in
            var settings = settings([])
            let server = NamedServer(name: "me/ollama", address: EndpointAddress(loopback: port), language: .speaks(.ollama))
            settings.named = { [server] }
            let models = await EndpointService(settings).models()
            #expect(models.map(\.id).sorted() == ["all-minilm:latest", "llama3.2:latest"])
        }
    }

    @Test func whatWasFoundAnswersInOpenAIsShape() async throws {
        try await ScriptedServer.run(EndpointServiceTests.ollama) { ollama in
            try await ScriptedServer.run(EndpointServiceTests.lmStudio) { studio in
                let service = ModelServices([EndpointService(settings([ollama, studio]))])
                for model in ["llama3.2:latest", "meta-llama-3.1-8b-instruct"] {
                    let answer = Answer()
                    _ = try await service.answer(
                        ModelRequest(
                            operation: .chat, model: model, body: #"{"messages":[{"role":"user","content":"Hi"}]}"#, stream: true),
                        account: "a", head: { answer.take(head: $0) }, body: { answer.take($0) })
                    #expect(answer.head?.contentType == "text/event-stream")
                    #expect(answer.events.first?.contains(#""object":"chat.completion.chunk""#) == true)
                    #expect(answer.events.last == "[DONE]")
                }
                let missing = await failure {
                    try await service.answer(
                        ModelRequest(operation: .chat, model: "gpt-9", body: "{}"), account: "a", head: { _ in }, body: { _ in })
                }
                #expect(missing?.code == .modelNotFound)
            }
        }
    }

    @Test func aServerOfAnotherUserIsLeftAloneUntilItIsAttached() async throws {
        let asked = Mutex(0)
        try await ScriptedServer.run { exchange in
            asked.withLock { $0 += 1 }
            try await EndpointServiceTests.llama(exchange)
        } body: { port in
            let said = Mutex<[String]>([])
            var settings = settings([port])
            settings.report = { line in said.withLock { $0.append(line) } }
            var strange = ListeningSockets()
            strange.take(table: EndpointServiceTests.table(port: port, owner: geteuid() + 4242))
            let service = EndpointService(settings, user: geteuid(), sockets: { [strange] in strange })
            #expect(await service.models().isEmpty)
            await service.look()
            #expect(asked.withLock { $0 } == 0)
            let lines = said.withLock { $0 }
            #expect(lines.count == 1)
            #expect(lines.first?.contains("--endpoint http://127.0.0.1:\(port)") == true)

            settings.attached = [try EndpointAddress("http://127.0.0.1:\(port)")]
            let attached = EndpointService(settings, user: geteuid(), sockets: { [strange] in strange })
            #expect(await attached.models().map(\.id) == ["sea-7b"])
        }
    }

    @Test func aServerThatChangedHandsAfterItWasFoundGetsNoRequest() async throws {
        let asked = Mutex<[String]>([])
        try await ScriptedServer.run { exchange in
            asked.withLock { $0.append(exchange.path) }
            try await EndpointServiceTests.llama(exchange)
        } body: { port in
            let owner = Mutex(geteuid())
            let service = EndpointService(settings([port]), user: geteuid()) {
                var sockets = ListeningSockets()
                sockets.take(table: EndpointServiceTests.table(port: port, owner: owner.withLock { $0 }))
                return sockets
            }
            #expect(await service.models().map(\.id) == ["sea-7b"])
            owner.withLock { $0 = geteuid() + 7 }
            let failure = await failure {
                try await service.answer(
                    ModelRequest(operation: .chat, model: "sea-7b", body: #"{"messages":[{"role":"user","content":"secret"}]}"#),
                    account: "a", head: { _ in }, body: { _ in })
            }
            #expect(failure?.code == .unavailable)
            #expect(!asked.withLock { $0 }.contains("/v1/chat/completions"))
        }
    }

    @Test func aServerThatComesAndGoesIsFollowed() async throws {
        let reports = Mutex<[String]>([])
        let port = try await ScriptedServer.run(EndpointServiceTests.vLLM) { $0 }
        var settings = settings([port])
        settings.report = { line in reports.withLock { $0.append(line) } }
        let service = EndpointService(settings)
        #expect(await service.models().isEmpty)
        try await ScriptedServer.run(port: port, EndpointServiceTests.vLLM) { _ in
            await service.look()
            #expect(await service.models().map(\.id) == ["Qwen/Qwen2.5-0.5B"])
        }
        await service.look()
        await service.look()
        #expect(await service.models().isEmpty)
        #expect(reports.withLock { $0.count } == 2)
    }

    @Test func aPlainWebServerIsNoModelServerAndIsNotAskedAgainAtOnce() async throws {
        let asked = Mutex(0)
        try await ScriptedServer.run { exchange in
            asked.withLock { $0 += 1 }
            try await exchange.answer("<h1>It works!</h1>", type: "text/html")
        } body: { port in
            let service = EndpointService(settings([port]))
            #expect(await service.models().isEmpty)
            let first = asked.withLock { $0 }
            await service.look()
            await service.look()
            #expect(asked.withLock { $0 } == first)
        }
    }

    @Test func aServerThatStillLoadsIsFoundWithTheNextLook() async throws {
        let isReady = Mutex(false)
        try await ScriptedServer.run { exchange in
            if isReady.withLock({ $0 }) { return try await EndpointServiceTests.llama(exchange) }
            try await exchange.answer(
                #"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#, status: "503 Service Unavailable"
            )
        } body: { port in
            let service = EndpointService(settings([port]))
            #expect(await service.models().isEmpty)
            isReady.withLock { $0 = true }
            await service.look()
            #expect(await service.models().map(\.id) == ["sea-7b"])
        }
    }

    @Test(arguments: ["silent", "flood", "head"])
    func aHostileServerHoldsNoLookUp(kind: String) async throws {
        try await ScriptedServer.run { exchange in
            switch kind {
            case "silent": try await Task.sleep(for: .seconds(600))
            case "flood":
                try await exchange.begin(type: "application/json")
                while true { try await exchange.chunk([UInt8](repeating: 32, count: 65536)) }
            default:
                try await exchange.write("HTTP/1.1 200 OK\r\nX: ")
                while true { try await exchange.write([UInt8](repeating: 65, count: 65536)) }
            }
        } body: { port in
            let service = EndpointService(settings([port], patience: .milliseconds(500)))
            let start = ContinuousClock.now
            #expect(await service.models().isEmpty)
            #expect(ContinuousClock.now - start < .seconds(10))
        }
    }

    @Test func theSameModelOnTwoServersIsOneWithBothTheirSlots() async throws {
        try await ScriptedServer.run(EndpointServiceTests.vLLM) { first in
            try await ScriptedServer.run(EndpointServiceTests.vLLM) { second in
                let models = await EndpointService(settings([first, second])).models()
                #expect(models.map(\.slots) == [32])
            }
        }
    }

    @Test func theUsualPortsAreLookedAtWithoutBeingAsked() {
        #expect(EndpointService.Settings().ports == [11434, 1234, 8080, 8000])
    }

    @Test func theKernelsDiagnosticsSayWhatItsTablesSay() async throws {
        try await ScriptedServer.run {
            try await EndpointServiceTests.llama($0)
        } body: { port in
            let tabled = ListeningSockets.tabled()
            #expect(tabled.isOwned(port, by: [geteuid()]))
            // A kernel without them leaves the tables.
            let told = ListeningSockets.diagnosed() ?? tabled
            #expect(told.byPort[port] == tabled.byPort[port])
            #expect(ListeningSockets.current().isOwned(port, by: [geteuid()]))
            #expect(!ListeningSockets.current().isOwned(port, by: [geteuid() + 1]))
        }
    }

    @Test func listenersAreReadFromTheKernelsTable() {
        var sockets = ListeningSockets()
        sockets.take(
            table: """
                  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
                   0: 0100007F:2CAA 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1 0000000000000000 100 0 0 10 0
                   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31338 1 0000000000000000 100 0 0 10 0
                   2: 0101A8C0:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31339 1 0000000000000000 100 0 0 10 0
                   3: 0100007F:04D2 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 31340 1 0000000000000000 100 0 0 10 0
                """)
        sockets.take(
            table: """
                  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
                   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 4 1 0000000000000000 100 0 0 10 0
                """)
        #expect(sockets.isOwned(11434, by: [1000]))
        #expect(!sockets.isOwned(11434, by: [0]))
        // Root's and a stranger's socket on one port: whichever answers, it is not followed.
        #expect(!sockets.isOwned(8080, by: [0, 1000]))
        // On another address, and not listening.
        #expect(sockets.byPort[8000] == nil)
        #expect(sockets.byPort[1234] == nil)
    }

    @Test(arguments: [
        "https://x", "ftp://x", "127.0.0.1:80", "http://", "http://u:p@h", "unix://relative", "http://h:99999", "http://h/?q",
    ])
    func anAddressThatIsNoneSaysHowToWriteIt(text: String) {
        #expect(throws: EndpointAddress.Malformed.self) { try EndpointAddress(text) }
    }

    private static func table(port: Int, owner: UInt32) -> String {
        let hex = String(port, radix: 16, uppercase: true)
        return
            "head\n 0: 0100007F:\(hex) 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \(owner) 0 777 1 0 100 0 0 10 0\n"
    }
}
