import Testing

@testable import CargoClient

/// A job's bytes on a terminal say what they are and do nothing.
@Suite struct TerminalTextTests {
    private func shown(_ bytes: [UInt8], pieces size: Int, terminal: Bool = true) -> [UInt8] {
        var text = TerminalText(isTerminal: terminal)
        return stride(from: 0, to: bytes.count, by: size).flatMap { text.shown(Array(bytes[$0..<min(bytes.count, $0 + size)])) }
    }

    @Test(arguments: [1, 2, 100])
    func `control characters become visible however the bytes were cut`(size: Int) {
        let bytes = Array("a\u{1b}[2J\u{7}\t\u{9b}é\u{7f}\n".utf8)
        #expect(shown(bytes, pieces: size) == Array("a^[[2J^G\t\\x9bé^?\n".utf8))
    }

    @Test func `a pipe gets the bytes as they are`() {
        let bytes = (0...255).map { UInt8($0) }
        #expect(shown(bytes, pieces: 7, terminal: false) == bytes)
    }
}
