/// What pid 1 said when the command ended.
struct ContainerEnd: Hashable, Sendable {
    enum Way: Hashable, Sendable { case exited(Int), signalled(Int) }

    var way: Way
    var cpuSeconds: Double
    var peakBytes: Int64
    var oomKills: Int

    /// What an engine reports for it.
    var engineCode: Int {
        switch way {
        case .exited(let code): code
        case .signalled(let signal): 128 + signal
        }
    }
}

/// A line from pid 1 of a container (Sources/container-init/main.c).
enum ControlWord: Hashable, Sendable {
    case executed
    /// The command could not be executed; an errno.
    case failed(Int)
    /// Somebody else than this agent sent the container a signal: the engine, when it ends.
    case told(Int)
    case ended(ContainerEnd)

    init?(line: some StringProtocol) {
        let parts = line.split(separator: " ")
        switch parts.first {
        case "exec" where parts.count == 1: self = .executed
        case "fail":
            guard parts.count == 2, let errno = Int(parts[1]), errno > 0 else { return nil }
            self = .failed(errno)
        case "told":
            guard parts.count == 2, let signal = Int(parts[1]), (1...64).contains(signal) else { return nil }
            self = .told(signal)
        case "end":
            guard parts.count == 6, let number = Int(parts[2]), let cpu = Int64(parts[3]), let peak = Int64(parts[4]),
                let kills = Int(parts[5]), (0...255).contains(number), cpu >= 0, peak >= 0, kills >= 0
            else { return nil }
            let way: ContainerEnd.Way
            switch parts[1] {
            case "exit": way = .exited(number)
            case "signal" where (1...64).contains(number): way = .signalled(number)
            default: return nil
            }
            self = .ended(ContainerEnd(way: way, cpuSeconds: Double(cpu) / 1e9, peakBytes: peak, oomKills: kills))
        default: return nil
        }
    }
}

/// Why a container was stopped from outside.
public enum StopReason: Hashable, Sendable {
    case timedOut, cancelled
    /// `/job/output` grew beyond its bound.
    case outputLimit
}

/// What one container came to.
public struct ContainerOutcome: Hashable, Sendable {
    /// Nil when killed by a signal or timed out.
    public var exitCode: Int?
    public var signal: Int?
    public var oomKilled: Bool
    public var stopped: StopReason?
    /// From the command's start to its end.
    public var wallSeconds: Double
    public var cpuSeconds: Double
    public var maxRSSBytes: Int64
    /// The image that ran: its id, and its digest in a registry where it has one.
    public var imageID: String
    public var imageDigest: String?
    /// Bringing the image here and making the container.
    public var provisioningSeconds: Double

    public var timedOut: Bool { stopped == .timedOut }
}

extension ContainerOutcome {
    /// How a command ended, from what pid 1 said, what the engine says, and why we stopped it.
    ///
    /// An engine's code alone cannot tell `exit 137` from a kill, so pid 1's word counts while it fits the engine's code.
    /// Without a word pid 1 itself was killed: then a code above 128 names the signal.
    static func way(engine code: Int?, end: ContainerEnd?, oomFlag: Bool, stopped: StopReason?) -> (
        exitCode: Int?, signal: Int?, oomKilled: Bool
    ) {
        var exitCode: Int?
        var signal: Int?
        if let end, code == nil || code == end.engineCode {
            switch end.way {
            case .exited(let code): exitCode = code
            case .signalled(let number): signal = number
            }
        } else if let code {
            if (129...192).contains(code) { signal = code - 128 } else { exitCode = code }
        }
        let hasFailed = signal == 9 || (exitCode ?? 0) != 0
        let oomKilled = stopped == nil && hasFailed && ((end?.oomKills ?? 0) > 0 || (end == nil && oomFlag))
        if stopped == .timedOut { exitCode = nil }
        return (exitCode, signal, oomKilled)
    }
}
