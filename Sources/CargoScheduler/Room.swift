import CargoArtifact
public import CargoWire

/// How much of a host a job needs and what it may cost: hard filters over what hosts last said of themselves.
///
/// Amounts are rounded to the strict side, to eight steps between two powers of two: strangers choose them, and jobs
/// with equal needs share a bucket of the ready queue.
public struct Room: Hashable, Sendable {
    /// Bytes of main memory.
    public var memory: Int64?
    /// Bytes of memory of each GPU.
    public var vram: Int64?
    public var gpus: Int?
    /// Credits at most.
    public var price: Double?

    public init() {}

    /// What every host has is not asked for.
    public static let everywhere: Int64 = 256 << 20

    /// Rounds what a job says. Nil where it needs nothing that any host could lack.
    public init?(memory: Int64?, vram: Int64?, gpus: Int?, price: Double?) {
        if let memory, memory > Room.everywhere { self.memory = Room.rounded(memory) }
        if let gpus, gpus > 0 { self.gpus = gpus }
        if let vram, vram > 0 { (self.vram, self.gpus) = (Room.rounded(vram), self.gpus ?? 1) }
        if let price { self.price = Room.roundedDown(price) }
        if self == Room() { return nil }
    }

    /// Up to whole MiB in eight steps from one power of two to the next.
    static func rounded(_ bytes: Int64) -> Int64 {
        let all = (max(1, min(bytes, 1 << 52)) + (1 << 20) - 1) >> 20
        let step: Int64 = 1 << max(0, 60 - all.leadingZeroBitCount)
        return (all + step - 1) / step * step << 20
    }

    /// To two digits, in millionths of a credit at least.
    static func roundedDown(_ credits: Double) -> Double {
        let millionths = Int64((min(max(0, credits), 1e12) * 1_000_000).rounded())
        var step: Int64 = 1
        while millionths / step >= 100 { step *= 10 }
        return Double(millionths / step * step) / 1_000_000
    }

    /// The first filter that leaves the host out.
    /// - Parameter asked: what the host asks for this job, credits.
    public func leftOut(_ capabilities: HostCapabilities, _ report: HostReport?, asked: Double) -> Filter? {
        if let memory, let free = Room.freeMemory(capabilities, report), memory > free { return .memory }
        if let gpus {
            let known = capabilities.metrics?.gpus ?? []
            let largest = report?.freeVRAM?.bytes ?? known.compactMap { $0.vramFree ?? $0.vramTotal }.max() ?? 0
            guard largest > 0, largest >= vram ?? 0 else { return .vram }
            let enough = known.count { ($0.vramFree ?? $0.vramTotal ?? 0) >= vram ?? 0 }
            guard gpus == 1 || enough >= gpus else { return .vram }
        }
        if let price, asked > price { return .price }
        return nil
    }

    /// Nil where a host says nothing of its memory.
    private static func freeMemory(_ capabilities: HostCapabilities, _ report: HostReport?) -> Int64? {
        let free = report?.freeMemory?.bytes ?? capabilities.metrics?.memoryFree
        guard let all = capabilities.memory?.bytes ?? capabilities.metrics?.memoryTotal else { return free }
        return min(all, free ?? all)
    }
}

extension Room {
    /// As it stands in a job's row: `m16384,v24576,g2,p1500000`, sizes in MiB, the price in millionths of a credit.
    public var stored: String {
        var parts: [String] = []
        if let memory { parts.append("m\(memory >> 20)") }
        if let vram { parts.append("v\(vram >> 20)") }
        if let gpus { parts.append("g\(gpus)") }
        if let price { parts.append("p\(Int64((price * 1_000_000).rounded()))") }
        return parts.joined(separator: ",")
    }

    public init?(stored text: some StringProtocol) {
        for part in text.split(separator: ",") {
            guard let value = Int64(part.dropFirst()) else { continue }
            switch part.first {
            case "m": memory = value << 20
            case "v": vram = value << 20
            case "g": gpus = Int(value)
            case "p": price = Double(value) / 1_000_000
            default: continue
            }
        }
        if self == Room() { return nil }
    }
}

extension HostReport {
    /// What the host asks for a request to a model, or for a job of another kind: credits.
    public func asked(for model: String?) -> Double {
        guard let prices else { return 0 }
        return model.flatMap { prices[$0] } ?? prices["_default"] ?? 0
    }
}
