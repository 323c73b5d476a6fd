import CargoTunnelSocket
import HummingbirdCore
import Logging
import NIOCore

/// A server channel whose connections are handled on their own event loop: a request is read, decided and answered on one
/// thread, where else each of its awaits would cross to another thread and back. What blocks goes to threads of its own
/// (`blocking`), as everywhere.
struct LoopBoundChannel<Base: ServerChildChannel>: ServerChildChannel where Base.Value: LoopBound {
    typealias Value = Base.Value

    let base: Base

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        base.setup(channel: channel, logger: logger)
    }

    func handle(value: Value, logger: Logger) async {
        await withTaskExecutorPreference(LoopExecutor(loop: value.loop)) {
            await base.handle(value: value, logger: logger)
        }
    }
}

/// What stands on a connection, and so on an event loop.
protocol LoopBound {
    var loop: any EventLoop { get }
}

extension NIOAsyncChannel: LoopBound {
    var loop: any EventLoop { channel.eventLoop }
}
