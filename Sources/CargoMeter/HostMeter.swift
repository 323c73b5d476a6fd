internal import CargoFiles
public import CargoWire
public import SystemPackage

/// Measures this host: GPUs through their drivers' tools, the machine through the kernel, models through their answers.
///
/// May be asked at any rate: the tools run every few seconds at most, and only while somebody asks.
public actor HostMeter {
    /// How old an answer may be.
    public static let freshness = Duration.seconds(3)
    /// A host without a tool is looked at again after so long.
    private static let secondLook = Duration.seconds(60)

    /// Tells what the GPUs are at; nil where there is no tool for them.
    public typealias GPUSource = @Sendable () -> [GPUReading]?

    private let folder: FilePath
    private let speeds: ModelSpeeds
    private let source: GPUSource
    private var known: (metrics: HostMetrics, at: ContinuousClock.Instant)?
    private var processors: MachineReading.Processors?
    private var noGPUsSince: ContinuousClock.Instant?
    private var underWay: Task<HostMetrics, Never>?

    /// - Parameter folder: the store's, whose disk counts.
    public init(folder: FilePath, speeds: ModelSpeeds = ModelSpeeds(), source: @escaping GPUSource = HostMeter.driverTools) {
        self.folder = folder
        self.speeds = speeds
        self.source = source
    }

    /// The newest reading; several who ask at once wait for one.
    public func current() async -> HostMetrics {
        if var metrics = known?.metrics, let at = known?.at, ContinuousClock.now - at < HostMeter.freshness {
            metrics.models = speeds.current()
            return metrics
        }
        if let underWay { return await underWay.value }
        let reading = Task { await read() }
        underWay = reading
        let metrics = await reading.value
        underWay = nil
        return metrics
    }

    private func read() async -> HostMetrics {
        let asksGPUs = noGPUsSince.map { ContinuousClock.now - $0 > HostMeter.secondLook } ?? true
        let (folder, source) = (folder, source)
        let before = processors
        let reading = try? await blocking { () -> (machine: MachineReading, gpus: [GPUReading]?) in
            let gpus = asksGPUs ? source() : nil
            return (MachineReading.current(folder: folder), gpus)
        }
        if asksGPUs { noGPUsSince = reading?.gpus == nil ? .now : nil }
        var metrics = HostMetrics(gpus: reading?.gpus ?? [], models: speeds.current())
        if let machine = reading?.machine {
            if let before, let now = machine.processors { metrics.cpu = now.percent(since: before) }
            if let now = machine.processors { processors = now }
            (metrics.memoryTotal, metrics.memoryFree) = (machine.memoryTotal, machine.memoryFree)
            (metrics.diskTotal, metrics.diskFree) = (machine.diskTotal, machine.diskFree)
        }
        known = (metrics, .now)
        return metrics
    }

    /// NVIDIA's tool, else AMD's. Blocks for up to three seconds each.
    public static let driverTools: GPUSource = {
        if let program = ToolRun.find("nvidia-smi"), let said = ToolRun.output(program, GPUReport.nvidiaArguments) {
            let gpus = GPUReport.nvidia(String(decoding: said, as: UTF8.self))
            if !gpus.isEmpty { return gpus }
        }
        if let program = ToolRun.find("rocm-smi"), let said = ToolRun.output(program, GPUReport.rocmArguments) {
            let gpus = GPUReport.rocm(String(decoding: said, as: UTF8.self))
            if !gpus.isEmpty { return gpus }
        }
        return nil
    }
}
