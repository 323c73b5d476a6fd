import CargoClient
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

/// A job's log on this program's streams: raw, unless a terminal would act on it (docs/rules.md 25).
struct LogPrinter {
    private var out = TerminalText(isTerminal: isatty(STDOUT_FILENO) == 1)
    private var error = TerminalText(isTerminal: isatty(STDERR_FILENO) == 1)
    private var events = EventText()

    mutating func print(_ stream: LogChunk.Stream, _ bytes: [UInt8]) {
        switch stream {
        case .stdout, .answer: Streams.write(out.shown(bytes), to: .standardOutput)
        case .stderr: Streams.write(error.shown(bytes), to: .standardError)
        case .event:
            for said in events.take(bytes) {
                if said.isOutput {
                    Streams.write(out.shown(said.text), to: .standardOutput)
                } else {
                    Streams.write(error.shown(said.text), to: .standardError)
                }
            }
        }
    }
}
