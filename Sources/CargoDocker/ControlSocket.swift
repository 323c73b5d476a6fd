internal import CargoFiles
internal import FoundationEssentials
internal import Glibc
internal import NIOCore
internal import NIOPosix
internal import Synchronization
internal import SystemPackage

/// The agent's end of the line to pid 1 of one container.
///
/// A socket in a folder that is bound read-only into the container. The first connection is pid 1's; then the socket's
/// name is removed and pid 1 told so, before it starts the command. While the connection stands the container may live: when this
/// process dies, however it dies, the kernel closes it and pid 1 ends everything.
final class ControlSocket: Sendable {
    /// In order; ends when the container's side ends.
    let words: AsyncStream<ControlWord>
    private let folder: Folder
    private let line: ControlLine
    private let server: any Channel

    private static let name = "control"

    private init(words: AsyncStream<ControlWord>, folder: Folder, line: ControlLine, server: any Channel) {
        self.words = words
        self.folder = folder
        self.line = line
        self.server = server
    }

    /// Puts pid 1 and the socket into `path`, a folder of its own.
    static func listen(in path: FilePath) async throws -> ControlSocket {
        let folder = try await blocking {
            let folder = try Folder.open(path)
            let program = Data(base64Encoded: EmbeddedContainerInit.base64) ?? Data()
            try folder.writeAtomically("init", [UInt8](program), permissions: 0o755)
            return folder
        }
        // Anchored at the descriptor: a socket's path may have no more than 107 bytes.
        let address = "/proc/self/fd/\(folder.descriptor.rawValue)/\(name)"
        // Three words at most are ever said.
        let (words, continuation) = AsyncStream.makeStream(of: ControlWord.self, bufferingPolicy: .bufferingOldest(8))
        let line = ControlLine(continuation: continuation, folder: folder)
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 1)
            .childChannelInitializer { channel in
                guard line.take(channel) else { return channel.close() }
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ControlHandler(line: line))
                }
            }
            .bind(unixDomainSocketPath: address).get()
        guard chmod(address, 0o666) == 0 else {
            try? await server.close()
            throw FileFailure("open to containers", path.appending(name).string, Errno(rawValue: Glibc.errno))
        }
        return ControlSocket(words: words, folder: folder, line: line, server: server)
    }

    /// Whether pid 1 ever came.
    var isConnected: Bool { line.isConnected }

    /// Asks pid 1 to send a signal to the command's process group; false when it is not connected.
    func send(signal: UInt8) -> Bool { line.send(signal) }

    /// Ends the line: pid 1 kills whatever still runs.
    func close() async {
        line.close()
        try? await server.close()
        _ = try? folder.remove(ControlSocket.name)
    }

    fileprivate static func hide(in folder: Folder) { _ = try? folder.remove(name) }
}

/// The one connection of a `ControlSocket`.
private final class ControlLine: Sendable {
    private let channel = Mutex<(any Channel)?>(nil)
    private let continuation: AsyncStream<ControlWord>.Continuation
    private let folder: Folder

    init(continuation: AsyncStream<ControlWord>.Continuation, folder: Folder) {
        self.continuation = continuation
        self.folder = folder
    }

    /// False for every connection but the first.
    func take(_ new: any Channel) -> Bool {
        let isFirst = channel.withLock { channel in
            guard channel == nil else { return false }
            channel = new
            return true
        }
        return isFirst
    }

    /// Takes the socket's name away, then lets pid 1 go on: the command never sees it.
    func welcome() {
        ControlSocket.hide(in: folder)
        _ = send(0)
    }

    var isConnected: Bool { channel.withLock { $0 != nil } }

    func yield(_ word: ControlWord) { continuation.yield(word) }
    func finish() { continuation.finish() }

    func send(_ byte: UInt8) -> Bool {
        guard let channel = channel.withLock({ $0 }), channel.isActive else { return false }
        channel.writeAndFlush(ByteBuffer(bytes: [byte]), promise: nil)
        return true
    }

    func close() {
        channel.withLock { $0 }?.close(promise: nil)
        continuation.finish()
    }
}

/// Splits what pid 1 says into lines; one of more than 256 bytes ends the connection.
private final class ControlHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let line: ControlLine
    private var text: [UInt8] = []

    init(line: ControlLine) { self.line = line }

    func channelActive(context: ChannelHandlerContext) {
        line.welcome()
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        for byte in unwrapInboundIn(data).readableBytesView {
            if byte == 0x0A {
                if let word = ControlWord(line: String(decoding: text, as: UTF8.self)) { line.yield(word) }
                text.removeAll()
            } else if text.count < 256 {
                text.append(byte)
            } else {
                context.close(promise: nil)
                return
            }
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        line.finish()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
