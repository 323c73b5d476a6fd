import ArgumentParser
import CargoBlobs
import CargoCoordinator
import CargoQueue
import CargoWebhooks
import FoundationEssentials
import Logging
import SystemPackage

/// `serve`: runs the coordinator until SIGTERM.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Serves the API on one data folder.")

    @Option(help: ArgumentHelp("Folder of jobs, logs, blobs and keys; made when missing.", valueName: "DIR"))
    var data: String

    @Option(help: ArgumentHelp("Where to listen; port 0 takes a free one.", valueName: "ADDR:PORT"))
    var listen = "127.0.0.1:8080"

    @Option(
        name: .customLong("tls-cert"),
        help: ArgumentHelp(
            "The certificate to serve https with, and its chain, as PEM; read again when it changes.", valueName: "FILE"))
    var tlsCertificate: String?

    @Option(name: .customLong("tls-key"), help: ArgumentHelp("The certificate's key, as PEM.", valueName: "FILE"))
    var tlsKey: String?

    @Option(help: ArgumentHelp("How long a host may be silent before its job goes to another.", valueName: "N"))
    var leaseSeconds = 30.0

    @Option(
        name: .customLong("allow-callback"),
        help: ArgumentHelp(
            "Addresses that are not public but may get callbacks, such as 10.0.0.0/8. Repeatable.", valueName: "BLOCK"))
    var callbacks: [String] = []

    @Option(
        help: ArgumentHelp(
            "A PostgreSQL database that several coordinators share; without it SQLite in --data.", valueName: "postgres://…"))
    var store: String?

    @Option(
        help: ArgumentHelp(
            "Where the other coordinators on the same database reach this one; without it where it listens.",
            valueName: "URL"))
    var advertise: String?

    @Option(
        help: ArgumentHelp(
            "A bucket for uploads, inputs and outputs of jobs, such as s3://jobs?endpoint=https://objects.example; keys come from "
                + "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Without it they lie in --data.", valueName: "s3://…"))
    var blobs: String?

    @Option(
        help: ArgumentHelp(
            "Mebibytes of the disk that stay free for the ends of accepted jobs: new ones get 507 before.", valueName: "MIB"))
    var reserve = 64

    @Option(
        help: ArgumentHelp(
            "Append a JSON line for each request: method, route, status, ms, bytes, key id, request, job and trace. - is standard "
                + "output.", valueName: "FILE"))
    var accessLog: String?

    @Option(help: ArgumentHelp("Jobs of one account that may wait at once.", valueName: "N"))
    var accountJobs = 2_000_000

    @Option(
        help: ArgumentHelp(
            "Gibibytes that one account may keep: jobs, uploads, logs, outputs. Fractions allowed.", valueName: "GIB"))
    var accountStorage = 1024.0

    func validate() throws {
        guard accountJobs >= 1, accountJobs <= 100_000_000 else {
            throw ValidationError("--account-jobs is from 1 to 100000000.")
        }
        guard accountStorage > 0, accountStorage <= 1_048_576 else {
            throw ValidationError("--account-storage is more than 0 and at most 1048576 GiB.")
        }
        guard (tlsCertificate == nil) == (tlsKey == nil) else { throw ValidationError("--tls-cert and --tls-key go together.") }
        guard reserve >= 0, reserve <= 1 << 20 else { throw ValidationError("--reserve is from 0 to 1048576 MiB.") }
        try Self.check(store: store)
        if let advertise {
            guard advertise.hasPrefix("http://") || advertise.hasPrefix("https://"), advertise.utf8.count <= 1000 else {
                throw ValidationError("--advertise is a URL such as http://10.0.0.2:8080.")
            }
        }
        if let blobs {
            guard S3Place(blobs) != nil else {
                throw ValidationError("--blobs is s3://BUCKET[/PREFIX][?endpoint=URL][&region=NAME].")
            }
            guard S3Credentials(environment: ProcessInfo.processInfo.environment) != nil else {
                throw ValidationError("--blobs needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment.")
            }
        }
        for block in callbacks where AddressBlock(block) == nil {
            throw ValidationError("--allow-callback is a block of addresses such as 10.0.0.0/8, not '\(block)'.")
        }
        guard Self.address(listen) != nil else { throw ValidationError("--listen is ADDRESS:PORT, such as 127.0.0.1:8080.") }
        guard leaseSeconds >= 0.5, leaseSeconds <= 3600 else { throw ValidationError("--lease-seconds is from 0.5 to 3600.") }
    }

    static func check(store: String?) throws {
        guard let store, !store.hasPrefix("postgres://"), !store.hasPrefix("postgresql://") else { return }
        throw ValidationError("--store is a URL such as postgres://user@host/database.")
    }

    static func address(_ text: String) -> (host: String, port: Int)? {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        return host.isEmpty ? nil : (String(host), Int(port))
    }

    func run() async throws {
        guard let (host, port) = Self.address(listen) else { return }
        LoggingSystem.bootstrap { label in
            var handler = StreamLogHandler.standardError(label: label)
            handler.logLevel = .notice
            return handler
        }
        var settings = CoordinatorSettings(data: FilePath(data))
        (settings.host, settings.port) = (host, port)
        if let tlsCertificate, let tlsKey {
            settings.tls = TLSFiles(certificate: FilePath(tlsCertificate), key: FilePath(tlsKey))
        }
        settings.store.leaseSeconds = leaseSeconds
        settings.store.queuedPerAccount = accountJobs
        settings.store.bytesPerAccount = Int64(accountStorage * 1_073_741_824)
        settings.database = store
        settings.advertise = advertise
        if let place = blobs.flatMap({ S3Place($0) }),
            let credentials = S3Credentials(environment: ProcessInfo.processInfo.environment)
        {
            settings.blobs = (place, credentials)
        }
        settings.accessLog = accessLog.map { FilePath($0) }
        settings.reserve = Int64(reserve) << 20
        settings.callbacks = callbacks.compactMap { AddressBlock($0) }
        let coordinator = try await Coordinator(settings, logger: Logger(label: "longshore-coordinator"))
        if let key = coordinator.newAdminKey {
            say("admin key (shown once, kept in \(settings.data.appending("admin.key"))): \(key)")
        }
        try await coordinator.run { say("listening on \($0)") }
    }
}
