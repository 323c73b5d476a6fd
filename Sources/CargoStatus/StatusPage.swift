internal import CargoWire

/// The status as one page that needs nothing else: no script, no font, no picture from anywhere. Pure.
enum StatusPage {
    /// Only what stands in the page itself is allowed; its style by this digest.
    static func policy(style digest: String) -> String {
        "default-src 'none'; style-src 'sha256-\(digest)'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    }

    static let style = """
        :root{color-scheme:light dark;--ink:#16202c;--quiet:#5b6875;--paper:#f6f4ef;--card:#fff;--line:#dcd8cf;--sea:#0b6e8f;--warn:#a8321e}
        @media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--quiet:#93a1ae;--paper:#0f151b;--card:#171f28;--line:#2a3541;--sea:#4db6d6;--warn:#ff8a73}}
        *{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
        main{max-width:60rem;margin:0 auto;padding:2rem 1rem}h1{font-size:1.5rem;margin:0}h2{font-size:1rem;margin:2rem 0 .5rem}
        p{margin:.2rem 0;color:var(--quiet)}.cards{display:grid;gap:.75rem;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr))}
        .card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.8rem 1rem}
        .card b{display:block;font-size:1.25rem;font-variant-numeric:tabular-nums}.card span{color:var(--quiet)}
        meter{width:100%;height:.7rem}.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;background:var(--card)}
        th,td{text-align:left;padding:.45rem .7rem;border-bottom:1px solid var(--line);white-space:nowrap}th{color:var(--quiet);font-weight:500}
        td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:var(--warn)}.loaded{color:var(--sea)}code{font-size:.9em}
        """

    static func html(_ status: HostStatus) -> String {
        let metrics = status.metrics
        var page = """
            <!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">\
            <meta http-equiv="refresh" content="3"><title>\(text(status.name)) – Longshore</title><style>\(style)</style></head><body><main>\
            <h1>\(text(status.name))</h1>
            """
        if let coordinator = status.coordinator {
            page +=
                "<p>Works for \(text(coordinator)) · \(status.jobs.count) of \(status.slots ?? 0) jobs · \(text(status.at))</p>"
        } else {
            page += "<p>No agent runs here · \(text(status.at))</p>"
        }
        page += "<h2>Machine</h2><div class=\"cards\">"
        page += card("Processors", Shown.number(metrics.cpu, "%"), metrics.cpu.map { $0 / 100 }, "")
        page += card(
            "Memory", Shown.used(metrics.memoryTotal, metrics.memoryFree), Shown.share(metrics.memoryTotal, metrics.memoryFree),
            "")
        page += card(
            "Disk", Shown.used(metrics.diskTotal, metrics.diskFree), Shown.share(metrics.diskTotal, metrics.diskFree), "")
        page += "</div>"
        if !metrics.gpus.isEmpty {
            page += "<h2>GPUs</h2><div class=\"cards\">"
            for gpu in metrics.gpus {
                page += card(
                    "\(gpu.index) · \(gpu.name)", Shown.number(gpu.utilization, "%"), gpu.utilization.map { $0 / 100 },
                    "VRAM \(Shown.used(gpu.vramTotal, gpu.vramFree)) · \(Shown.number(gpu.temperature, "°C")) · \(Shown.number(gpu.power, "W"))"
                )
            }
            page += "</div>"
        }
        page += "<h2>Models</h2>"
        if status.models.isEmpty {
            page += "<p>None is served. Start Ollama, LM Studio or another model server, or add an engine.</p>"
        } else {
            page += """
                <div class="scroll"><table><tr><th>Model</th><th>From</th><th>Answers</th><th>State</th><th class="n">Busy</th>\
                <th class="n">Tokens/s</th><th class="n">First token</th><th class="n">Asked</th><th class="n">Failed</th></tr>
                """
            for model in status.models.prefix(500) { page += row(model, status.state(of: model), metrics.models[model.id]) }
            page += "</table></div>"
        }
        if !status.jobs.isEmpty {
            page += "<h2>Jobs</h2>" + status.jobs.map { "<p><code>\(text($0))</code></p>" }.joined()
        }
        return page + "</main></body></html>"
    }

    private static func card(_ title: String, _ value: String, _ share: Double?, _ note: String) -> String {
        let meter = share.map { "<meter min=\"0\" max=\"1\" high=\"0.9\" value=\"\(min(1, max(0, $0)))\"></meter>" } ?? ""
        return "<div class=\"card\"><span>\(text(title))</span><b>\(text(value))</b>\(meter)<span>\(text(note))</span></div>"
    }

    private static func row(_ model: ServedModel, _ state: String, _ speed: ModelSpeed?) -> String {
        let failures = speed?.failures ?? 0
        return """
            <tr><td>\(text(model.id))</td><td>\(model.source.rawValue)</td><td>\(text(Shown.operations(model)))</td>\
            <td class="\(model.presence.rawValue)">\(state)</td><td class="n">\(model.active) of \(model.slots)</td>\
            <td class="n">\(speed?.tokensPerSecond.map { Shown.tenths($0) } ?? "–")</td>\
            <td class="n">\(speed?.firstTokenMS.map { Shown.tenths($0) + " ms" } ?? "–")</td>\
            <td class="n">\(speed?.requests ?? 0)</td><td class="n\(failures > 0 ? " bad" : "")">\(failures)</td></tr>
            """
    }

    /// Whatever a name holds, it is text.
    static func text(_ raw: String) -> String {
        var out = ""
        for scalar in raw.unicodeScalars.prefix(512) {
            switch scalar {
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "&": out += "&amp;"
            case "\"": out += "&quot;"
            case "'": out += "&#39;"
            default: out.unicodeScalars.append(scalar.properties.generalCategory == .control ? "?" : scalar)
            }
        }
        return out
    }
}
