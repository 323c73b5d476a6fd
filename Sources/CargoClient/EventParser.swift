/// Bytes of an event stream in, events out (HTML standard, section 9.2.6 "Interpreting an event stream").
///
/// Pure: it may be fed in pieces cut anywhere.
struct EventParser: Sendable {
    /// One event as the server named it.
    struct Event: Hashable, Sendable {
        /// The last `id` field seen, of this event or an earlier one.
        var id: String
        var name: String
        var data: [UInt8]
    }

    /// A line or an event longer than this is refused: 1 MiB of log in base64, with room.
    static let maximumEvent = 4 << 20

    private var line: [UInt8] = []
    private var afterCarriageReturn = false
    private var id = ""
    private var name = ""
    private var data: [UInt8] = []
    private var hasData = false

    /// Appends the events that `bytes` complete to `events`. Throws when one grows past the bound.
    mutating func feed(_ bytes: UnsafeRawBufferPointer, into events: inout [Event]) throws(ClientError) {
        var start = 0
        let count = bytes.count
        while start < count {
            if afterCarriageReturn {
                afterCarriageReturn = false
                if bytes[start] == 10 {
                    start += 1
                    continue
                }
            }
            var end = start
            while end < count, bytes[end] != 10, bytes[end] != 13 { end += 1 }
            line.append(contentsOf: bytes[start..<end])
            guard line.count + data.count <= EventParser.maximumEvent else {
                throw ClientError(status: 0, code: "too_large", message: "an event of the stream is larger than 4 MiB")
            }
            if end < count {
                afterCarriageReturn = bytes[end] == 13
                endLine(into: &events)
            }
            start = end + 1
        }
    }

    private mutating func endLine(into events: inout [Event]) {
        defer { line.removeAll(keepingCapacity: true) }
        if line.isEmpty {
            if hasData { events.append(Event(id: id, name: name.isEmpty ? "message" : name, data: data)) }
            name = ""
            data = []
            hasData = false
            return
        }
        let colon = line.firstIndex(of: 58) ?? line.endIndex
        let field = line[..<colon]
        var value = line[Swift.min(colon + 1, line.endIndex)...]
        if value.first == 32 { value = value.dropFirst() }
        if field.elementsEqual("data".utf8) {
            if hasData { data.append(10) }
            data.append(contentsOf: value)
            hasData = true
        } else if field.elementsEqual("event".utf8) {
            name = String(decoding: value, as: UTF8.self)
        } else if field.elementsEqual("id".utf8), !value.contains(0) {
            id = String(decoding: value, as: UTF8.self)
        }
    }
}
