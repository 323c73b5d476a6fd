import ArgumentParser
import CargoArtifact
import CargoRunner

/// What a host's owner lets one job take of the log and of the disk.
struct HostLimits: ParsableArguments {
    @Option(name: .customLong("log-total"), help: "Most bytes of a job's log that are kept, e.g. 64MiB.")
    var logTotal: ByteCount?

    @Option(name: .customLong("log-rate"), help: "Most bytes of it a second, e.g. 16MiB; what says more has to wait.")
    var logRate: ByteCount?

    @Option(name: .customLong("log-burst"), help: "Bytes of it at once before that, e.g. 32MiB.")
    var logBurst: ByteCount?

    @Option(name: .customLong("log-line"), help: "Most bytes of one line, e.g. 4MiB; longer ones are split and marked.")
    var logLine: ByteCount?

    @Option(name: .customLong("disk-rate"), help: "Most bytes a second from and to the store's disk, e.g. 100MiB.")
    var diskRate: ByteCount?

    var log: LogLimits {
        let plain = LogLimits()
        return LogLimits(
            total: logTotal?.bytes ?? plain.total, rate: logRate?.bytes ?? plain.rate, burst: logBurst?.bytes ?? plain.burst,
            line: logLine.map { Int($0.bytes) } ?? plain.line)
    }
}
