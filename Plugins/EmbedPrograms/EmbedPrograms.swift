import Foundation
import PackagePlugin

/// Compiles `cargo-init` as a static program without the C library's start-up code and hands its bytes,
/// with the seccomp profiles, to the sandbox as Swift source: one binary then carries all that a host needs.
@main
struct EmbedPrograms: BuildToolPlugin {
    func createBuildCommands(context: PluginContext, target: any Target) throws -> [Command] {
        let root = context.package.directoryURL
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
