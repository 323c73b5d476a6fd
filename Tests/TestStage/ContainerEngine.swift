internal import Foundation

/// A Docker engine of a test's own: own data, own socket, gone with the value or with the test process.
///
/// A shell holds the engine: when its standard input ends, however that comes, it stops the engine; until then an
/// engine that ends is started again, as a host's service manager does.
public final class ContainerEngine: Sendable {
    public static let isHere =
        getuid() == 0
        && ["/usr/sbin/dockerd", "/usr/bin/dockerd"].contains { FileManager.default.isExecutableFile(atPath: $0) }

    /// For `DOCKER_HOST`.
    public let address: String
    private let folder: String
    private let shell: Process
    private let lifeline = Pipe()

    public init() throws {
        let at = "/tmp/longshore-engine-\(UInt32.random(in: .min ... .max))"
        try FileManager.default.createDirectory(atPath: at, withIntermediateDirectories: true)
        folder = at
        address = "unix://\(at)/engine.sock"
        shell = Process()
        shell.executableURL = URL(filePath: "/bin/sh")
        shell.arguments = [
            "-c",
            """
            until [ -e \(at)/stop ]; do
              dockerd --data-root \(at)/data --exec-root \(at)/exec --pidfile \(at)/pid --host \(address) \
                --bridge=none --iptables=false
              sleep 0.2
            done </dev/null >>\(at)/log 2>&1 &
            engine=$!
            cat >/dev/null
            touch \(at)/stop
            while kill -0 $engine 2>/dev/null; do kill $(cat \(at)/pid 2>/dev/null) 2>/dev/null; sleep 2; done
            kill $(cat \(at)/exec/containerd/containerd.pid 2>/dev/null) 2>/dev/null
            umount \(at)/data/overlay2/*/merged \(at)/data/overlay* \(at)/data 2>/dev/null
            rm -rf \(at)
            """,
        ]
        shell.environment = ["PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]
        shell.standardInput = lifeline
        try shell.run()
    }

    deinit { try? lifeline.fileHandleForWriting.close() }

    /// The engine that runs now.
    public var processID: Int32? {
        (try? String(contentsOfFile: folder + "/pid", encoding: .utf8)).flatMap {
            Int32($0.trimmingCharacters(in: .whitespacesAndNewlines))
        }
    }

    /// Waits until its socket is there.
    public func ready() async throws {
        let path = String(address.dropFirst("unix://".count))
        guard await eventually({ FileManager.default.fileExists(atPath: path) }) else {
            throw StageFailure("the container engine did not start")
        }
    }
}
