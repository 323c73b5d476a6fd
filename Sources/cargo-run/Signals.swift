@preconcurrency import Dispatch
import Glibc

/// SIGINT and SIGTERM as calls: the first ask for a stop within the job's grace, a second SIGINT ends at once.
final class Signals: Sendable {
    private let sources: [any DispatchSourceSignal]

    /// `stop` is called once for each signal, on a queue of its own.
    init(_ stop: @escaping @Sendable (Int32) -> Void) {
        let queue = DispatchQueue(label: "signals")
        sources = [SIGINT, SIGTERM, SIGHUP].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler { stop(number) }
            source.resume()
            return source
        }
    }

    deinit { for source in sources { source.cancel() } }
}
