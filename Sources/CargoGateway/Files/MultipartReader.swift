/// Reads `multipart/form-data` (RFC 7578) piece by piece, so that a file never lies in memory. Pure: bytes in, events out.
struct MultipartReader {
    enum Event: Equatable {
        case part(name: String, filename: String?)
        case bytes([UInt8])
        case end
    }

    /// Why a body is no form.
    struct Malformed: Error, Hashable { var reason: String }

    private enum State { case preamble, headers, content, over }

    /// Bytes of one part's headers at most.
    private static let largestHeaders = 16 << 10

    private let boundary: [UInt8]
    /// What may still become a boundary or a header: never more than one piece and `largestHeaders`.
    private var buffer: [UInt8] = [13, 10]
    private var state = State.preamble

    var isOver: Bool { state == .over }

    /// - Parameter contentType: the request's; nil when it names no boundary.
    init?(contentType: String) {
        guard contentType.lowercased().hasPrefix("multipart/form-data"),
            let text = MultipartReader.parameter("boundary", in: contentType), !text.isEmpty, text.utf8.count <= 70
        else { return nil }
        boundary = Array("\r\n--\(text)".utf8)
    }

    mutating func take(_ piece: [UInt8]) throws -> [Event] {
        buffer += piece
        var events: [Event] = []
        while try step(&events) {}
        return events
    }

    private mutating func step(_ events: inout [Event]) throws -> Bool {
        switch state {
        case .over:
            buffer = []
            return false
        case .preamble, .content:
            guard let found = MultipartReader.find(boundary, in: buffer) else {
                // The last bytes may be a boundary's first.
                let safe = max(0, buffer.count - boundary.count)
                if state == .content, safe > 0 { events.append(.bytes(Array(buffer[..<safe]))) }
                buffer.removeFirst(safe)
                return false
            }
            guard buffer.count >= found + boundary.count + 2 else { return false }
            if state == .content {
                if found > 0 { events.append(.bytes(Array(buffer[..<found]))) }
                events.append(.end)
            }
            let after = buffer[(found + boundary.count)...].prefix(2)
            guard after.elementsEqual([13, 10]) || after.elementsEqual([45, 45]) else {
                throw Malformed(reason: "a boundary is followed by something else than a part")
            }
            buffer.removeFirst(found + boundary.count + 2)
            state = after.elementsEqual([45, 45]) ? .over : .headers
            return true
        case .headers:
            // A part without headers begins with the empty line at once.
            guard let end = MultipartReader.find([13, 10, 13, 10], in: [13, 10] + buffer) else {
                guard buffer.count <= MultipartReader.largestHeaders else {
                    throw Malformed(reason: "a part's headers are too long")
                }
                return false
            }
            let text = String(decoding: buffer[..<max(0, end - 2)], as: UTF8.self)
            buffer.removeFirst(end + 2)
            events.append(try MultipartReader.part(text))
            state = .content
            return true
        }
    }

    private static func part(_ headers: String) throws -> Event {
        for line in headers.split(separator: "\r\n") where line.lowercased().hasPrefix("content-disposition:") {
            guard let name = parameter("name", in: String(line)) else { break }
            return .part(name: name, filename: parameter("filename", in: String(line)))
        }
        throw Malformed(reason: "a part has no name")
    }

    /// `…; name="value"` or `…; name=value`.
    static func parameter(_ name: String, in header: String) -> String? {
        for part in header.split(separator: ";").dropFirst() {
            let pair = part.split(separator: "=", maxSplits: 1).map { $0.drop { $0 == " " } }
            guard pair.count == 2, pair[0].lowercased() == name else { continue }
            var value = pair[1]
            if value.hasPrefix("\""), value.hasSuffix("\""), value.count >= 2 { value = value.dropFirst().dropLast() }
            return String(value)
        }
        return nil
    }

    private static func find(_ needle: [UInt8], in bytes: [UInt8]) -> Int? {
        guard bytes.count >= needle.count, let first = needle.first else { return nil }
        var start = 0
        while let at = bytes[start...].firstIndex(of: first), at + needle.count <= bytes.count {
            if bytes[at..<(at + needle.count)].elementsEqual(needle) { return at }
            start = at + 1
        }
        return nil
    }
}
