public import NIOCore

/// Runs tasks on one event loop: what a connection brings is read, decided and sent on by one thread, where else each await
/// would cross to another and back. What blocks goes to threads of its own.
public final class LoopExecutor: TaskExecutor {
    private let loop: any EventLoop

    public init(loop: any EventLoop) { self.loop = loop }

    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
