internal import CargoArtifact
internal import CargoWire
internal import FoundationEssentials

/// A model as its server lists it.
struct FoundModel: Hashable, Sendable {
    /// As clients name it.
    var id: String
    /// As the server names it.
    var name: String
    var operations: [ModelRequest.Operation]
    var presence = ServedModel.Presence.loaded
    var context: Int?
    var format: String?
    var quantization: String?
    var slots: Int
    /// Ollama's: the same digest needs to be asked about once.
    var digest: String?

    init(id: String, operations: [ModelRequest.Operation], slots: Int) {
        name = id
        self.id = FoundModel.shown(id)
        self.operations = operations
        self.slots = slots
    }

    /// llama-server names a model by its file's path, which is the owner's business.
    private static func shown(_ id: String) -> String {
        guard id.hasSuffix(".gguf") else { return id }
        return String((id.split(separator: "/").last ?? Substring(id)).dropLast(5))
    }

    /// The most models of one server; bytes of one id.
    static let maximum = 512
    static let longestID = 256

    static func isSound(_ id: String) -> Bool {
        (1...longestID).contains(id.utf8.count) && id.unicodeScalars.allSatisfy { $0.value > 32 && $0.value != 127 }
    }

    private static let text: [ModelRequest.Operation] = [.chat, .completions]

    /// For servers that say nothing of what a model does.
    static func guess(_ id: String) -> [ModelRequest.Operation] {
        let name = id.lowercased()
        if ["stable-diffusion", "sdxl", "flux", "dall-e", "imagen"].contains(where: { name.contains($0) }) { return [.images] }
        return ["embed", "bge-", "e5-", "minilm"].contains { name.contains($0) } ? [.embeddings] : text
    }
}

/// What servers say of themselves, read without asking anything.
enum ServerListing {
    /// `GET /v1/models` of OpenAI and all that follow it.
    struct OpenAI: Decodable {
        struct Model: Decodable {
            struct Meta: Decodable {
                var nCtx: Int?
                var nCtxTrain: Int?
                var ftype: String?
                enum CodingKeys: String, CodingKey {
                    case nCtx = "n_ctx"
                    case nCtxTrain = "n_ctx_train"
                    case ftype
                }
            }
            var id: String
            var ownedBy: String?
            var maxModelLen: Int?
            var meta: Meta?
            enum CodingKeys: String, CodingKey {
                case id, meta
                case ownedBy = "owned_by"
                case maxModelLen = "max_model_len"
            }
        }
        /// llama-server's second list, in Ollama's shape.
        struct Capable: Decodable {
            var name: String?
            var capabilities: [String]?
        }
        var data: [Model]
        var models: [Capable]?

        /// Whose list it is, where it says so; LM Studio and Ollama do not.
        var dialect: Dialect? {
            if data.contains(where: { $0.ownedBy == "llamacpp" }) { return .llamaCpp }
            if data.contains(where: { $0.ownedBy == "vllm" }) { return .vLLM }
            return nil
        }

        func found(_ dialect: Dialect, slots: Int) -> [FoundModel] {
            data.filter { FoundModel.isSound($0.id) }.prefix(FoundModel.maximum).map { model in
                var operations = FoundModel.guess(model.id)
                if let says = models?.first(where: { $0.name == model.id })?.capabilities, says.contains("embedding") {
                    operations = says.contains("completion") ? [.chat, .completions, .embeddings] : [.embeddings]
                }
                var found = FoundModel(id: model.id, operations: operations, slots: slots)
                found.context = model.maxModelLen ?? model.meta?.nCtx ?? model.meta?.nCtxTrain
                found.quantization = model.meta?.ftype
                if dialect == .llamaCpp { found.format = "gguf" }
                return found
            }
        }
    }

    /// `GET /props` of llama-server.
    struct Props: Decodable {
        var totalSlots: Int?
        enum CodingKeys: String, CodingKey { case totalSlots = "total_slots" }
    }

    /// `GET /api/v0/models` of LM Studio.
    struct LMStudio: Decodable {
        struct Model: Decodable {
            var id: String
            var type: String?
            var state: String?
            var compatibilityType: String?
            var quantization: String?
            var maxContextLength: Int?
            var loadedContextLength: Int?
            enum CodingKeys: String, CodingKey {
                case id, type, state, quantization
                case compatibilityType = "compatibility_type"
                case maxContextLength = "max_context_length"
                case loadedContextLength = "loaded_context_length"
            }
        }
        var data: [Model]

        /// Another server that happens to answer there says nothing of states.
        var isLMStudios: Bool { data.allSatisfy { $0.state != nil } }

        var found: [FoundModel] {
            data.filter { FoundModel.isSound($0.id) }.prefix(FoundModel.maximum).map { model in
                var found = FoundModel(
                    id: model.id, operations: model.type == "embeddings" ? [.embeddings] : [.chat, .completions], slots: 1)
                found.presence = model.state == "loaded" ? .loaded : .stored
                found.context = model.loadedContextLength ?? model.maxContextLength
                found.format = model.compatibilityType
                found.quantization = model.quantization
                return found
            }
        }
    }

    /// `GET /api/version` of Ollama.
    struct OllamaVersion: Decodable { var version: String }

    /// `GET /api/tags` and `GET /api/ps` of Ollama.
    struct Ollama: Decodable {
        struct Model: Decodable {
            struct Details: Decodable {
                var format: String?
                var family: String?
                var quantizationLevel: String?
                enum CodingKeys: String, CodingKey {
                    case format, family
                    case quantizationLevel = "quantization_level"
                }
            }
            var name: String
            var digest: String?
            var details: Details?
            var contextLength: Int?
            enum CodingKeys: String, CodingKey {
                case name, digest, details
                case contextLength = "context_length"
            }
        }
        var models: [Model]

        func found(running: Ollama?, shown: [String: OllamaShow]) -> [FoundModel] {
            models.filter { FoundModel.isSound($0.name) }.prefix(FoundModel.maximum).map { model in
                let show = model.digest.flatMap { shown[$0] }
                let isEmbedder = model.details?.family?.contains("bert") == true
                var found = FoundModel(
                    id: model.name, operations: show?.operations ?? (isEmbedder ? [.embeddings] : FoundModel.guess(model.name)),
                    slots: 4)
                let loaded = running?.models.first { $0.name == model.name }
                found.presence = loaded == nil ? .stored : .loaded
                found.context = loaded?.contextLength ?? show?.context
                found.format = model.details?.format
                found.quantization = model.details?.quantizationLevel
                found.digest = model.digest
                return found
            }
        }
    }

    /// `POST /api/show` of Ollama.
    struct OllamaShow: Decodable, Sendable {
        var capabilities: [String]?
        var modelInfo: [String: JSONValue]?
        enum CodingKeys: String, CodingKey {
            case capabilities
            case modelInfo = "model_info"
        }

        var operations: [ModelRequest.Operation]? {
            guard let capabilities else { return nil }
            let all: [ModelRequest.Operation] =
                (capabilities.contains("completion") ? [.chat, .completions] : [])
                + (capabilities.contains("embedding") ? [.embeddings] : [])
            return all.isEmpty ? nil : all
        }

        var context: Int? {
            for (name, value) in modelInfo ?? [:] where name.hasSuffix(".context_length") {
                if case .integer(let tokens) = value { return Int(exactly: tokens) }
            }
            return nil
        }
    }

    static func decode<Value: Decodable>(_ type: Value.Type, _ bytes: [UInt8]) -> Value? {
        try? JSONDecoder().decode(type, from: Data(bytes))
    }
}
