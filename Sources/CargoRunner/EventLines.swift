internal import CargoArtifact
internal import FoundationEssentials

/// The events that a cargo with `interface: stdio-jsonl` says on its standard output, one JSON object a line. Pure.
///
/// `{"type": "status"|"token"|"progress"|"image"|"done"|"error", …}`. A line that is none of these stays what it is, a line of the
/// log, and an event of type `malformed` says so. Pictures are taken out of the stream: they become outputs, and their event names the file.
struct EventLines {
    /// What a part of the standard output became.
    enum Part: Equatable {
        /// One event as it goes on: canonical JSON and a line feed.
        case event([UInt8])
        case log([UInt8])
    }

    /// A picture that a line carried.
    struct Image: Equatable {
        var path: String
        var bytes: [UInt8]
        var digest: Digest
    }

    /// Bytes of a line; a longer one is log from its beginning on. A picture of 8 MiB in base64 has room.
    static let longestLine = 12 << 20
    /// Bytes of an event as it goes on.
    static let longestEvent = JobLog.eventBytes
    /// Pictures of one job, and their bytes together, which are held until the job ends.
    static let mostImages = 64
    static let mostImageBytes = 32 << 20
    /// Malformed lines that are reported one by one.
    static let mostReports = 20

    private(set) var images: [Image] = []
    private(set) var malformed = 0
    /// The sentence of the last `error` event.
    private(set) var failure: String?
    private var imageBytes = 0
    private var line: [UInt8] = []
    private var number = 0
    /// The rest of a line that is too long.
    private var isPassing = false

    mutating func take(_ piece: [UInt8]) -> [Part] {
        var parts: [Part] = []
        var start = 0
        while start < piece.count {
            let end = piece[start...].firstIndex(of: 10)
            let stop = end.map { $0 + 1 } ?? piece.count
            let part = piece[start..<stop]
            start = stop
            if isPassing {
                parts.append(.log(Array(part)))
            } else {
                line += part
                if line.count > EventLines.longestLine {
                    parts += reject("it is longer than \(EventLines.longestLine) bytes")
                    isPassing = true
                } else if end != nil {
                    parts += finishLine()
                }
            }
            if end != nil { isPassing = false }
        }
        return parts
    }

    /// The last line may lack its end.
    mutating func finish() -> [Part] { line.isEmpty ? [] : finishLine() }

    private mutating func finishLine() -> [Part] {
        number += 1
        let text = line.last == 10 ? line.dropLast() : line[...]
        if text.allSatisfy({ $0 == 32 || $0 == 9 || $0 == 13 }) {
            line = []
            return []
        }
        let value: JSONValue
        do { value = try StrictJSON.parse(Array(text), limit: EventLines.longestLine) } catch {
            return reject("it is not JSON: \(error.reason)")
        }
        switch event(value) {
        case .success(let event):
            guard let bytes = try? EventLines.json(event), bytes.count <= EventLines.longestEvent else {
                return reject("its event is longer than \(EventLines.longestEvent) bytes")
            }
            line = []
            return [.event(bytes)]
        case .failure(let malformed): return reject(malformed.reason)
        }
    }

    private struct Malformed: Error { var reason: String }

    /// Keeps the line as log, and reports it.
    private mutating func reject(_ reason: String) -> [Part] {
        malformed += 1
        defer { line = [] }
        guard malformed <= EventLines.mostReports else { return [.log(line)] }
        let report = JSONValue.object([
            "type": .string("malformed"), "line": .integer(Int64(number)),
            "message": .string("This line is no event: \(reason)."),
        ])
        return [.log(line)] + ((try? EventLines.json(report)).map { [.event($0)] } ?? [])
    }

    private mutating func event(_ value: JSONValue) -> Result<JSONValue, Malformed> {
        guard case .object(var fields) = value, case .string(var type)? = fields["type"] else {
            return .failure(Malformed(reason: "it is no JSON object with a 'type'"))
        }
        func isText(_ name: String) -> Bool { if case .string? = fields[name] { true } else { false } }
        func isNumber(_ name: String) -> Bool {
            switch fields[name] {
            case .integer, .number: true
            default: false
            }
        }
        if type == "chunk" { (type, fields["type"]) = ("token", .string("token")) }
        switch type {
        case "status": guard isText("message") else { return .failure(Malformed(reason: "a status needs a 'message'")) }
        case "token": guard isText("content") else { return .failure(Malformed(reason: "a token needs its 'content'")) }
        case "progress":
            guard isNumber("step"), isNumber("total") else {
                return .failure(Malformed(reason: "progress needs 'step' and 'total'"))
            }
        case "image": return image(fields)
        case "error":
            guard case .string(let message)? = fields["message"] else {
                return .failure(Malformed(reason: "an error needs a 'message'"))
            }
            failure = String(message.prefix(1000))
        case "done": break
        default: return .failure(Malformed(reason: "its type is none of status, token, progress, image, done, error"))
        }
        return .success(.object(fields))
    }

    private mutating func image(_ from: [String: JSONValue]) -> Result<JSONValue, Malformed> {
        var fields = from
        guard case .string(let text)? = fields.removeValue(forKey: "data"), let data = Data(base64Encoded: text), !data.isEmpty
        else {
            return .failure(Malformed(reason: "an image needs its 'data' in base64"))
        }
        guard images.count < EventLines.mostImages, imageBytes + data.count <= EventLines.mostImageBytes else {
            return .failure(
                Malformed(reason: "a job may say \(EventLines.mostImages) images of \(EventLines.mostImageBytes) bytes together"))
        }
        var format = "png"
        if case .string(let named)? = fields["format"] { format = named.lowercased() }
        guard (1...8).contains(format.utf8.count), format.utf8.allSatisfy({ (97...122).contains($0) || (48...57).contains($0) })
        else {
            return .failure(Malformed(reason: "an image's 'format' is a word such as png or jpeg"))
        }
        let bytes = [UInt8](data)
        let image = Image(path: "image-\(images.count + 1).\(format)", bytes: bytes, digest: Digest(of: bytes))
        images.append(image)
        imageBytes += bytes.count
        fields["format"] = .string(format)
        fields["path"] = .string(image.path)
        fields["size"] = .integer(Int64(bytes.count))
        fields["sha256"] = .string(image.digest.hex)
        return .success(.object(fields))
    }

    private static func json(_ value: JSONValue) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return [UInt8](try encoder.encode(value)) + [10]
    }
}
