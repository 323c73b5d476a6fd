internal import CargoArtifact
public import CargoWire
internal import FoundationEssentials

/// What the drivers' own tools say of the GPUs, read into one shape. Pure.
public enum GPUReport {
    /// `nvidia-smi`, asked so that each line is `index, name, MiB, MiB, %, °C, W`.
    public static let nvidiaArguments = [
        "--query-gpu=index,name,memory.total,memory.free,utilization.gpu,temperature.gpu,power.draw",
        "--format=csv,noheader,nounits",
    ]
    /// `rocm-smi`, asked for one JSON object of texts a card.
    public static let rocmArguments = [
        "--showproductname", "--showuse", "--showtemp", "--showpower", "--showmeminfo", "vram", "--json",
    ]

    /// More GPUs than that no host has.
    static let most = 64

    /// Lines that are something else are passed over; `[N/A]` and `[Not Supported]` become nil.
    public static func nvidia(_ text: String) -> [GPUReading] {
        text.split(separator: "\n").prefix(most).compactMap { line in
            // A name may hold a comma, the other fields never do.
            let fields = line.split(separator: ",", omittingEmptySubsequences: false).map { trimmed($0) }
            guard fields.count >= 7, let index = Int(fields[0]) else { return nil }
            let numbers = fields.suffix(5).map { number($0) }
            var gpu = GPUReading(index: index, name: fields[1..<(fields.count - 5)].joined(separator: ", "))
            gpu.vramTotal = numbers[0].flatMap { mebibytes($0) }
            gpu.vramFree = numbers[1].flatMap { mebibytes($0) }
            (gpu.utilization, gpu.temperature, gpu.power) = (numbers[2], numbers[3], numbers[4])
            return gpu
        }
    }

    /// Keys differ between versions of ROCm and cards: the edge sensor counts, else the junction's; the socket's power, else the average.
    public static func rocm(_ text: String) -> [GPUReading] {
        guard let start = text.firstIndex(of: "{"),
            let cards = try? JSONDecoder().decode([String: [String: JSONValue]].self, from: Data(text[start...].utf8))
        else { return [] }
        return cards.compactMap { name, card -> GPUReading? in
            guard name.hasPrefix("card"), let index = Int(name.dropFirst(4)) else { return nil }
            var fields: [String: String] = [:]
            for (key, value) in card { fields[key.lowercased()] = plain(value) }
            func first(_ keys: String...) -> Double? { keys.lazy.compactMap { fields[$0].flatMap { number($0) } }.first }
            let title = ["card series", "card model", "device name"].lazy.compactMap { fields[$0] }.first { $0 != "N/A" }
            var gpu = GPUReading(index: index, name: title ?? "AMD GPU")
            gpu.vramTotal = first("vram total memory (b)").flatMap { Int64(exactly: $0.rounded()) }
            if let total = gpu.vramTotal, let used = first("vram total used memory (b)").flatMap({ Int64(exactly: $0.rounded()) })
            {
                gpu.vramFree = max(0, total - used)
            }
            gpu.utilization = first("gpu use (%)")
            gpu.temperature = first("temperature (sensor edge) (c)", "temperature (sensor junction) (c)")
            gpu.power = first(
                "current socket graphics package power (w)", "average graphics package power (w)",
                "average socket graphics package power (w)")
            return gpu
        }.sorted { $0.index < $1.index }.prefix(most).map { $0 }
    }

    private static func plain(_ value: JSONValue) -> String? {
        switch value {
        case .string(let text): text
        case .integer(let number): String(number)
        case .number(let number): String(number)
        default: nil
        }
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text
        while let first = text.first, first.isWhitespace { text = text.dropFirst() }
        while let last = text.last, last.isWhitespace { text = text.dropLast() }
        return String(text)
    }

    private static func number(_ text: String) -> Double? { Double(text).flatMap { $0.isFinite && $0 >= 0 ? $0 : nil } }

    private static func mebibytes(_ value: Double) -> Int64? { Int64(exactly: (value * 1_048_576).rounded()) }
}
