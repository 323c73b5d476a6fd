import Glibc
import Logging
import NIOCore
import NIOSSL
import Synchronization
import SystemPackage

/// The certificate and key that the server shows, read again when their files change: a renewed certificate needs no restart.
final class ServerCertificate: Sendable {
    /// What of the files tells that they changed.
    private struct Stamp: Equatable {
        var seconds: [Int]
        var nanoseconds: [Int]
    }

    private struct State {
        var context: NIOSSLContext
        var stamp: Stamp?
        var looked: ContinuousClock.Instant
    }

    /// How often a new connection looks at the files at most.
    private static let lookEvery = Duration.seconds(30)

    private let files: TLSFiles
    private let logger: Logger
    private let state: Mutex<State>

    /// Throws what the person who wrote the paths must know.
    init(_ files: TLSFiles, logger: Logger) throws {
        self.files = files
        self.logger = logger
        let stamp = Self.stamp(files)
        state = Mutex(State(context: try Self.load(files), stamp: stamp, looked: .now))
    }

    /// Begins TLS on a new connection.
    func secure(_ channel: any Channel) throws {
        try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: current()))
    }

    private func current() -> NIOSSLContext {
        state.withLock { state in
            guard ContinuousClock.now - state.looked > Self.lookEvery else { return state.context }
            state.looked = .now
            let stamp = Self.stamp(files)
            guard stamp != state.stamp else { return state.context }
            do {
                state.context = try Self.load(files)
                state.stamp = stamp
                logger.notice("the certificate was read again", metadata: ["file": "\(files.certificate)"])
            } catch {
                logger.error("the changed certificate is not taken: the old one stays", metadata: ["error": "\(error)"])
            }
            return state.context
        }
    }

    private static func load(_ files: TLSFiles) throws -> NIOSSLContext {
        do {
            let chain = try NIOSSLCertificate.fromPEMFile(files.certificate.string)
            let key = try NIOSSLPrivateKey(file: files.key.string, format: .pem)
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = ["http/1.1"]
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw TLSFiles.Unusable(
                description: "\(files.certificate) and \(files.key) are no PEM certificate with its key: \(error)")
        }
    }

    private static func stamp(_ files: TLSFiles) -> Stamp? {
        var stamp = Stamp(seconds: [], nanoseconds: [])
        for path in [files.certificate, files.key] {
            var status = stat()
            guard stat(path.string, &status) == 0 else { return nil }
            stamp.seconds.append(status.st_mtim.tv_sec)
            stamp.nanoseconds.append(status.st_mtim.tv_nsec)
        }
        return stamp
    }
}
