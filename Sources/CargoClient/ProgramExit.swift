public import CargoWire

/// The exit codes of programs that run a cargo here or elsewhere.
public enum ProgramExit {
    public static let failed: Int32 = 1
    public static let wrongUsage: Int32 = 2
    public static let timedOut: Int32 = 124
    public static let runtimeFailed: Int32 = 125
    public static let refused: Int32 = 126
    public static let commandNotFound: Int32 = 127

    /// The cargo's own code, 128 + signal, 124 on time-out; 125 when a bound ended a run that says 0 itself.
    public static func code(of exit: ExitReport, limit: Bool = false) -> Int32 {
        if exit.timedOut { return timedOut }
        if let signal = exit.signal { return 128 + Int32(clamping: signal) }
        if exit.oomKilled, exit.exitCode ?? 0 == 0 { return 137 }
        guard let code = exit.exitCode else { return runtimeFailed }
        return code == 0 && limit ? runtimeFailed : Int32(clamping: code)
    }

    /// The same for a job that ran on some host.
    public static func code(of job: Job) -> Int32 {
        if job.status == .complete { return job.exit.map { code(of: $0) } ?? 0 }
        if job.status == .cancelled { return 130 }
        switch job.error.flatMap({ JobErrorCode(rawValue: $0.code) }) {
        case .timedOut: return timedOut
        case .refused: return refused
        case .commandNotFound: return commandNotFound
        case .oomKilled: return 137
        default:
            guard let exit = job.exit else {
                guard let code = job.exitCode, code != 0 else { return runtimeFailed }
                return Int32(clamping: code)
            }
            let code = code(of: exit, limit: true)
            return code == 0 ? runtimeFailed : code
        }
    }
}
