import CargoArtifact
import CargoDocker
import CargoFiles
import Foundation
import Synchronization
import SystemPackage

/// A container engine of the tests' own: own data, own socket, gone with the test process.
///
/// A shell holds the engine: when this process ends, however it ends, its standard input does, and it stops the engine by pid.
final class TestEngine: Sendable {
    static let hasDocker = isRoot && has("dockerd") && has("busybox")
    static let hasPodman = isRoot && has("podman") && has("runc") && has("busybox")

    private static let made = Mutex<[Engine.Kind: Result<TestEngine, any Error>]>([:])

    let socket: FilePath
    let folder: FilePath
    private let shell: Process
    private let lifeline: Pipe

    static func shared(_ kind: Engine.Kind) throws -> TestEngine {
        try made.withLock { made in
            let result = made[kind] ?? Result { try TestEngine(kind) }
            made[kind] = result
            return try result.get()
        }
    }

    private init(_ kind: Engine.Kind) throws {
        folder = try TestFolder.make("longshore-\(kind.rawValue)")
        socket = folder.appending("engine.sock")
        let at = folder.string
        let command =
            switch kind {
            case .docker:
                "dockerd --data-root \(at)/data --exec-root \(at)/exec --pidfile \(at)/pid --host unix://\(socket) --bridge=none --iptables=false"
            case .podman:
                "unshare --mount --propagation slave podman --runtime runc --root \(at)/data --runroot \(at)/run --cgroup-manager cgroupfs system service -t 0 unix://\(socket)"
            }
        shell = Process()
        lifeline = Pipe()
        shell.executableURL = URL(filePath: "/bin/sh")
        shell.arguments = [
            "-c",
            // conmon leaves a file `oom` in its working directory.
            "cd \(at); \(command) </dev/null >\(at)/log 2>&1 & engine=$!; cat >/dev/null; kill $engine; wait $engine; umount \(at)/data/overlay 2>/dev/null; rm -rf \(at)",
        ]
        shell.standardInput = lifeline
        try shell.run()
    }

    /// Waits until it answers.
    func connect() async throws -> Engine {
        var last: any Error = CancellationError()
        for _ in 0..<300 {
            do { return try await Engine.connect(socket) } catch { last = error }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw last
    }

    private static var isRoot: Bool { getuid() == 0 }
    private static func has(_ program: String) -> Bool {
        ["/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"].contains { access($0 + program, X_OK) == 0 }
    }
}

enum TestFolder {
    static func make(_ name: String, in parent: FilePath = "/tmp") throws -> FilePath {
        let path = parent.appending("\(name)-\(UInt32.random(in: .min ... .max))")
        _ = try Folder.open(path, create: 0o755)
        return path
    }
}

func shell(_ command: String) throws {
    let process = Process()
    process.executableURL = URL(filePath: "/bin/sh")
    process.arguments = ["-ec", command]
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw CancellationError() }
}

/// An image made of Debian's static busybox, as OCI blobs.
struct BusyboxImage {
    let bundle: BundledImage

    /// `config`: members of the image config's `config` object.
    /// `tmp`: the mode of its /tmp, which runc gives to the tmpfs above it; an engine that takes no owner for that
    /// mount, as Podman, needs the image's to be the usual 1777.
    init(in folder: FilePath, config: [String: JSONValue] = [:], files: [String: String] = [:], tmp: String = "755") throws {
        let root = folder.appending("root")
        try shell(
            "mkdir -p \(root)/bin \(root)/tmp \(root)/etc; chmod \(tmp) \(root)/tmp; cp /bin/busybox \(root)/bin/ || cp /usr/bin/busybox \(root)/bin/;"
                + "for a in $(\(root)/bin/busybox --list); do [ $a = busybox ] || ln -sf busybox \(root)/bin/$a; done")
        for (name, text) in files { try Data(text.utf8).write(to: URL(filePath: root.appending(name).string)) }
        try shell("tar -C \(root) --sort=name --owner=0 --group=0 -cf \(folder)/layer.tar . && gzip -nk1 \(folder)/layer.tar")
        let plain = try File.contents(of: folder.appending("layer.tar"), limit: 64 << 20)
        let layer = try File.contents(of: folder.appending("layer.tar.gz"), limit: 64 << 20)
        let json = CanonicalJSON.encode(
            .object([
                "architecture": .string("amd64"), "os": .string("linux"), "config": .object(config),
                "rootfs": .object(["type": .string("layers"), "diff_ids": .array([.string(Digest(of: plain).description)])]),
            ]))
        let configPath = folder.appending("config.json")
        try Data(json).write(to: URL(filePath: configPath.string))
        let configDescriptor = Descriptor(
            mediaType: "application/vnd.oci.image.config.v1+json", digest: Digest(of: json), size: Int64(json.count))
        let layerDescriptor = Descriptor(mediaType: MediaType.files, digest: Digest(of: layer), size: Int64(layer.count))
        let manifest = try CanonicalJSON.encode(
            ImageManifest(artifactType: nil, config: configDescriptor, layers: [layerDescriptor]))
        bundle = BundledImage(
            manifest: Digest(of: manifest), config: configDescriptor, configPath: configPath,
            layers: [.init(descriptor: layerDescriptor, path: folder.appending("layer.tar.gz"))])
    }
}
