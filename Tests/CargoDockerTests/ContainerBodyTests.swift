import CargoArtifact
import SystemPackage
import Testing

@testable import CargoDocker

/// The body of a container's creation, decided without an engine.
@Suite("Container bodies")
struct ContainerBodyTests {
    static let host = ContainerHost(engine: .docker, cores: 4, hardOpenFiles: 2000, hardProcesses: 900, user: 0, group: 0)

    static func spec() -> ContainerSpec {
        ContainerSpec(image: "sha256:1", job: "j", agent: "a", command: ["run"], control: "/c", profile: "{}")
    }

    @Test("Every hardening stands in every body")
    func hardening() throws {
        let body = try ContainerBody(Self.spec(), image: ImageWishes(), host: Self.host)
        let host = body.hostConfig
        #expect(host.capDrop == ["ALL"] && !host.privileged && host.readonlyRootfs && !host.autoRemove)
        #expect(host.securityOpt == ["no-new-privileges:true", "seccomp={}"])
        #expect(host.networkMode == "none" && body.networkDisabled && host.ipcMode == "private" && host.cgroupnsMode == "private")
        #expect(host.memory == host.memorySwap && host.pidsLimit == 513 && host.nanoCpus == 1_000_000_000)
        #expect(host.logConfig.type == "none" && host.restartPolicy.name == "no")
        #expect(host.tmpfs["/tmp"] == "rw,nosuid,nodev,exec,mode=1777,size=268435456,nr_inodes=65536,uid=65534,gid=65534")
        #expect(host.maskedPaths.contains("/proc/kcore") && host.readonlyPaths.contains("/proc/sysrq-trigger"))
        #expect(body.user == "65534:65534" && body.labels == ["dev.longshore.job": "j", "dev.longshore.agent": "a"])
        #expect(body.entrypoint == ["/.longshore/init"] && body.cmd == ["run"])
        #expect(
            host.mounts.last
                == .init(
                    type: "bind", source: "/c", target: "/.longshore", readOnly: true, bindOptions: .init(propagation: "rprivate")
                ))
    }

    @Test("It is spelled as the Engine API spells it")
    func spelling() throws {
        let text = String(
            decoding: try EngineJSON.encode(try ContainerBody(Self.spec(), image: ImageWishes(), host: Self.host)), as: UTF8.self)
        for member in [
            "\"CapDrop\":[\"ALL\"]", "\"ReadonlyRootfs\":true", "\"NanoCpus\":1000000000", "\"PidsLimit\":513",
            "\"OomScoreAdj\":500", "\"ReadOnly\":true",
            "\"dev.longshore.job\":\"j\"", "\"/tmp\":\"rw", "\"CgroupnsMode\":\"private\"", "\"MemorySwap\":2147483648",
        ] { #expect(text.contains(member)) }
    }

    @Test(
        "The user is the image's where it is not root, else one that owns nothing",
        arguments: [
            (nil, "65534:65534"), ("", "65534:65534"), ("root", "65534:65534"), ("0", "65534:65534"), ("0:1000", "65534:65534"),
            ("00", "65534:65534"),
            ("root:root", "65534:65534"), ("1000", "1000"), ("app:app", "app:app"),
        ] as [(String?, String)])
    func user(wish: String?, user: String) { #expect(ContainerBody.user(wish, Self.host) == user) }

    @Test("Without root the user is the agent's own, and in a rootless engine its root")
    func userWithoutRoot() {
        var host = Self.host
        host.user = 1000
        host.group = 100
        #expect(ContainerBody.user("app", host) == "1000:100")
        host.isRootless = true
        #expect(ContainerBody.user("app", host) == "0:0")
    }

    @Test("Limits are clamped to what this host may give")
    func clamps() throws {
        var spec = Self.spec()
        spec.limits = ContainerLimits(memory: 1, processes: 0, cpu: 64, fileSize: 7, openFiles: 1 << 20)
        let host = try ContainerBody(spec, image: ImageWishes(), host: Self.host).hostConfig
        #expect(host.memory == 6 << 20 && host.pidsLimit == 2 && host.nanoCpus == 4_000_000_000)
        #expect(
            host.ulimits.map { "\($0.name) \($0.soft) \($0.hard)" } == [
                "core 0 0", "nofile 2000 2000", "nproc 900 900", "fsize 7 7",
            ])
    }

    @Test("Reserved names of an image's environment are taken away")
    func environment() throws {
        var spec = Self.spec()
        spec.environment = ["CARGO_JOB_ID": "j", "MODE": "fast"]
        let wishes = ImageWishes(environment: [
            "LD_PRELOAD=/x", "PATH=/evil", "NVIDIA_VISIBLE_DEVICES=all", "CARGO_JOB_ID=forged", "LANG=C",
        ])
        let docker = try ContainerBody(spec, image: wishes, host: Self.host)
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        #expect(
            docker.env == [
                "CARGO_JOB_ID=j", "HOME=/tmp", "MODE=fast", path, "TMPDIR=/tmp", "LD_PRELOAD", "NVIDIA_VISIBLE_DEVICES",
            ])
        var host = Self.host
        host.engine = .podman
        #expect(try ContainerBody(spec, image: wishes, host: host).env.suffix(2) == ["LD_PRELOAD=", "NVIDIA_VISIBLE_DEVICES="])
    }

    @Test("Declared volumes become bounded memory")
    func volumes() throws {
        let body = try ContainerBody(Self.spec(), image: ImageWishes(volumes: ["/data", "/var//lib/x/"]), host: Self.host)
        #expect(body.hostConfig.tmpfs.keys.sorted() == ["/data", "/tmp", "/var/lib/x"])
    }

    @Test(
        "A volume where no job may have one is refused",
        arguments: ["/", "/proc", "/proc/x", "/job", "/job/output", "/cargo/a", "/.longshore", "/a/../proc", "data", "/dev"])
    func hostileVolume(path: String) {
        #expect(throws: Refusal.self) { try ContainerBody(Self.spec(), image: ImageWishes(volumes: [path]), host: Self.host) }
    }

    @Test("The command is the job's, else the image's, and arguments follow it")
    func command() throws {
        var spec = Self.spec()
        spec.arguments = ["x"]
        let wishes = ImageWishes(command: ["entry", "cmd"])
        #expect(try ContainerBody(spec, image: wishes, host: Self.host).cmd == ["run", "x"])
        spec.command = nil
        #expect(try ContainerBody(spec, image: wishes, host: Self.host).cmd == ["entry", "cmd", "x"])
        spec.arguments = []
        #expect(throws: Refusal.self) { try ContainerBody(spec, image: ImageWishes(), host: Self.host) }
    }

    @Test("GPUs are given as the engine takes them, and none otherwise")
    func gpus() throws {
        var spec = Self.spec()
        #expect(try ContainerBody(spec, image: ImageWishes(), host: Self.host).hostConfig.deviceRequests == nil)
        spec.gpus = .cdi(["nvidia.com/gpu=0"])
        let docker = try ContainerBody(spec, image: ImageWishes(), host: Self.host).hostConfig
        #expect(docker.deviceRequests == [.init(driver: "cdi", deviceIDs: ["nvidia.com/gpu=0"], capabilities: [])])
        var host = Self.host
        host.engine = .podman
        #expect(
            try ContainerBody(spec, image: ImageWishes(), host: host).hostConfig.devices?.map(\.pathOnHost) == [
                "nvidia.com/gpu=0"
            ])
        spec.gpus = .nvidia(["GPU-1"])
        #expect(
            try ContainerBody(spec, image: ImageWishes(), host: Self.host).hostConfig.deviceRequests?.first?.deviceIDs == [
                "GPU-1"
            ])
    }

    @Test("The profile lets pid 1 reach its agent and keeps all else")
    func profile() throws {
        let profile = try ContainerProfile.prepared(Array(#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[]}"#.utf8))
        let text = String(decoding: profile, as: UTF8.self)
        #expect(text.contains("SCMP_ACT_ERRNO") && text.contains(#""names":["socket"]"#))
        #expect(throws: (any Error).self) { try ContainerProfile.prepared(Array("[]".utf8)) }
    }
}
