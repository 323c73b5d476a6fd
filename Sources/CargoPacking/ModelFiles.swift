internal import CargoArtifact
internal import CargoFiles
internal import SystemPackage

/// The files of a model, found from those that the author named by what their headers say.
struct ModelFiles {
    /// Every weight file, in order, each once.
    private(set) var paths: [String] = []
    private let serving: CargoConfig.Serving
    private let facts: ModelFacts
    private let estimate: ModelEstimate

    /// Reads headers alone; no weights are loaded.
    init(_ model: CargoSource.Model, kind: CargoKind, folder: Folder) throws {
        guard let first = model.weights.first else { throw SourceFailure(YAMLValue.file, "model: no weights are named") }
        let asked = model.context.map(UInt64.init)
        let context: UInt64?
        if kind == .gguf {
            let (gguf, files) = try ModelFiles.gguf(first, in: folder)
            paths = files
            facts = gguf.facts
            estimate = try gguf.estimate(context: asked)
            context = gguf.context(asked: asked)
            for path in model.weights.dropFirst() where !paths.contains(path) {
                paths += try ModelFiles.gguf(path, in: folder).files
            }
        } else {
            let (header, files) = try ModelFiles.onnx(first, in: folder)
            paths = files
            facts = header.facts
            estimate = try header.estimate(context: asked)
            context = asked
            for path in model.weights.dropFirst() { paths += try ModelFiles.onnx(path, in: folder).files }
        }
        var seen: Set<String> = []
        paths = paths.filter { seen.insert($0).inserted }
        serving = CargoConfig.Serving(
            weights: paths.first ?? first, context: context.flatMap { Int(exactly: $0) }, facts: facts, estimate: estimate)
    }

    /// Writes what the headers say into a config, where its author left it open.
    func fill(_ config: inout CargoConfig) {
        config.serving = serving
        config.model = facts.modelPackConfig
        config.resources = estimate.filling(config.resources)
    }

    private static func gguf(_ path: String, in folder: Folder) throws -> (model: GGUFModel, files: [String]) {
        let (parent, name) = split(path)
        let files = try GGUFModel.fileNames(of: name).map { parent + $0 }
        return (try GGUFModel(try files.map { try header($0, in: folder, GGUFHeader.init(reading:)) }), files)
    }

    private static func onnx(_ path: String, in folder: Folder) throws -> (header: ONNXHeader, files: [String]) {
        let header = try header(path, in: folder, ONNXHeader.init(reading:))
        let parent = split(path).parent
        var files = [path]
        for external in header.externalFiles {
            let file = try SafePath(parent + external.location).text
            guard try source(file, in: folder).length >= external.leastBytes else {
                throw Refusal("onnx-external-path", "'\(file)' is shorter than the model says; get it again from its publisher")
            }
            files.append(file)
        }
        return (header, files)
    }

    /// Reads a header; what is wrong with it is said of its file.
    private static func header<Header>(_ path: String, in folder: Folder, _ read: (FileBytes) throws -> Header) throws -> Header {
        let bytes = try source(path, in: folder)
        do { return try read(bytes) } catch let refusal as Refusal {
            throw Refusal(refusal.rule, "\(path): \(refusal.message)")
        }
    }

    private static func split(_ path: String) -> (parent: String, name: String) {
        guard let slash = path.lastIndex(of: "/") else { return ("", path) }
        return (String(path[...slash]), String(path[path.index(after: slash)...]))
    }

    /// Opened beneath the folder; no symbolic link on the way is followed.
    private static func source(_ path: String, in folder: Folder) throws -> FileBytes {
        do { return try FileBytes(try folder.open(path)) } catch let failure as FileFailure {
            throw SourceFailure(path, "cannot be packed: \(failure.errno)")
        }
    }
}

/// An open file as the bytes that a header reader asks for.
struct FileBytes: ByteSource {
    let file: File
    let length: UInt64

    init(_ file: File) throws {
        let status = try file.status()
        guard status.kind == .regular else { throw SourceFailure(file.path.string, "is no regular file") }
        self.file = file
        length = UInt64(status.size)
    }

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard let offset = Int64(exactly: offset) else { return 0 }
        return try file.read(into: buffer, at: offset)
    }
}
