/// The head of an HTTP/1.1 request where it is written as plainly as the specification allows (RFC 9112): one way to read
/// it, so that whoever reads the same bytes again finds the same request and the same end.
///
/// Anything else is no error here, only not plain: folded or repeated fields that matter, transfer codings, other versions,
/// bytes that are not visible ASCII.
struct ExpressHead: Equatable {
    /// What of a field this reads.
    private enum Field {
        case length, authorization, idempotencyKey, host, ignored
        /// One that may change what a request means: the router knows them all.
        case other
    }

    /// Bytes of a head at most.
    static let largest = 8192

    var method: Range<Int>
    var target: Range<Int>
    /// The key behind `Bearer `.
    var token: Range<Int>?
    var idempotencyKey: Range<Int>?
    /// Bytes of the head, the empty line included.
    var headLength: Int
    var bodyLength: Int
    /// Whether every field of it is one that this reads.
    var isWhole: Bool
    /// Whether it says how long its body is.
    var namesLength: Bool

    /// Of head and body.
    var length: Int { headLength + bodyLength }

    /// - Parameter bytes: from the first byte of a request. Nil where its head is not all there or not plain.
    init?(_ bytes: UnsafeBufferPointer<UInt8>) {
        var place = 0
        // The request line: method SP target SP HTTP/1.1
        while place < bytes.count, ExpressHead.isToken(bytes[place]) { place += 1 }
        method = 0..<place
        guard place < bytes.count, bytes[place] == 0x20,
            ExpressHead.methods.contains(where: { $0.utf8CodeUnitCount == place && ExpressHead.matches(bytes, at: 0, $0) })
        else { return nil }
        place += 1
        let start = place
        while place < bytes.count, bytes[place] > 0x20, bytes[place] < 0x7F { place += 1 }
        target = start..<place
        guard !target.isEmpty, ExpressHead.matches(bytes, at: place, " HTTP/1.1\r\n") else { return nil }
        place += 11
        (isWhole, namesLength, bodyLength, headLength) = (true, false, 0, 0)
        var hasHost = false
        while true {
            guard place + 1 < bytes.count, place < ExpressHead.largest else { return nil }
            if bytes[place] == 0x0D {
                guard bytes[place + 1] == 0x0A, hasHost else { return nil }
                headLength = place + 2
                return
            }
            let nameStart = place
            while place < bytes.count, ExpressHead.isToken(bytes[place]) { place += 1 }
            guard place > nameStart, place < bytes.count, bytes[place] == UInt8(ascii: ":") else { return nil }
            let name = nameStart..<place
            place += 1
            while place < bytes.count, bytes[place] == 0x20 { place += 1 }
            let valueStart = place
            while place < bytes.count, bytes[place] >= 0x20, bytes[place] < 0x7F { place += 1 }
            let value = valueStart..<place
            guard ExpressHead.matches(bytes, at: place, "\r\n") else { return nil }
            place += 2
            switch ExpressHead.field(bytes, name, value) {
            case .length:
                guard !namesLength, let length = ExpressHead.number(bytes, value) else { return nil }
                (namesLength, bodyLength) = (true, length)
            case .host:
                guard !hasHost else { return nil }
                hasHost = true
            case .authorization:
                guard token == nil else { return nil }
                if ExpressHead.matches(bytes, at: value.lowerBound, "Bearer ") {
                    token = value.lowerBound + 7..<value.upperBound
                } else {
                    isWhole = false
                }
            case .idempotencyKey:
                guard idempotencyKey == nil else { return nil }
                idempotencyKey = value
            case .ignored: break
            case .other:
                guard !ExpressHead.framing.contains(where: { ExpressHead.isSame(bytes, name, $0) }) else { return nil }
                isWhole = false
            case nil: return nil
            }
        }
    }

    /// Those after which the next request follows.
    private static let methods: [StaticString] = ["POST", "GET", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS"]
    /// Fields that say where a message ends or what follows it.
    private static let framing: [StaticString] = ["transfer-encoding", "upgrade", "expect", "trailer", "te", "http2-settings"]
    /// Fields that change nothing about the answers of this server.
    private static let ignored: [StaticString] = [
        "content-type", "user-agent", "accept", "accept-encoding", "accept-language", "x-forwarded-for", "x-forwarded-proto",
        "x-forwarded-host", "x-real-ip", "via", "forwarded",
    ]

    /// Nil: the connection does not go on as usual after this request.
    private static func field(_ bytes: UnsafeBufferPointer<UInt8>, _ name: Range<Int>, _ value: Range<Int>) -> Field? {
        if isSame(bytes, name, "content-length") { return .length }
        if isSame(bytes, name, "host") { return .host }
        if isSame(bytes, name, "authorization") { return .authorization }
        if isSame(bytes, name, "idempotency-key") { return .idempotencyKey }
        if isSame(bytes, name, "connection") { return isSame(bytes, value, "keep-alive") ? .ignored : nil }
        return ignored.contains { isSame(bytes, name, $0) } ? .ignored : .other
    }

    /// Up to nine digits and nothing else.
    private static func number(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> Int? {
        guard (1...9).contains(range.count) else { return nil }
        var number = 0
        for byte in bytes[range] {
            guard (48...57).contains(byte) else { return nil }
            number = number * 10 + Int(byte - 48)
        }
        return number
    }

    static func matches(_ bytes: UnsafeBufferPointer<UInt8>, at place: Int, _ text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard place + count <= bytes.count else { return false }
        for index in 0..<count where bytes[place + index] != text.utf8Start[index] { return false }
        return true
    }

    /// Whether the bytes are `text`, which is in lower case, in any case.
    private static func isSame(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ text: StaticString) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        for (index, byte) in bytes[range].enumerated() {
            let lower = (65...90).contains(byte) ? byte | 0x20 : byte
            guard lower == text.utf8Start[index] else { return false }
        }
        return true
    }

    /// RFC 9110, section 5.6.2.
    private static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...90, 97...122: true
        case 33, 35...39, 42, 43, 45, 46, 94...96, 124, 126: true
        default: false
        }
    }
}
