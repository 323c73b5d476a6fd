import CargoArtifact
import Glibc
import SystemPackage
import Testing

@testable import CargoSandbox

/// A filter decides what strangers may call: the kept one is used only when nobody but us can have written it.
@Suite final class FilterCacheTests {
    private let root: String
    private let program = [UInt8](repeating: 7, count: 64)
    private let key = FilterCache.Key(profile: Array("{}".utf8), tracing: false)

    init() throws {
        var template = Array("/tmp/longshore-filters-XXXXXX".utf8CString)
        root = String(cString: try #require(mkdtemp(&template)))
    }

    deinit { _ = system("rm -rf '\(root)'") }

    private var folder: String { root + "/filters" }
    private var cache: FilterCache { FilterCache(folder: FilePath(folder)) }
    private var file: String { folder + "/" + key.digest.hex + ".bpf" }

    @Test func `a kept filter is found again, under its own key alone`() {
        #expect(cache.filter(for: key) == nil)
        cache.keep(program, for: key)
        #expect(cache.filter(for: key) == program)
        #expect(cache.filter(for: .init(profile: Array("{}".utf8), tracing: true)) == nil)
        #expect(cache.filter(for: .init(profile: Array("{ }".utf8), tracing: false)) == nil)
    }

    @Test(arguments: [
        "chmod 0644 FILE", "chmod 0620 FILE", "ln FILE OTHER", "mv FILE OTHER && ln -s OTHER FILE",
        "printf x | dd of=FILE bs=1 seek=100 conv=notrunc status=none", "truncate -s -8 FILE", "truncate -s 0 FILE",
        "printf 12345678 >>FILE", "rm FILE && mkfifo -m 0600 FILE", "chmod 0755 FOLDER",
    ])
    func `a kept filter that another could have written, or that is damaged, is not used`(harm: String) {
        cache.keep(program, for: key)
        #expect(cache.filter(for: key) == program)
        let script = harm.replacing("FILE", with: file).replacing("FOLDER", with: folder).replacing(
            "OTHER", with: root + "/other")
        #expect(system(script) == 0)
        #expect(cache.filter(for: key) == nil)
    }

    @Test(.enabled(if: geteuid() == 0, "giving a file away needs root"), arguments: ["FILE", "FOLDER"])
    func `a kept filter of another user is not used`(what: String) {
        cache.keep(program, for: key)
        #expect(system("chown 1234 '\(what == "FILE" ? file : folder)'") == 0)
        #expect(cache.filter(for: key) == nil)
    }

    @Test func `a filter that was kept under another key is not used under this one`() {
        let other = FilterCache.Key(profile: Array("other".utf8), tracing: false)
        cache.keep(program, for: other)
        #expect(rename(folder + "/" + other.digest.hex + ".bpf", file) == 0)
        #expect(cache.filter(for: key) == nil)
    }

    @Test func `a sandbox compiles once, and the kept filter is the compiled one`() throws {
        let fresh = try Sandbox().compiledFilter("inference")
        #expect(try Sandbox(cache: FilePath(folder)).compiledFilter("inference") == fresh)
        let json = try #require(SandboxProfiles.json(named: "inference"))
        #expect(cache.filter(for: .init(profile: json, tracing: false)) == fresh)
        // The second sandbox takes what is kept: a valid other program under the key shows it.
        cache.keep(program, for: .init(profile: json, tracing: false))
        #expect(try Sandbox(cache: FilePath(folder)).compiledFilter("inference") == program)
    }
}
