import CargoTransfer
import Testing

@testable import CargoClient

@Suite struct TransferMeterTests {
    @Test func `a line says how far a transfer is, how fast, and how long it takes`() {
        var progress = TransferProgress(received: 1 << 30, size: 3 << 30)
        #expect(TransferMeter.line("model.gguf", progress) == "model.gguf  33 % of 3.0 GiB")
        progress.bytesPerSecond = 310.5 * 1024 * 1024
        progress.secondsLeft = 6.2
        #expect(TransferMeter.line("model.gguf", progress) == "model.gguf  33 % of 3.0 GiB  310.5 MiB/s  7 s left")
        progress.secondsLeft = 3_725
        #expect(TransferMeter.line("m", progress).hasSuffix("  1 h 2 min left"))
    }

    @Test func `a line fits a narrow terminal and carries no control character of a foreign name`() {
        let progress = TransferProgress(received: 0, size: 1 << 40, bytesPerSecond: 1, secondsLeft: .infinity)
        let line = TransferMeter.line("\u{1B}[2J" + String(repeating: "x", count: 500), progress)
        #expect(line.count <= 79 && !line.unicodeScalars.contains { $0.value < 32 }, "\(line)")
        #expect(line.hasSuffix("  0 % of 1.0 TiB  1 B/s  99 h 59 min left"))
    }
}
