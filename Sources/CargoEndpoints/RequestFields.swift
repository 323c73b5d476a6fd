internal import CargoArtifact
internal import CargoWire

/// Which fields of a request a model server may see (docs/rules.md 20).
///
/// What is not named here is left out: a server's private fields choose slots, cached prompts, adapters and templates, and those
/// are not a client's to choose. What is named has a type and a bound; what breaks one is refused, never cut.
struct RequestFields: Sendable {
    /// What a field may hold.
    enum Shape: Sendable {
        case text(Int)
        case flag
        case number
        case integer(ClosedRange<Int64>)
        /// A text, or some of them, of so many bytes together.
        case texts(Int)
        /// A text, texts, tokens, or lists of tokens.
        case prompt
        case messages
        /// A list of objects.
        case objects
        /// Anything whose nesting and size the bound of the whole body holds.
        case any
        /// An object of scalars.
        case scalars
        /// What an engine's manifest adds: a scalar, or a list or an object of them.
        case plain

        /// What a client is told that the field is.
        var words: String {
            switch self {
            case .text(let most): "a text of \(most) bytes at most"
            case .flag: "true or false"
            case .number: "a number"
            case .integer(let range): "an integer from \(range.lowerBound) to \(range.upperBound)"
            case .texts(let most): "a text or up to 64 texts, of \(most) bytes at most each"
            case .prompt: "a text, tokens, or a list of those"
            case .messages:
                "a list of 1 to \(RequestFields.maximumItems) messages, each an object with a role and, as content, a text or a list of parts"
            case .objects: "a list of \(RequestFields.maximumItems) objects at most"
            case .any: "a list of 1048576 items at most"
            case .scalars: "an object of plain values"
            case .plain: "a plain value, or a list or an object of plain values"
            }
        }
    }

    static func shapes(of operation: ModelRequest.Operation) -> [String: Shape] {
        switch operation {
        case .chat: sampling.merging(chat) { $1 }
        case .completions: sampling.merging(completions) { $1 }
        case .embeddings:
            ["input": .prompt, "encoding_format": .text(16), "dimensions": .integer(1...65536), "truncate": .flag]
        case .images:
            [
                "prompt": .text(1 << 16), "negative_prompt": .text(1 << 16), "n": .integer(1...10), "size": .text(16),
                "width": .integer(1...4096), "height": .integer(1...4096), "quality": .text(16), "style": .text(16),
                "seed": .integer(0...(1 << 53)), "steps": .integer(1...1000), "num_steps": .integer(1...1000),
                "guidance_scale": .number, "output_format": .text(16), "background": .text(16),
            ]
        case .infer: ["id": .text(256), "inputs": .any, "outputs": .any, "parameters": .scalars]
        }
    }

    private static let sampling: [String: Shape] = [
        "temperature": .number, "top_p": .number, "top_k": .integer(-1...1_000_000), "min_p": .number, "typical_p": .number,
        "presence_penalty": .number, "frequency_penalty": .number, "repeat_penalty": .number, "repetition_penalty": .number,
        "repeat_last_n": .integer(-1...1_000_000), "mirostat": .integer(0...2), "mirostat_tau": .number, "mirostat_eta": .number,
        "max_tokens": .integer(1...1_000_000), "min_tokens": .integer(0...1_000_000), "n": .integer(1...16),
        "stop": .texts(1 << 12), "seed": .integer(Int64.min...Int64.max), "logit_bias": .scalars, "ignore_eos": .flag,
        "stream": .flag, "stream_options": .scalars,
    ]

    private static let chat: [String: Shape] = [
        "messages": .messages, "max_completion_tokens": .integer(1...1_000_000), "logprobs": .flag,
        "top_logprobs": .integer(0...20), "tools": .objects, "tool_choice": .any, "parallel_tool_calls": .flag,
        "functions": .objects,
        "function_call": .any, "response_format": .any, "reasoning_effort": .text(32), "chat_template_kwargs": .scalars,
        "verbosity": .text(32),
    ]

    private static let completions: [String: Shape] = [
        "prompt": .prompt, "suffix": .text(1 << 20), "echo": .flag, "best_of": .integer(1...16), "logprobs": .integer(0...20),
    ]

    /// The most messages, tools, prompts of one request.
    static let maximumItems = 4096

    /// The request's fields that pass. Throws `ModelFailure` (`bad_request`) for one that breaks its shape.
    ///
    /// `extra`: fields that the engine's manifest lists; those that are named here already keep their shape.
    static func checked(
        _ fields: [String: JSONValue], for operation: ModelRequest.Operation, extra: [String] = []
    ) throws(ModelFailure) -> [String: JSONValue] {
        let added = extra.map { ($0, Shape.plain) }
        let shapes = shapes(of: operation).merging(added) { known, _ in known }
        var passed: [String: JSONValue] = [:]
        for (name, value) in fields {
            guard let shape = shapes[name], value != .null else { continue }
            guard fits(value, shape) else {
                throw ModelFailure(.badRequest, message: "The field '\(name)' is \(shape.words) here.", param: name)
            }
            if case .messages = shape { try checkMedia(value) }
            passed[name] = value
        }
        return passed
    }

    private static func fits(_ value: JSONValue, _ shape: Shape) -> Bool {
        switch (shape, value) {
        case (.text(let most), .string(let text)): text.utf8.count <= most
        case (.flag, .bool), (.number, .integer): true
        case (.number, .number(let number)): number.isFinite
        case (.integer(let range), .integer(let number)): range.contains(number)
        case (.texts(let most), .string(let text)): text.utf8.count <= most
        case (.texts(let most), .array(let items)):
            items.count <= 64
                && items.allSatisfy { item in if case .string(let text) = item { text.utf8.count <= most } else { false } }
        case (.prompt, .string): true
        case (.prompt, .array(let items)):
            items.count <= 1 << 20
                && items.allSatisfy { item in
                    switch item {
                    case .string, .integer: true
                    case .array(let tokens): tokens.allSatisfy { if case .integer = $0 { true } else { false } }
                    default: false
                    }
                }
        case (.messages, .array(let items)):
            !items.isEmpty && items.count <= maximumItems
                && items.allSatisfy { item in
                    guard case .object(let message) = item, case .string? = message["role"] else { return false }
                    switch message["content"] {
                    case .string, .array, .null, nil: return true
                    default: return false
                    }
                }
        case (.objects, .array(let items)):
            items.count <= maximumItems && items.allSatisfy { if case .object = $0 { true } else { false } }
        case (.plain, .array(let items)): items.count <= maximumItems && items.allSatisfy(isScalar)
        case (.plain, .object): fits(value, .scalars)
        case (.plain, _): isScalar(value)
        case (.any, .array(let items)): items.count <= 1 << 20
        case (.any, _): true
        case (.scalars, .object(let members)):
            members.count <= 1024
                && members.values.allSatisfy { member in
                    switch member {
                    case .array, .object: false
                    default: true
                    }
                }
        default: false
        }
    }

    /// Of at most 64 KiB.
    private static func isScalar(_ value: JSONValue) -> Bool {
        switch value {
        case .array, .object: false
        case .string(let text): text.utf8.count <= 1 << 16
        case .number(let number): number.isFinite
        case .integer, .bool, .null: true
        }
    }

    /// Media come along as `data:` URLs: a server never fetches for a stranger.
    private static func checkMedia(_ messages: JSONValue) throws(ModelFailure) {
        guard case .array(let messages) = messages else { return }
        for case .object(let message) in messages {
            guard case .array(let parts)? = message["content"] else { continue }
            for part in parts {
                guard case .object(let part) = part, case .string(let type)? = part["type"] else {
                    throw ModelFailure(
                        .badRequest, message: "Each part of a message's content is an object with a 'type'.", param: "messages")
                }
                switch type {
                case "text", "input_audio", "refusal": continue
                case "image_url":
                    var url = part["image_url"]
                    if case .object(let inner)? = url { url = inner["url"] }
                    if case .string(let text)? = url, text.hasPrefix("data:") { continue }
                    throw ModelFailure(
                        .badRequest, message: "Images are sent along as data: URLs; this host fetches nothing.", param: "messages"
                    )
                default:
                    throw ModelFailure(
                        .badRequest, message: "Parts of the type '\(type.prefix(32))' are not taken by this host.",
                        param: "messages")
                }
            }
        }
    }
}
