public import CargoTransfer
import Glibc
import Synchronization
import SystemPackage

/// One line at the foot of a terminal that says how far a transfer is; nothing where standard error is no terminal.
public final class TransferMeter: Sendable {
    private let isShown: Bool
    /// Columns of what stands there now.
    private let width = Mutex(0)
    /// Most columns that are written: the narrowest terminal that anybody uses.
    private static let columns = 79

    public init() { isShown = isatty(STDERR_FILENO) == 1 }

    /// Replaces the line. `name` is what is fetched, from wherever it comes.
    public func show(_ name: String, _ progress: TransferProgress) {
        write(TransferMeter.line(name, progress), end: "")
    }

    /// Takes the line away, before something else is printed.
    public func end() { write("", end: "\r") }

    private func write(_ text: String, end: String) {
        guard isShown else { return }
        width.withLock { width in
            let padding = String(repeating: " ", count: max(0, width - text.count))
            width = text.count
            _ = try? FileDescriptor.standardError.writeAll(Array(("\r" + text + padding + end).utf8))
        }
    }

    /// `model.gguf  41 % of 2.9 GiB  310.0 MiB/s  6 s left`, cut to fit.
    static func line(_ name: String, _ progress: TransferProgress) -> String {
        let done = progress.size > 0 ? Int(Double(progress.received) / Double(progress.size) * 100) : 100
        var text = "  \(done) % of \(bytes(Double(progress.size)))"
        if let rate = progress.bytesPerSecond { text += "  \(bytes(rate))/s" }
        if let left = progress.secondsLeft { text += "  \(duration(left)) left" }
        return printable(name).prefix(max(8, columns - text.count)) + text
    }

    private static func bytes(_ count: Double) -> String {
        var (value, unit) = (count, "B")
        for next in ["KiB", "MiB", "GiB", "TiB"] where value >= 1024 { (value, unit) = (value / 1024, next) }
        guard unit != "B" else { return "\(Int(value)) B" }
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) \(unit)"
    }

    private static func duration(_ seconds: Double) -> String {
        let whole = Int(min(max(seconds, 0), 359_999).rounded(.up))
        if whole < 60 { return "\(whole) s" }
        if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
        return "\(whole / 3600) h \(whole % 3600 / 60) min"
    }
}
