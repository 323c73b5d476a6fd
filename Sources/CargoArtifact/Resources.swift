/// What a job may use at most. Every field that is nil takes the cargo's value, then the host's.
public struct Resources: Hashable, Sendable, Codable {
    /// Processor cores; fractions allowed.
    public var cpu: Double?
    public var memory: ByteCount?
    /// Writable disk: `/job/output`.
    public var disk: ByteCount?
    /// Processes and threads.
    public var pids: Int?
    /// Wall-clock time of the run itself, without provisioning.
    public var time: Seconds?
    /// Processor time of all processes together.
    public var cpuTime: Seconds?
    public var gpu: GPU?

    /// GPUs that must be assigned to the job.
    public struct GPU: Hashable, Sendable, Codable {
        public var count: Int?
        public var vram: ByteCount?

        public init(count: Int? = nil, vram: ByteCount? = nil) {
            self.count = count
            self.vram = vram
        }
    }

    public init(
        cpu: Double? = nil, memory: ByteCount? = nil, disk: ByteCount? = nil, pids: Int? = nil, time: Seconds? = nil,
        cpuTime: Seconds? = nil, gpu: GPU? = nil
    ) {
        self.cpu = cpu
        self.memory = memory
        self.disk = disk
        self.pids = pids
        self.time = time
        self.cpuTime = cpuTime
        self.gpu = gpu
    }

    /// The lesser of both in every field: a job may lower what its cargo asks for, never raise it (docs/rules.md 4).
    public func lowered(by other: Resources) -> Resources {
        func least<Value: Comparable>(_ left: Value?, _ right: Value?) -> Value? {
            guard let left else { return right }
            guard let right else { return left }
            return min(left, right)
        }
        return Resources(
            cpu: least(cpu, other.cpu), memory: least(memory, other.memory), disk: least(disk, other.disk),
            pids: least(pids, other.pids), time: least(time, other.time),
            cpuTime: least(cpuTime, other.cpuTime), gpu: gpu)
    }

    enum CodingKeys: String, CodingKey {
        case cpu, memory, disk, pids, time, gpu
        case cpuTime = "cpu-time"
    }
}
