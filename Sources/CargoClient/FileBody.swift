import CargoFiles
import NIOCore

/// A stretch of a file as a request body: read in 256 KiB pieces as the network takes them.
///
/// The file is opened once and read by position, so what is sent is what was opened, whatever happens to its name.
struct FileBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    static let piece = 256 << 10

    let file: File
    let offset: Int64
    let size: Int64

    init(file: File, offset: Int64, size: Int64) {
        self.file = file
        self.offset = offset
        self.size = size
    }

    struct AsyncIterator: AsyncIteratorProtocol {
        let file: File
        var offset: Int64
        var left: Int64

        mutating func next() async throws -> ByteBuffer? {
            guard left > 0 else { return nil }
            let wanted = Int(Swift.min(left, Int64(FileBody.piece)))
            var buffer = ByteBufferAllocator().buffer(capacity: wanted)
            let at = offset
            let got = try buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: wanted) { space in
                try file.read(into: UnsafeMutableRawBufferPointer(rebasing: space[..<wanted]), at: at)
            }
            guard got == wanted else {
                throw CallbackError(
                    cause: ClientError(
                        status: 0, code: "file_changed", message: "\(file.path) became shorter while it was sent; send it again"))
            }
            offset += Int64(got)
            left -= Int64(got)
            return buffer
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(file: file, offset: offset, left: size) }
}
