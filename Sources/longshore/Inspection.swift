import CargoArtifact
import CargoSigning

/// What a cargo says about itself, as `inspect` shows it: as JSON, or as lines for a person.
struct Inspection: Encodable {
    struct Layer: Encodable {
        var mediaType: String
        var digest: Digest
        var size: Int64
        var path: String?
    }

    struct Signature: Encodable {
        var hint: String?
        var type: String
    }

    struct Right: Encodable {
        var key: Digest
        var names: [String]
        var expires: String
    }

    var path: String
    var digest: Digest
    var size: Int64
    var config: CargoConfig
    var layers: [Layer]
    var signatures: [Signature]
    var delegations: [Right]

    init(
        place: String, root: Descriptor, size: Int64, config: CargoConfig, layers: [Descriptor], signatures: [SignatureArtifact]
    ) {
        path = place
        digest = root.digest
        self.size = size
        self.config = config
        self.layers = layers.map {
            Layer(
                mediaType: $0.mediaType, digest: $0.digest, size: $0.size,
                path: $0.annotations?["org.opencontainers.image.title"])
        }
        self.signatures = signatures.documents(.signature).map { document in
            let bundle = try? SigstoreBundle(json: document)
            return Signature(
                hint: bundle?.verificationMaterial.publicKey?.hint, type: bundle?.dsseEnvelope.payloadType ?? "unknown")
        }
        delegations = signatures.documents(.delegation).compactMap { document in
            (try? Delegation(unverified: document)).map {
                Right(key: $0.key.fingerprint, names: $0.names, expires: Timestamp.text($0.expires))
            }
        }
    }

    var lines: [String] {
        var lines: [String] = []
        func add(_ label: String, _ text: String?) {
            guard let text else { return }
            lines.append(label + String(repeating: " ", count: max(1, 13 - label.count)) + text)
        }
        add("name", config.name)
        add("version", config.version)
        add("kind", config.kind.rawValue)
        add("description", config.description)
        add("licenses", config.licenses?.joined(separator: ", "))
        add("command", config.command?.joined(separator: " "))
        add("image", config.image)
        add("engine", config.engine)
        if let serving = config.serving {
            add("weights", serving.weights)
            if let facts = serving.facts { Inspection.model(facts).forEach { add($0, $1) } }
            add("context", serving.context.map { "\($0) tokens" })
            add("estimate", serving.estimate.map(Inspection.estimate))
        }
        add("memory", config.resources.memory.map { Inspection.bytes(UInt64(max($0.bytes, 0))) })
        if let gpu = config.resources.gpu {
            add("gpu", "\(gpu.count ?? 1)" + (gpu.vram.map { " with " + Inspection.bytes(UInt64(max($0.bytes, 0))) } ?? ""))
        }
        add("digest", digest.description)
        add("size", Inspection.bytes(UInt64(max(size, 0))))
        for layer in layers {
            add("layer", "\(layer.digest) \(layer.size) \(layer.mediaType)" + (layer.path.map { " " + $0 } ?? ""))
        }
        for signature in signatures { add("signature", "key \(signature.hint ?? "unknown")") }
        if signatures.isEmpty { add("signature", "none") }
        for right in delegations {
            add("delegation", "\(right.key) may sign \(right.names.joined(separator: ", ")) until \(right.expires)")
        }
        return lines
    }

    private static func model(_ facts: ModelFacts) -> [(String, String)] {
        var lines = [("format", facts.format)]
        if let architecture = facts.architecture { lines.append(("architecture", architecture)) }
        lines.append(("parameters", "\(ModelFacts.size(facts.parameters)) (\(facts.parameters))"))
        if let quantization = facts.quantization { lines.append(("quantization", quantization)) }
        lines.append(("tensors", bytes(facts.weightBytes)))
        if let length = facts.contextLength { lines.append(("trained for", "\(length) tokens")) }
        if let size = facts.vocabularySize { lines.append(("vocabulary", "\(size)" + (facts.tokenizer.map { ", \($0)" } ?? ""))) }
        return lines
    }

    private static func estimate(_ estimate: ModelEstimate) -> String {
        "\(bytes(estimate.total)): weights \(bytes(estimate.weights)), cache \(bytes(estimate.cache)), compute \(bytes(estimate.compute))"
            + (estimate.context.map { ", for \($0) tokens" } ?? "")
    }

    /// `512 B`, `1.5 KiB`, `2.0 GiB`: one decimal, rounded down.
    private static func bytes(_ count: UInt64) -> String {
        var unit: UInt64 = 1 << 40
        for name in ["TiB", "GiB", "MiB", "KiB"] {
            if count >= unit { return "\(count / unit).\(count % unit * 10 / unit) \(name)" }
            unit >>= 10
        }
        return "\(count) B"
    }
}
