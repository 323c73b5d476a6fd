import CargoArtifact
import CargoFiles
import FoundationEssentials
import Glibc
import SystemPackage
import Testing

@testable import CargoClient

/// A coordinator that lies about names must not be able to write outside the folder that was asked for.
@Suite struct OutputFolderTests {
    @Test(arguments: [
        "../x", "a/../../x", "/etc/x", "", ".", "..", "a//b", "a/./b", "a/", "a\0b", String(repeating: "n", count: 256),
        String(repeating: "d/", count: 80) + "x",
    ])
    func `a path that leaves the folder, or hides where it leads, is refused`(path: String) async throws {
        let scratch = try Scratch()
        let folder = try OutputFolder(scratch.path.appending("out"))
        await #expect(throws: Refusal.self) { try await folder.write(path) { try $0.write([1]) } }
        #expect(scratch.read("x") == nil)
    }

    @Test func `a symbolic link on the way is not followed`() async throws {
        let scratch = try Scratch()
        let folder = try OutputFolder(scratch.path.appending("out"))
        try FileManager.default.createDirectory(
            atPath: scratch.path.appending("elsewhere").string, withIntermediateDirectories: true)
        #expect(symlink("../elsewhere", scratch.path.appending("out/link").string) == 0)
        await #expect(throws: FileFailure.self) { try await folder.write("link/x") { try $0.write([1]) } }
        #expect(scratch.read("elsewhere/x") == nil)
    }

    @Test func `a symbolic link in the place of a file is replaced, not written through`() async throws {
        let scratch = try Scratch()
        try scratch.write("mine", to: "victim")
        let folder = try OutputFolder(scratch.path.appending("out"))
        #expect(symlink("../victim", scratch.path.appending("out/x").string) == 0)
        try await folder.write("x") { try $0.write(Array("theirs".utf8)) }
        #expect(scratch.read("victim") == "mine")
        #expect(scratch.read("out/x") == "theirs")
    }

    @Test func `a file that fails halfway leaves nothing behind`() async throws {
        struct Broken: Error {}
        let scratch = try Scratch()
        let folder = try OutputFolder(scratch.path.appending("out"))
        await #expect(throws: Broken.self) {
            try await folder.write("sub/x") { file in
                try file.write([1])
                throw Broken()
            }
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.path.appending("out/sub").string) == [])
    }

    @Test func `text for a terminal carries no control characters`() {
        #expect(printable("a\u{1b}[31mb\u{202e}c\n") == "a\\u{1b}[31mb\\u{202e}c\\u{a}")
    }
}
