/// Everything that a GGUF file (version 2 or 3) says before its weights.
///
/// Reads the header alone, in small pieces; the weights are never loaded. Whatever the file says, the work is bounded by
/// the constants below; what does not fit them or the file's length ends as a `Refusal` with the rule `gguf-header`.
public struct GGUFHeader: Sendable {
    /// Bytes read at most: the largest known vocabularies with merges stay below 32 MiB.
    public static let mostBytesRead: UInt64 = 128 << 20
    /// Metadata entries.
    public static let mostEntries: UInt64 = 16_384
    /// Tensors in one file.
    public static let mostTensors: UInt64 = 65_536
    /// Longest metadata key in bytes, as the format has it.
    public static let longestKey = 65_535
    /// Metadata keys in all, bytes.
    public static let keptKeyBytes = 4 << 20
    /// The largest `general.alignment` in bytes.
    public static let largestAlignment: UInt64 = 1 << 20

    public let version: UInt32
    public let metadata: [String: GGUFValue]
    public let tensors: [GGUFTensor]
    /// Bytes; every tensor begins at a multiple of it.
    public let alignment: UInt64
    /// Where the data section begins, bytes from the start of the file.
    public let dataOffset: UInt64
    /// Bytes of the whole file.
    public let fileLength: UInt64

    /// Reads the header of `source`. Throws a `Refusal`, or what the source throws.
    public init(reading source: any ByteSource) throws {
        var cursor = HeaderCursor(source, format: "GGUF", readBudget: Self.mostBytesRead)
        fileLength = cursor.length
        guard cursor.length >= 24, try cursor.integer(UInt32.self) == 0x4655_4747 else {
            throw Refusal(cursor.rule, "The file does not begin with 'GGUF'; give a model in the GGUF format.")
        }
        version = try cursor.integer(UInt32.self)
        guard version == 2 || version == 3 else {
            let swapped = version & 0xffff == 0
            throw Refusal(
                cursor.rule,
                swapped
                    ? "The GGUF file is big-endian, which no host here can run; convert it to little-endian."
                    : "The GGUF file has version \(version), and only 2 and 3 are known; convert the model again.")
        }
        let tensorCount = try cursor.integer(UInt64.self)
        let entryCount = try cursor.integer(UInt64.self)
        guard tensorCount <= Self.mostTensors, tensorCount <= cursor.remaining / 24 else {
            throw cursor.refusal("announces \(tensorCount) tensors, more than it can hold")
        }
        guard entryCount <= Self.mostEntries, entryCount <= cursor.remaining / 13 else {
            throw cursor.refusal("announces \(entryCount) metadata entries, more than it can hold")
        }
        metadata = try Self.entries(entryCount, &cursor)
        alignment = try Self.alignment(of: metadata, cursor)
        var tensors: [GGUFTensor] = []
        var names: Set<String> = []
        for _ in 0..<tensorCount {
            let tensor = try GGUFTensor(&cursor)
            guard names.insert(tensor.name).inserted else { throw cursor.refusal("names the tensor '\(tensor.name)' twice") }
            tensors.append(tensor)
        }
        self.tensors = tensors
        let (padded, overflow) = cursor.position.addingReportingOverflow(alignment - 1)
        dataOffset = tensors.isEmpty ? cursor.position : padded / alignment * alignment
        guard !overflow else { throw cursor.refusal("ends past the end of the file") }
        try Self.place(tensors, from: dataOffset, alignment: alignment, cursor)
    }

    private static func entries(_ count: UInt64, _ cursor: inout HeaderCursor) throws -> [String: GGUFValue] {
        var metadata: [String: GGUFValue] = [:]
        var reader = GGUFValueReader()
        var keyBudget = keptKeyBytes
        for _ in 0..<count {
            let key = try cursor.name(try cursor.integer(UInt64.self), atMost: min(longestKey, keyBudget), what: "metadata key")
            keyBudget -= key.utf8.count
            let type = try GGUFType.read(&cursor)
            let value = try reader.value(type, &cursor)
            guard metadata.updateValue(value, forKey: key) == nil else {
                throw cursor.refusal("has the metadata key '\(key.prefix(80))' twice")
            }
        }
        return metadata
    }

    private static func alignment(of metadata: [String: GGUFValue], _ cursor: HeaderCursor) throws -> UInt64 {
        guard let value = metadata["general.alignment"] else { return 32 }
        guard let alignment = value.integer, alignment > 0, alignment & (alignment - 1) == 0, alignment <= largestAlignment
        else { throw cursor.refusal("has a 'general.alignment' that is no power of two up to \(largestAlignment)") }
        return alignment
    }

    /// Every tensor lies inside the file, aligned, and shares no byte with another.
    private static func place(_ tensors: [GGUFTensor], from start: UInt64, alignment: UInt64, _ cursor: HeaderCursor) throws {
        var free: UInt64 = 0
        for tensor in tensors.sorted(by: { ($0.offset, $0.bytes) < ($1.offset, $1.bytes) }) {
            guard tensor.offset % alignment == 0 else { throw cursor.refusal("places the tensor '\(tensor.name)' unaligned") }
            guard tensor.offset >= free else { throw cursor.refusal("places the tensor '\(tensor.name)' over another one") }
            let (end, overflow) = tensor.offset.addingReportingOverflow(tensor.bytes)
            guard !overflow, start <= cursor.length, end <= cursor.length - start else {
                throw cursor.refusal("places the tensor '\(tensor.name)' past the end of the file")
            }
            free = end
        }
    }
}
