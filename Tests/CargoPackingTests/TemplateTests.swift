import CargoArchive
import CargoArtifact
import CargoFiles
import SystemPackage
import Testing

@testable import CargoPacking

@Suite struct TemplateTests {
    @Test(arguments: CargoKind.allCases) func `what init writes is a cargo as it stands`(kind: CargoKind) throws {
        try withScratch { (folder: Folder) throws in
            let source = folder.path.appending("example")
            _ = try CargoTemplate(kind: kind).write(to: source)
            let packed = try CargoPacker(source: source).pack(to: folder.path.appending("a.cargo"))
            #expect(try CargoArchive(path: packed.path).config().kind == kind)
            #expect(throws: SourceFailure.self) { _ = try CargoTemplate(kind: kind).write(to: source) }
        }
    }

    @Test func `the example of a container is a program that runs by itself`() throws {
        try withScratch { (folder: Folder) throws in
            _ = try CargoTemplate(kind: .container).write(to: folder.path.appending("example"))
            let unpacked = shell(
                "cd \(folder.path)/example && tar xf image.tar layer.tar && tar xf layer.tar hello && file=$PWD/hello && cd / && env -i $file"
            )
            #expect(unpacked.status == 0 && unpacked.output == "hello\n", "\(unpacked.output)")
        }
    }
}
