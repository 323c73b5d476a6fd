import ArgumentParser
import CargoClient
import CargoFiles
import CargoPacking
import FoundationEssentials
import Glibc
import SystemPackage

/// Packs a folder and runs it here, unsigned: the publisher's short way round.
struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Pack a folder and run it here, unsigned.",
        discussion: """
            longshore run DIR [options of cargo-run] [-- ARGS]

            The folder is packed into a temporary archive which 'cargo-run --unsigned' then runs confined as any other; \
            output, outcome and exit code are cargo-run's. See 'cargo-run run --help'.
            """)

    @Argument(help: "A cargo's source folder.")
    var folder: String

    @Argument(parsing: .captureForPassthrough, help: "Options of cargo-run, then -- and arguments of the cargo.")
    var rest: [String] = []

    func run() throws {
        let archive = try packed()
        let own = FilePath("/proc/self/exe")
        let beside = try? FilePath(FileManager.default.destinationOfSymbolicLink(atPath: own.string)).removingLastComponent()
        let sibling = beside?.appending("cargo-run").string ?? "cargo-run"
        let program = access(sibling, X_OK) == 0 ? sibling : "cargo-run"
        let arguments = [program, "run", archive, "--unsigned"] + rest
        var words = arguments.map { strdup($0) } + [nil]
        signal(SIGPIPE, SIG_DFL)
        execvp(program, &words)
        let reason = Errno(rawValue: errno)
        Streams.note("longshore run: cannot start \(program): \(reason); install cargo-run beside longshore or on PATH")
        throw ExitCode(ProgramExit.runtimeFailed)
    }

    /// A path of the packed archive for the program that replaces this one: an open file whose name is gone already, so
    /// nothing is left behind however the run ends.
    private func packed() throws -> String {
        let place = FilePath(getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp")
        let temporary = place.appending("longshore-run-\(getpid()).cargo")
        _ = try CargoPacker(source: FilePath(folder)).pack(to: temporary)
        let descriptor = open(temporary.string, O_RDONLY)
        unlink(temporary.string)
        guard descriptor >= 0 else { throw FileFailure("open", temporary.string, Errno(rawValue: errno)) }
        return "/proc/self/fd/\(descriptor)"
    }
}
