import ArgumentParser
import CargoArtifact
import CargoRunner

/// What a host's owner lets one job log.
struct LogOptions: ParsableArguments {
    @Option(name: .customLong("log-total"), help: "Most bytes of a job's log that are kept, e.g. 64MiB.")
    var total: ByteCount?

    @Option(name: .customLong("log-rate"), help: "Most bytes of it a second, e.g. 16MiB; what says more has to wait.")
    var rate: ByteCount?

    @Option(name: .customLong("log-burst"), help: "Bytes of it at once before that, e.g. 32MiB.")
    var burst: ByteCount?

    @Option(name: .customLong("log-line"), help: "Most bytes of one line, e.g. 4MiB; longer ones are split and marked.")
    var line: ByteCount?

    var limits: LogLimits {
        let plain = LogLimits()
        return LogLimits(
            total: total?.bytes ?? plain.total, rate: rate?.bytes ?? plain.rate, burst: burst?.bytes ?? plain.burst,
            line: line.map { Int($0.bytes) } ?? plain.line)
    }
}
