import CargoSandbox
import Glibc
import SystemPackage
import Testing

/// A root file system of its own layers instead of the host's. Needs root: whiteouts are device nodes.
@Suite(.enabled(if: geteuid() == 0, "whiteouts are device nodes, which only root can make")) struct LayersTests {
    /// Two layers: a shell with its libraries, and changes over it.
    private func layers() throws -> [FilePath] {
        var template = Array("/tmp/longshore-layers-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Errno(rawValue: errno) }
        let root = String(cString: made)
        let script = """
            set -e; cd \(root); chmod 755 .; mkdir -p low/etc low/bin high/etc
            for f in /bin/sh /bin/cat /bin/ls $(ldd /bin/sh /bin/cat /bin/ls | grep -o '/[^ ]*' | grep -v :); do cp -L --parents $f low; done
            echo below > low/etc/kept; echo below > low/etc/changed; echo below > low/etc/removed
            echo above > high/etc/changed; mknod high/etc/removed c 0 0; ln -s /etc/changed high/etc/link; chmod -R a+rX .
            """
        guard system(script) == 0 else { throw Errno.ioError }
        return [FilePath(root).appending("low"), FilePath(root).appending("high")]
    }

    @Test func upperLayersChangeAndRemoveWhatLiesBelow() async throws {
        let layers = try layers()
        defer { _ = system("rm -rf '\(layers[0].removingLastComponent())'") }
        let result = try await Bench.shell("cd /etc; ls; cat kept changed link; ls /usr/bin 2>/dev/null") {
            $0.root = .layers(layers)
        }
        #expect(result.standardError == "")
        #expect(result.standardOutput == "changed\nhosts\nkept\nlink\nbelow\nabove\nabove\n")
    }

    @Test func theRootOfLayersIsReadOnlyToo() async throws {
        let layers = try layers()
        defer { _ = system("rm -rf '\(layers[0].removingLastComponent())'") }
        let result = try await Bench.shell("for d in / /etc /dev /proc /tmp; do (: > $d/probe) 2>/dev/null && echo $d; done") {
            $0.root = .layers(layers)
        }
        #expect(result.standardOutput == "/tmp\n")
    }

    @Test func linksWhereTheRuntimeMountsAreCovered() async throws {
        let layers = try layers()
        defer { _ = system("rm -rf '\(layers[0].removingLastComponent())'") }
        // Every place of the runtime's own is a link to this host's /etc in the upper layer, where a mount would follow it.
        let script = "for d in proc dev job cargo tmp; do ln -s /etc \(layers[1])/$d; done; ln -s /etc \(layers[0])/volume"
        #expect(system(script) == 0)
        let result = try await Bench.shell(
            "for d in proc dev job cargo tmp volume; do cd -P /$d; pwd; done; : > /volume/x; ls /volume; cat /proc/self/comm /etc/kept"
        ) {
            $0.root = .layers(layers)
            $0.folders = ["/job/input", "/cargo"]
            $0.temporaryFolders = ["/volume"]
        }
        #expect(result.standardOutput == "/proc\n/dev\n/job\n/cargo\n/tmp\n/volume\nx\ncat\nbelow\n", "\(result.standardError)")
    }
}
