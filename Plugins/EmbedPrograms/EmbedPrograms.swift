import Foundation
import PackagePlugin

/// Compiles `cargo-init` as a static program without the C library's start-up code and hands its bytes,
/// with the seccomp profiles, to the sandbox as Swift source: one binary then carries all that a host needs.
/// The room of containers gets `container-init` in the same way, the one that packs gets the schema of `cargo.yaml`.
@main
struct EmbedPrograms: BuildToolPlugin {
    func createBuildCommands(context: PluginContext, target: any Target) throws -> [Command] {
        let root = context.package.directoryURL
        if target.name == "CargoDocker" { return containerCommands(context: context) }
        if target.name == "CargoPacking" { return schemaCommands(context: context) }
        let initFolder = root.appending(path: "Sources/cargo-init")
        let script = root.appending(path: "Plugins/EmbedPrograms/embed.sh")
        let output = context.pluginWorkDirectoryURL.appending(path: "EmbeddedPrograms.swift")
        let embedded = EmbeddedFiles(folders: [initFolder, root.appending(path: "sandbox-profiles")])
        return [
            .buildCommand(
                displayName: "Embedding cargo-init and sandbox profiles",
                executable: script,
                arguments: [root.path(percentEncoded: false), output.path(percentEncoded: false)],
                inputFiles: [script] + embedded.files,
                outputFiles: [output])
        ]
    }

    private func schemaCommands(context: PluginContext) -> [Command] {
        let root = context.package.directoryURL
        let script = root.appending(path: "Plugins/EmbedPrograms/embed-schema.sh")
        let output = context.pluginWorkDirectoryURL.appending(path: "EmbeddedSchema.swift")
        return [
            .buildCommand(
                displayName: "Embedding the schema of cargo.yaml",
                executable: script,
                arguments: [root.path(percentEncoded: false), output.path(percentEncoded: false)],
                inputFiles: [script, root.appending(path: "docs/cargo.schema.json")],
                outputFiles: [output])
        ]
    }

    private func containerCommands(context: PluginContext) -> [Command] {
        let root = context.package.directoryURL
        let script = root.appending(path: "Plugins/EmbedPrograms/embed-container.sh")
        let output = context.pluginWorkDirectoryURL.appending(path: "EmbeddedContainerInit.swift")
        let sources = ["Sources/container-init", "Sources/cargo-init"].map { root.appending(path: $0) }
        return [
            .buildCommand(
                displayName: "Embedding container-init",
                executable: script,
                arguments: [root.path(percentEncoded: false), output.path(percentEncoded: false)],
                inputFiles: [script] + EmbeddedFiles(folders: sources).files,
                outputFiles: [output])
        ]
    }
}

/// The files whose change must embed again.
private struct EmbeddedFiles {
    let files: [URL]
    init(folders: [URL]) {
        files = folders.flatMap { folder in
            (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
        }.sorted { $0.path < $1.path }
    }
}
