import CargoFiles
import Glibc
import SystemPackage
import Testing

/// Removing what strangers left.
@Suite struct RemoveTreeTests {
    @Test func `a tree of twenty thousand folders inside each other goes`() throws {
        try withTemporaryFolder { folder in
            try folder.makeFolder("tree")
            let tree = try folder.folder("tree")
            var inner = try tree.descriptor.duplicate()
            for _ in 0..<20_000 {
                try #require(mkdirat(inner.rawValue, "d", 0o700) == 0)
                let next = FileDescriptor(rawValue: openat(inner.rawValue, "d", O_RDONLY | O_DIRECTORY))
                try inner.close()
                inner = next
            }
            try inner.close()
            try folder.removeTree("tree")
            #expect(try folder.entries() == [])
        }
    }

    @Test func `closed folders, odd names, links and names that it uses itself go, and what a link names stays`() throws {
        try withTemporaryFolder { folder in
            try folder.makeFolder("kept")
            try folder.makeFolder("tree")
            let tree = try folder.folder("tree")
            try tree.makeSymbolicLink("link", to: "../kept")
            for part in ["closed", "closed/inner", ".longshore-removed-1", ".longshore-removed-1/full"] {
                try tree.makeFolder(part)
            }
            try #require(mkdirat(tree.descriptor.rawValue, "odd-\u{1}", 0o700) == 0)
            let bytes: [CChar] = [-1, -2, 0]
            try #require(mkdirat(tree.descriptor.rawValue, bytes, 0) == 0)
            try #require(fchmodat(tree.descriptor.rawValue, "closed", 0, 0) == 0)
            try folder.removeTree("tree")
            #expect(try folder.entries() == ["kept"])
            try folder.removeTree("tree")
        }
    }
}
