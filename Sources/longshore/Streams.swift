import CargoWire
import FoundationEssentials
import Glibc
import SystemPackage

/// This program's own standard streams: results on the first, everything else on the second.
enum Streams {
    static func note(_ line: String) { write(Array((line + "\n").utf8), to: .standardError) }

    static func result(_ line: String) { write(Array((line + "\n").utf8), to: .standardOutput) }

    /// One JSON value a line.
    static func json(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        write(Array(try encoder.encode(value)) + [10], to: .standardOutput)
    }

    /// A reader that is gone ends the program as it ends any other in a pipeline.
    static func write(_ bytes: [UInt8], to stream: FileDescriptor) {
        do { _ = try stream.writeAll(bytes) } catch { exit(128 + SIGPIPE) }
    }
}

/// A job's log on this program's streams: raw, unless a terminal would act on it (RULES.md 25).
struct LogPrinter {
    private var out = TerminalText(isTerminal: isatty(STDOUT_FILENO) == 1)
    private var error = TerminalText(isTerminal: isatty(STDERR_FILENO) == 1)

    mutating func print(_ stream: LogChunk.Stream, _ bytes: [UInt8]) {
        switch stream {
        case .stdout: Streams.write(out.shown(bytes), to: .standardOutput)
        case .stderr: Streams.write(error.shown(bytes), to: .standardError)
        }
    }
}

/// Bytes as a terminal may see them: control characters other than line ends and tabs become visible text.
struct TerminalText {
    let isTerminal: Bool
    /// A 0xC2 that ended the last piece: with the next byte it may be a control character of the upper range.
    private var pendingC2 = false

    init(isTerminal: Bool) { self.isTerminal = isTerminal }

    mutating func shown(_ bytes: [UInt8]) -> [UInt8] {
        guard isTerminal else { return bytes }
        var out: [UInt8] = []
        out.reserveCapacity(bytes.count)
        for byte in bytes {
            if pendingC2 {
                pendingC2 = false
                if (0x80...0x9F).contains(byte) {
                    out += Array("\\x".utf8) + hex(byte)
                    continue
                }
                out.append(0xC2)
            }
            switch byte {
            case 0xC2: pendingC2 = true
            case 9, 10, 13: out.append(byte)
            case 0..<32: out += [94, byte + 64]
            case 127: out += [94, 63]
            default: out.append(byte)
            }
        }
        return out
    }

    private func hex(_ byte: UInt8) -> [UInt8] { Array(String(byte, radix: 16).utf8) }
}
