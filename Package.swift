// swift-tools-version: 6.2
import PackageDescription

// `make check` sets LONGSHORE_STRICT, so that a warning stops a landing but never a user
// whose compiler is newer than ours.
let strict = Context.environment["LONGSHORE_STRICT"] != nil

let settings: [SwiftSetting] =
    [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    ] + (strict ? [.treatAllWarnings(as: .error)] : [])

let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let signals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let nio = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")

/// A room of the house: one folder of `Sources/`, one job. Imports point downwards only.
func room(_ name: String, _ dependencies: [Target.Dependency], plugins: [Target.PluginUsage] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings, plugins: plugins)
}

/// A program loads nothing that would look its symbols up; without their table it starts a sixth sooner.
func program(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: name, dependencies: dependencies, swiftSettings: settings,
        linkerSettings: [.unsafeFlags(["-Xlinker", "--no-export-dynamic"], .when(configuration: .release))])
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

let package = Package(
    name: "longshore",
    products: [
        .executable(name: "cargo-run", targets: ["cargo-run"]),
        .executable(name: "longshore", targets: ["longshore"]),
        .executable(name: "longshore-coordinator", targets: ["longshore-coordinator"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.0.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.30.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        // C: the only rooms that know system call numbers and library headers.
        .target(name: "CLinux", cSettings: [.define("_GNU_SOURCE")]),
        .target(name: "CCurl", linkerSettings: [.linkedLibrary("dl")]),
        .systemLibrary(name: "CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "CSeccomp", pkgConfig: "libseccomp", providers: [.apt(["libseccomp-dev"])]),
        .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .target(name: "CArchive", linkerSettings: [.linkedLibrary("dl")]),

        // Shared.
        room("CargoArtifact", [crypto]),
        room("CargoSigning", ["CargoArtifact", "CargoFiles", crypto, system]),
        room("CargoKeys", ["CCrypto", "CargoArtifact", "CargoFiles", "CargoSigning", system]),
        room("CargoWire", ["CargoArtifact"]),
        room("CargoTunnel", []),
        room("CargoTunnelSocket", ["CargoTunnel", nio, .product(name: "NIOWebSocket", package: "swift-nio")]),
        room("CargoFiles", ["CLinux", system]),
        room("CargoArchive", ["CargoArtifact", "CargoFiles", system]),
        room("CargoStore", ["CArchive", "CargoArchive", "CargoArtifact", "CargoFiles", "CargoSigning", crypto, system]),
        room(
            "CargoPacking",
            [
                "CArchive", "CargoArchive", "CargoArtifact", "CargoFiles", "CargoSigning", system,
                .product(name: "Yams", package: "Yams"),
            ], plugins: ["EmbedPrograms"]),
        room("CargoTransfer", ["CCurl", "CargoArtifact", "CargoFiles", system]),
        room(
            "CargoClient",
            [
                "CargoArtifact", "CargoFiles", "CargoSigning", "CargoStore", "CargoTransfer", "CargoTunnel", "CargoTunnelSocket",
                "CargoWire", crypto,
                system,
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOWebSocket", package: "swift-nio"),
            ]),

        // Host side.
        room("CargoSandbox", ["CLinux", "CSeccomp", "CargoArtifact", "CargoFiles", system], plugins: ["EmbedPrograms"]),
        room(
            "CargoDocker",
            [
                "CargoArchive", "CargoArtifact", "CargoFiles", "CargoStore", system,
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ], plugins: ["EmbedPrograms"]),
        room(
            "CargoRunner",
            [
                "CLinux", "CargoArtifact", "CargoDocker", "CargoFiles", "CargoSandbox", "CargoSigning", "CargoStore", crypto,
                system,
            ]),
        room(
            "CargoEndpoints",
            [
                "CLinux", "CargoArtifact", "CargoFiles", "CargoWire", nio, system,
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        room("CargoMeter", ["CargoArtifact", "CargoEndpoints", "CargoFiles", "CargoWire", system]),
        room(
            "CargoStatus",
            [
                "CargoFiles", "CargoWire", crypto, nio, system,
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        room(
            "CargoEngines",
            [
                "CargoArtifact", "CargoEndpoints", "CargoFiles", "CargoRunner", "CargoStore", "CargoWire", nio, system,
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        room(
            "CargoAgent",
            [
                "CargoArtifact", "CargoClient", "CargoEndpoints", "CargoEngines", "CargoFiles", "CargoMeter", "CargoRunner",
                "CargoSigning", "CargoStore", "CargoTunnel", "CargoWire", crypto, lifecycle, logging, system,
            ]),

        // Server side.
        room("CargoScheduler", ["CargoArtifact", "CargoWire"]),
        room("CargoBlobs", ["CCurl", "CargoArtifact", "CargoFiles", "CargoStore", "CargoTransfer", system]),
        room(
            "CargoQueue",
            [
                "CargoScheduler",
                "CPostgres", "CargoArtifact", "CargoFiles", "CargoWire", crypto, logging, system,
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
            ]),
        room(
            "CargoRegistry",
            ["CargoArtifact", "CargoFiles", "CargoStore", "CargoWire", crypto, httpTypes, hummingbird, nio, system]),
        room(
            "CargoWebhooks",
            [
                "CargoArtifact", "CargoQueue", crypto, lifecycle, logging,
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        room(
            "CargoGateway",
            [
                "CargoArtifact", "CargoBlobs", "CargoFiles", "CargoQueue", "CargoRegistry", "CargoScheduler", "CargoSigning",
                "CargoStore", "CargoTunnel", "CargoWebhooks", "CargoWire",
                crypto, httpTypes, hummingbird, logging, nio, system,
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ]),
        room(
            "CargoCoordinator",
            [
                "CargoArtifact", "CargoBlobs", "CargoFiles", "CargoGateway", "CargoQueue", "CargoRegistry", "CargoSigning",
                "CargoStore",
                "CargoTunnel", "CargoTunnelSocket", "CargoWebhooks", "CargoWire",
                crypto, hummingbird, lifecycle, logging, nio, system,
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOWebSocket", package: "swift-nio"),
            ]),

        // Programs: parse, call, print.
        room("CargoCommands", ["CargoArtifact", arguments]),
        program(
            "cargo-run",
            [
                "CargoAgent", "CargoArtifact", "CargoClient", "CargoCommands", "CargoEndpoints", "CargoEngines", "CargoFiles",
                "CargoMeter",
                "CargoRunner",
                "CargoSandbox",
                "CargoSigning", "CargoStatus", "CargoStore", "CargoWire", arguments, lifecycle, logging, signals, system,
            ]),
        program(
            "longshore",
            [
                "CargoArchive", "CargoArtifact", "CargoClient", "CargoCommands", "CargoFiles", "CargoKeys", "CargoPacking",
                "CargoSigning", "CargoStore", "CargoWire", arguments, system,
            ]),
        program(
            "longshore-coordinator",
            [
                "CargoBlobs", "CargoCommands", "CargoCoordinator", "CargoQueue", "CargoWebhooks", arguments, logging, lifecycle,
                system,
            ]),

        // Measures the sandbox as a long-lived program calls it.
        .executableTarget(
            name: "launch-bench", dependencies: ["CargoSandbox"], path: "Benchmarks/launch/LaunchBench", swiftSettings: settings),

        // Measures engines beside bare model servers.
        .executableTarget(
            name: "engine-bench", dependencies: ["CargoEndpoints", "CargoEngines", "CargoStore", "CargoWire", system],
            path: "Benchmarks/engine/EngineBench", swiftSettings: settings),
        // Places a million requests on ten thousand simulated hosts.
        .executableTarget(
            name: "placement-bench", dependencies: ["CargoQueue", "CargoScheduler", "CargoWire", system],
            path: "Benchmarks/placement/PlacementBench", swiftSettings: settings),

        .plugin(name: "EmbedPrograms", capability: .buildTool()),

        tests("CargoArtifactTests", ["CargoArtifact"]),
        tests("CargoKeysTests", ["CargoKeys", "CargoArtifact", "CargoFiles", "CargoSigning", system]),
        tests("CargoSigningTests", ["CargoSigning", "CargoArtifact", "CargoFiles", crypto, system]),
        tests(
            "CargoPackingTests",
            ["CargoPacking", "CargoArchive", "CargoFiles", "CargoArtifact", "CargoSigning", "CargoStore", system]),
        tests(
            "CargoStoreTests",
            ["CArchive", "CargoStore", "CargoArchive", "CargoFiles", "CargoArtifact", "CargoPacking", "CargoSigning", system]),
        tests("CargoTransferTests", ["CCurl", "CargoTransfer", "CargoArtifact", "CargoFiles", system]),
        tests("CargoSandboxTests", ["CargoSandbox", "CargoArtifact", system]),
        tests(
            "CargoDockerTests",
            [
                .product(name: "NIOHTTP1", package: "swift-nio"), "CargoDocker", "CargoArtifact", "CargoFiles", "CargoStore",
                system,
            ]),
        tests(
            "CargoEnginesTests",
            [
                "CargoArchive", "CargoArtifact", "CargoEndpoints", "CargoEngines", "CargoPacking", "CargoRunner", "CargoStore",
                "CargoWire",
                system,
            ]),
        tests("CargoRunnerTests", ["CargoRunner", "CargoArtifact", "CargoPacking", "CargoStore", system]),
        tests(
            "CargoClientTests",
            [
                "CargoArtifact", "CargoClient", "CargoFiles", "CargoWire", hummingbird, lifecycle, logging, system,
                .product(name: "NIOCore", package: "swift-nio"),
            ]),
        tests(
            "CargoAgentTests",
            [
                "CargoAgent", "CargoArtifact", "CargoClient", "CargoEndpoints", "CargoRunner", "CargoSigning", "CargoWire",
                hummingbird, lifecycle, logging, system, .product(name: "NIOCore", package: "swift-nio"),
            ]),
        tests(
            "CargoEndpointsTests",
            [
                "CargoEndpoints", "CargoArtifact", "CargoWire", nio, system,
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        tests("CargoMeterTests", ["CargoMeter", "CargoEndpoints", "CargoWire", system]),
        tests("CargoStatusTests", ["CargoStatus", "CargoWire"]),
        tests("CargoTunnelTests", ["CargoTunnel"]),
        tests("CargoSchedulerTests", ["CargoScheduler", "CargoArtifact", "CargoWire"]),
        .testTarget(
            name: "CargoBlobsTests", dependencies: ["CargoArtifact", "CargoBlobs", "CargoFiles", "CargoStore", system],
            exclude: ["s3_server.py"], swiftSettings: settings),
        tests(
            "CargoQueueTests",
            [
                "CargoQueue", "CargoArtifact", "CargoScheduler", "CargoWire", "TestStage", system,
                .product(name: "GRDB", package: "GRDB.swift"),
            ]),
        tests(
            "CargoWebhooksTests",
            [
                "CargoArtifact", "CargoQueue", "CargoWebhooks", "CargoWire", crypto, lifecycle, logging,
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        tests(
            "CargoGatewayTests",
            [
                "CargoArtifact", "CargoBlobs", "CargoClient", "CargoCoordinator", "CargoGateway", "CargoQueue", "CargoRegistry",
                "CargoSigning", "CargoStore", "CargoTunnel", "CargoWire", "TestStage", httpTypes, hummingbird, logging, nio,
                system,
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]),
        // What tests of whole programs share.
        .target(name: "TestStage", path: "Tests/TestStage", swiftSettings: settings),
        tests("ChaosTests", []),
        tests("EndToEndTests", ["CargoArtifact", "CargoWire", "TestStage", system]),
        .testTarget(
            name: "AttackTests", dependencies: ["TestStage"], exclude: ["attempts"], swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
