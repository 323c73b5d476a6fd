/// Takes an attached stream apart: frames of an 8-byte header (stream, three zeros, big-endian length) and a payload
/// (Engine API, ContainerAttach, "Stream format"). A terminal's stream has no frames and is all standard output.
struct LogFrames: Sendable {
    enum Stream: UInt8, Sendable { case stdin, stdout, stderr }

    /// The bytes are no frames.
    struct Malformed: Error {}

    private let isTerminal: Bool
    private var header: [UInt8] = []
    private var stream = Stream.stdout
    private var left = 0

    init(isTerminal: Bool) { self.isTerminal = isTerminal }

    /// Pieces in order; each belongs to one stream. Payloads are passed on as they come, never gathered.
    mutating func take(_ bytes: [UInt8]) throws(Malformed) -> [(stream: Stream, bytes: [UInt8])] {
        if isTerminal { return bytes.isEmpty ? [] : [(.stdout, bytes)] }
        var pieces: [(stream: Stream, bytes: [UInt8])] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            if left > 0 {
                let piece = rest.prefix(left)
                pieces.append((stream, Array(piece)))
                left -= piece.count
                rest = rest.dropFirst(piece.count)
                continue
            }
            let missing = rest.prefix(8 - header.count)
            header += missing
            rest = rest.dropFirst(missing.count)
            guard header.count == 8 else { break }
            // The stream 3 is the engine's own error, which belongs to the reader of standard error.
            guard header[0] <= 3, header[1] == 0, header[2] == 0, header[3] == 0 else { throw Malformed() }
            stream = Stream(rawValue: header[0]) ?? .stderr
            left = header[4...].reduce(0) { $0 << 8 | Int($1) }
            header.removeAll(keepingCapacity: true)
        }
        return pieces
    }
}
