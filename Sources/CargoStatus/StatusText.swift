internal import CargoWire

/// The status as lines for a terminal or a pipe. Pure.
public enum StatusText {
    /// - Parameter width: columns; longer lines are cut.
    public static func lines(_ status: HostStatus, width: Int = 100) -> [String] {
        var lines = ["\(safe(status.name))  \(status.at)"]
        if let coordinator = status.coordinator {
            lines.append("works for \(safe(coordinator)): \(status.jobs.count) of \(status.slots ?? 0) jobs")
        } else {
            lines.append("no agent runs here")
        }
        let metrics = status.metrics
        lines.append("")
        lines.append("cpu     \(bar(metrics.cpu.map { $0 / 100 }))  \(Shown.number(metrics.cpu, "%"))")
        lines.append(
            "memory  \(bar(Shown.share(metrics.memoryTotal, metrics.memoryFree)))  \(Shown.used(metrics.memoryTotal, metrics.memoryFree))"
        )
        lines.append(
            "disk    \(bar(Shown.share(metrics.diskTotal, metrics.diskFree)))  \(Shown.used(metrics.diskTotal, metrics.diskFree))"
        )
        for gpu in metrics.gpus {
            lines.append("")
            lines.append("gpu \(gpu.index)   \(safe(gpu.name))")
            lines.append(
                "  use   \(bar(gpu.utilization.map { $0 / 100 }))  \(Shown.number(gpu.utilization, "%"))   "
                    + "\(Shown.number(gpu.temperature, "°C"))   \(Shown.number(gpu.power, "W"))")
            lines.append("  vram  \(bar(Shown.share(gpu.vramTotal, gpu.vramFree)))  \(Shown.used(gpu.vramTotal, gpu.vramFree))")
        }
        if !status.models.isEmpty {
            let names = status.models.map { safe($0.id) }
            let column = min(40, names.map(\.count).max() ?? 0)
            lines += ["", row("model", column, "state", "busy", "tokens/s", "first", "asked", "failed")]
            for (model, name) in zip(status.models, names) {
                let speed = metrics.models[model.id]
                lines.append(
                    row(
                        name, column, status.state(of: model), "\(model.active)/\(model.slots)",
                        speed?.tokensPerSecond.map { Shown.tenths($0) } ?? "–",
                        speed?.firstTokenMS.map { Shown.tenths($0) + " ms" } ?? "–", "\(speed?.requests ?? 0)",
                        "\(speed?.failures ?? 0)"))
            }
        }
        if !status.jobs.isEmpty { lines += ["", "jobs"] + status.jobs.prefix(20).map { "  " + safe($0) } }
        return lines.map { String($0.prefix(max(20, width))) }
    }

    private static func row(_ name: String, _ column: Int, _ rest: String...) -> String {
        pad(name, column) + "  " + rest.map { pad($0, 9) }.joined(separator: " ")
    }

    private static func pad(_ text: String, _ width: Int) -> String {
        text.count > width
            ? String(text.prefix(max(1, width - 1))) + "…" : text + String(repeating: " ", count: width - text.count)
    }

    private static func bar(_ share: Double?) -> String {
        let width = 24
        guard let share else { return "[" + String(repeating: "·", count: width) + "]" }
        let full = Int((min(1, max(0, share)) * Double(width)).rounded())
        return "[" + String(repeating: "█", count: full) + String(repeating: "·", count: width - full) + "]"
    }

    /// Names come from model servers and drivers: nothing in them moves a cursor.
    private static func safe(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }))
    }
}
