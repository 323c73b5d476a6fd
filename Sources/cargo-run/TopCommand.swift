import ArgumentParser
import CargoClient
import CargoEndpoints
import CargoMeter
import CargoStatus
import CargoStore
import CargoWire
import FoundationEssentials
import Glibc
import SystemPackage

/// Shows what this host is doing.
struct TopCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top",
        abstract: "Show what this host does: GPUs, memory, models, jobs.",
        discussion: """
            Asks the agent of this home; without one it measures the machine itself. On a terminal it goes on until Ctrl-C, \
            elsewhere it prints once.
            """)

    @Flag(help: "Print one JSON object.")
    var json = false

    @Flag(help: "Print once, also on a terminal.")
    var once = false

    @Flag(help: "Print the address of the agent's status page, for a browser on this machine. It holds a token.")
    var page = false

    @Option(help: ArgumentHelp("Seconds between two looks.", valueName: "seconds"))
    var interval: Double = 2

    func validate() throws {
        guard interval >= 0.5, interval <= 3600 else {
            throw ValidationError("--interval is a number of seconds from 0.5 to 3600.")
        }
    }

    func run() async throws {
        let home = CargoStore.defaultRoot()
        if page {
            guard let place = StatusServer.Place.read(home: home), await asked(place) != nil else {
                say("cargo-run top: no agent of \(home) shows a status page; start one with 'cargo-run agent'")
                throw ExitCode(ProgramExit.failed)
            }
            return print(place.page)
        }
        let meter = HostMeter(folder: home)
        let isLive = isatty(STDOUT_FILENO) == 1 && !json && !once
        // Processor time is a difference: without an agent the first look only begins it.
        if !isLive, StatusServer.Place.read(home: home) == nil { _ = await meter.current() }
        while true {
            let status = await look(home, meter)
            if json {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                return print(String(decoding: try encoder.encode(status), as: UTF8.self))
            }
            let lines = StatusText.lines(status, width: isLive ? columns() : 120)
            guard isLive else { return print(lines.joined(separator: "\n")) }
            // Home, the lines with their rests cleared, then what was below.
            print("\u{1B}[H" + lines.map { $0 + "\u{1B}[K\n" }.joined() + "\u{1B}[J", terminator: "")
            fflush(nil)
            try await Task.sleep(for: .milliseconds(Int(interval * 1000)))
        }
    }

    private func look(_ home: FilePath, _ meter: HostMeter) async -> HostStatus {
        if let place = StatusServer.Place.read(home: home), let status = await asked(place) { return status }
        return HostStatus(name: machineName(), at: HostStatus.now(), metrics: await meter.current())
    }

    private func asked(_ place: StatusServer.Place) async -> HostStatus? {
        guard let address = try? EndpointAddress(place.url) else { return nil }
        let answer = try? await ModelServer(address).get("/status.json", limit: 8 << 20, within: .seconds(5), bearer: place.token)
        guard let answer, answer.status == 200 else { return nil }
        return try? JSONDecoder().decode(HostStatus.self, from: Data(answer.body))
    }

    private func columns() -> Int {
        var size = winsize()
        return ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 100
    }
}
