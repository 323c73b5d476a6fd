import CargoArtifact
import Testing

@testable import CargoRunner

/// What an image says about how it wants to run, taken as wishes.
@Suite struct CarriedRootTests {
    private func root(_ config: String) throws -> CarriedRoot {
        try CarriedRoot(config: Array(#"{"architecture":"amd64","rootfs":{},"config":\#(config)}"#.utf8))
    }

    @Test func wishesAreReadAndReservedNamesAreNot() throws {
        let root = try root(
            #"{"Env":["A=1","B=x=y","PATH=/evil","LD_PRELOAD=/evil.so","CARGO_NAME=z","NVIDIA_VISIBLE_DEVICES=all","HOME=/root","TMPDIR=/x","bare"],"Entrypoint":["sh"],"Cmd":["-c","true"],"WorkingDir":"/srv","Volumes":{"/data":{},"/tmp":{},"/var/lib/x/":{}}}"#
        )
        #expect(root.environment == ["A": "1", "B": "x=y"])
        #expect(root.command == ["sh", "-c", "true"] && root.workingFolder == "/srv")
        #expect(root.volumes == ["/data", "/var/lib/x"])
        let silent = try self.root(#"{"Env":null,"Cmd":null,"Volumes":null,"WorkingDir":""}"#)
        #expect(silent.command.isEmpty && silent.workingFolder == "/" && silent.volumes.isEmpty)
        #expect(try CarriedRoot(config: Array("{}".utf8)).command.isEmpty)
    }

    @Test(arguments: [
        "data", "/", "/../x", "/a/../../b", "/proc", "/proc/sys", "/dev/shm", "/job/output", "/cargo", "/sys/x", "",
    ])
    func refusesAVolumeThatNoJobMayHave(_ volume: String) throws {
        let refusal = #expect(throws: Refusal.self) { try root(#"{"Volumes":{"\#(volume)":{}}}"#) }
        #expect(refusal?.rule == "image-volumes")
    }

    @Test func refusesMoreVolumesThanTheBound() throws {
        let volumes = (0..<33).map { #""/v\#($0)":{}"# }.joined(separator: ",")
        #expect(throws: Refusal.self) { try root("{\"Volumes\":{\(volumes)}}") }
    }

    @Test func whatBringsNoImageIsRefusedWithASentence() async throws {
        let bench = try RunBench()
        let cases: [(CargoKind, CargoRootfs, RunBackend, String)] = [
            (.process, .layers, .sandbox, "rootfs"), (.process, .layers, .auto, "rootfs"), (.process, .host, .docker, "kind"),
            (.container, .host, .sandbox, "image"), (.container, .host, .auto, "containers"),
        ]
        for (kind, rootfs, backend, rule) in cases {
            let cargo = try bench.cargo(["true"]) {
                $0.kind = kind
                $0.rootfs = rootfs
            }
            let refusal = await #expect(throws: Refusal.self) {
                try await bench.run(cargo) {
                    $0.backend = backend
                    if backend == .docker { $0.containers = ContainerSettings(agent: "test", trust: .strangers(allowing: [])) }
                }
            }
            #expect(refusal?.rule == rule, "\(kind) \(rootfs) \(backend)")
        }
    }
}
