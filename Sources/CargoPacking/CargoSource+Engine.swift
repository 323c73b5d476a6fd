internal import CargoArtifact

/// The `engine:` block of an engine cargo.
extension CargoSource {
    static func engineManifest(_ value: YAMLValue) throws -> EngineManifest {
        let members = try value.members([
            "protocol", "kinds", "formats", "operations", "fields", "ready", "alternatives", "slots", "silence", "data-only",
            "by-name", "server",
        ])
        if let server = members["server"] { return try serverManifest(server, members) }
        guard let kinds = members["kinds"] else {
            throw value.failure("'kinds' is missing: which cargos it runs, such as [gguf]")
        }
        var manifest = EngineManifest(
            dialect: try members["protocol"]?.choice(EngineManifest.Dialect.self),
            kinds: try kinds.list().map { try $0.choice(CargoKind.self) })
        guard !manifest.kinds.isEmpty, !manifest.kinds.contains(.engine), !manifest.kinds.contains(.container) else {
            throw kinds.failure("an engine runs cargos of kind process, gguf, onnx or wasm")
        }
        manifest.byName = try members["by-name"]?.bool()
        manifest.formats = try members["formats"]?.list().map { try word($0) }
        manifest.operations = try members["operations"]?.list().map { try path($0) }
        manifest.fields = try members["fields"].map(fields)
        manifest.alternatives = try members["alternatives"]?.list().map { try $0.strings() }
        manifest.slots = try members["slots"]?.integer(1...EngineManifest.mostSlots)
        manifest.silence = try members["silence"]?.seconds()
        manifest.dataOnly = try members["data-only"]?.bool()
        if let ready = members["ready"] {
            let members = try ready.members(["path", "timeout"])
            guard let path = members["path"] else { throw ready.failure("'path' is missing: what answers 200 once it is ready") }
            guard try path.string().hasPrefix("/"), try path.string().utf8.allSatisfy({ $0 > 32 && $0 < 127 }) else {
                throw path.failure("a path starts with / and holds no blanks")
            }
            manifest.ready = .init(path: try path.string(), timeout: try members["timeout"]?.seconds())
        }
        if manifest.dialect != nil, manifest.ready == nil {
            throw value.failure("'ready' is missing: an engine that serves says which path answers 200 once it is ready")
        }
        return manifest
    }

    /// An engine that is a server of the host: nothing is started, so there is nothing to say of how.
    private static func serverManifest(_ server: YAMLValue, _ members: [String: YAMLValue]) throws -> EngineManifest {
        for (key, value) in members where !["protocol", "operations", "fields", "slots", "silence", "server"].contains(key) {
            throw value.failure("'\(key)' does not belong to a server that runs already")
        }
        guard let dialect = members["protocol"] else {
            throw server.failure("'protocol' is missing: openai, llama.cpp, open-inference or ollama")
        }
        var manifest = EngineManifest(dialect: try dialect.choice(EngineManifest.Dialect.self), kinds: [])
        let parts = try server.members(["url", "models"])
        manifest.server = .init(url: try parts["url"]?.string(), models: try parts["models"].map(CargoSource.modelNames))
        if manifest.dialect == .openInference, manifest.server?.models == nil {
            throw server.failure("'models' is missing: this protocol has no list of models, so they are named here")
        }
        manifest.operations = try members["operations"]?.list().map { try path($0) }
        manifest.fields = try members["fields"].map(fields)
        manifest.slots = try members["slots"]?.integer(1...EngineManifest.mostSlots)
        manifest.silence = try members["silence"]?.seconds()
        return manifest
    }

    private static func fields(_ value: YAMLValue) throws -> [String] {
        let names = try value.list().map { try word($0) }
        guard (1...EngineManifest.mostFields).contains(names.count) else {
            throw value.failure("1 to \(EngineManifest.mostFields) fields are named")
        }
        return names
    }

    private static func word(_ value: YAMLValue) throws -> String {
        let text = try value.string()
        guard (1...64).contains(text.utf8.count), text.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) else {
            throw value.failure("a word of at most 64 letters is expected")
        }
        return text
    }

    private static func path(_ value: YAMLValue) throws -> String {
        let text = try word(value)
        guard !text.hasPrefix("/"), !text.contains("..") else { throw value.failure("an operation is such as chat/completions") }
        return text
    }
}
