import CargoWire
import Testing

@testable import CargoStatus

@Suite struct StatusTests {
    static var status: HostStatus {
        var metrics = HostMetrics(
            gpus: [
                GPUReading(
                    index: 0, name: "NVIDIA <script>alert(1)</script>", vramTotal: 24 << 30, vramFree: 6 << 30, utilization: 50,
                    temperature: 61, power: 250.5)
            ],
            models: ["sea": ModelSpeed(tokensPerSecond: 41.25, firstTokenMS: 80, requests: 7, failures: 1)])
        (metrics.cpu, metrics.memoryTotal, metrics.memoryFree) = (12.5, 8 << 30, 2 << 30)
        return HostStatus(
            name: "island\u{1B}[2J", coordinator: "https://example.org", at: "2026-01-01T00:00:00Z", slots: 2, jobs: ["j1"],
            models: [
                ServedModel(id: "sea", source: .endpoint, operations: [.chat], presence: .loaded, active: 1, slots: 4),
                ServedModel(id: "\"><img src=x>", source: .cargo, operations: [.images], presence: .stored),
            ], metrics: metrics)
    }

    @Test func `the terminal shows each number, and no name moves its cursor`() {
        let text = StatusText.lines(StatusTests.status, width: 200).joined(separator: "\n")
        for part in [
            "12.5 %", "6 GiB of 8 GiB", "18 GiB of 24 GiB", "61 °C", "250.5 W", "41.3", "80 ms", "1/4", "1 of 2 jobs", "j1",
        ] {
            #expect(text.contains(part), "\(part)")
        }
        #expect(!text.contains("\u{1B}"))
        #expect(StatusText.lines(StatusTests.status, width: 30).allSatisfy { $0.count <= 30 })
    }

    @Test func `a model that is being loaded shows how far it is`() {
        var status = StatusTests.status
        #expect(!StatusText.lines(status, width: 200).contains { $0.contains("load 40%") })
        status.loads = [.init(model: "sea", current: 4 << 30, total: 10 << 30)]
        let line = StatusText.lines(status, width: 200).first { $0.hasPrefix("sea") }
        #expect(line?.contains("load 40%") == true)
        #expect(StatusPage.html(status).contains(">load 40%</td>"))
        status.loads = [.init(model: "sea", current: 4, total: 0)]
        #expect(StatusText.lines(status, width: 200).contains { $0.contains("load 0%") })
    }

    @Test func `whatever a name holds is text on the page, which asks for nothing from anywhere`() {
        let page = StatusPage.html(StatusTests.status)
        #expect(page.contains("NVIDIA &lt;script&gt;alert(1)&lt;/script&gt;"))
        #expect(page.contains("&quot;&gt;&lt;img src=x&gt;"))
        for word in ["<script", "<img", "<link", "src=\"", "href=", "url(", "@import"] {
            #expect(!page.contains(word), "\(word)")
        }
        #expect(page.contains("41.3"))
        #expect(StatusPage.policy(style: "x").hasPrefix("default-src 'none'"))
    }

    @Test func `only this address with the token is served`() {
        let gate = StatusGuard(port: 7000, token: "secret")
        func verdict(_ host: String?, cookie: String? = nil, bearer: String? = nil, query: String? = nil) -> StatusGuard.Verdict {
            gate.verdict(host: host, cookie: cookie, authorization: bearer.map { "Bearer " + $0 }, query: query)
        }
        #expect(verdict("127.0.0.1:7000", bearer: "secret") == .allowed)
        #expect(verdict("LocalHost:7000", cookie: "other=1; longshore-7000=secret") == .allowed)
        #expect(verdict("127.0.0.1:7000", query: "token=secret") == .welcome)
        for host in ["evil.example:7000", "127.0.0.1", "127.0.0.1:7001", "127.0.0.1:7000.evil.example", "", nil] {
            #expect(verdict(host, bearer: "secret") == .wrongHost)
        }
        for wrong in ["", "secre", "secrets", "Secret", "secret "] {
            #expect(
                verdict("127.0.0.1:7000", cookie: "longshore-7000=" + wrong, bearer: wrong, query: "token=" + wrong) == .noToken)
        }
        #expect(verdict("127.0.0.1:7000", cookie: "longshore-7001=secret") == .noToken)
        #expect(
            StatusGuard(port: 7000, token: "").verdict(host: "127.0.0.1:7000", cookie: nil, authorization: "Bearer ", query: nil)
                == .noToken)
    }
}
