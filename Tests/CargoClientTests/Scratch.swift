import FoundationEssentials
import SystemPackage

/// A folder of one test.
final class Scratch {
    let path: FilePath

    init() throws {
        path = FilePath("/tmp/longshore-client-\(UUID().uuidString)")
        try FileManager.default.createDirectory(atPath: path.string, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path.string) }

    func write(_ text: String, to name: String) throws { try Data(text.utf8).write(to: name, in: self) }

    func bytes(_ name: String) -> [UInt8]? { FileManager.default.contents(atPath: path.appending(name).string).map(Array.init) }

    func read(_ name: String) -> String? {
        FileManager.default.contents(atPath: path.appending(name).string).map { String(decoding: $0, as: UTF8.self) }
    }
}

extension Data {
    fileprivate func write(to name: String, in scratch: Scratch) throws {
        guard FileManager.default.createFile(atPath: scratch.path.appending(name).string, contents: self) else {
            throw Errno.ioError
        }
    }
}
