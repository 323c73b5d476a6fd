internal import NIOCore

/// Cuts a stream of bytes into lines, wherever its pieces were cut: in the middle of a character, of a line, between `\r` and `\n`.
struct StreamLines {
    /// A line had more bytes than the bound.
    struct TooLong: Error {}

    /// Bytes of one line.
    let limit: Int
    private var rest: [UInt8] = []
    /// How much of `rest` is known to hold no line feed.
    private var searched = 0

    init(limit: Int) { self.limit = limit }

    /// Takes a piece and gives the lines that it completes, without their ends.
    mutating func take(_ piece: some Collection<UInt8>) throws(TooLong) -> [[UInt8]] {
        rest += piece
        var lines: [[UInt8]] = []
        var start = 0
        while let end = rest[max(start, searched)...].firstIndex(of: UInt8(ascii: "\n")) {
            guard end - start <= limit else { throw TooLong() }
            let stop = end > start && rest[end - 1] == UInt8(ascii: "\r") ? end - 1 : end
            lines.append(Array(rest[start..<stop]))
            start = end + 1
        }
        rest.removeFirst(start)
        searched = rest.count
        guard rest.count <= limit else { throw TooLong() }
        return lines
    }

    /// What is left when the stream ends: a line without its end, or nothing.
    mutating func finish() -> [UInt8]? {
        defer { (rest, searched) = ([], 0) }
        return rest.isEmpty ? nil : rest
    }
}

/// Puts lines together to server-sent events (WHATWG HTML, section 9.2), of which only `data` counts here.
struct ServerSentEvents {
    private var lines: StreamLines
    private var data: [UInt8] = []
    private var hasData = false
    private let limit: Int

    /// `limit`: bytes of one event.
    init(limit: Int) {
        self.limit = limit
        lines = StreamLines(limit: limit)
    }

    /// The data of each event that this piece completes.
    mutating func take(_ piece: some Collection<UInt8>) throws(StreamLines.TooLong) -> [[UInt8]] {
        var events: [[UInt8]] = []
        for line in try lines.take(piece) {
            guard !line.isEmpty else {
                if hasData { events.append(data) }
                (data, hasData) = ([], false)
                continue
            }
            // Comments, ids and names say nothing to OpenAI's clients; `error:` is llama-server's name for an error's data.
            let name = line.prefix { $0 != UInt8(ascii: ":") }
            guard name.elementsEqual("data".utf8) || name.elementsEqual("error".utf8) else { continue }
            var value = line.dropFirst(name.count + 1)
            if value.first == UInt8(ascii: " ") { value = value.dropFirst() }
            if hasData { data.append(UInt8(ascii: "\n")) }
            guard data.count + value.count <= limit else { throw StreamLines.TooLong() }
            data += value
            hasData = true
        }
        return events
    }

    /// One event as it is sent.
    static func event(_ data: some Collection<UInt8>) -> [UInt8] { Array("data: ".utf8) + data + [10, 10] }

    static let done = event("[DONE]".utf8)
}
