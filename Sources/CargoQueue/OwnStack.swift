/// Runs work in a task of its own, whose stack ends with it. A task keeps the deepest stack that it ever had: whoever goes on to
/// wait for long, among thousands, does before what needs a deep one through this.
@inline(never)
public func onOwnStack<Value: Sendable>(_ work: @escaping @Sendable () async throws -> Value) async throws -> Value {
    // The child lives until this function returns, not only until it is awaited.
    async let value = work()
    return try await value
}
