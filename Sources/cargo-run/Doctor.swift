import ArgumentParser
import CargoRunner
import CargoSandbox
import CargoStore
import FoundationEssentials

/// `cargo-run doctor`: what this host can enforce, and what to do where it cannot.
struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Try every mechanism that confines jobs, and say what is missing.",
        discussion: "Exit status 1 when an agent on this host would refuse to run jobs.")

    @Flag(help: "Print one JSON object.")
    var json = false

    private struct Report: Encodable {
        var ready: Bool
        var mechanisms: [Doctor.Finding]
    }

    func run() async throws {
        var doctor = await Doctor.examine(home: CargoStore.defaultRoot())
        doctor.findings.append(await ContainerSettings(agent: "doctor", trust: .owner(credentials: nil)).examine())
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            print(String(decoding: try encoder.encode(Report(ready: doctor.isReady, mechanisms: doctor.findings)), as: UTF8.self))
        } else {
            let width = doctor.findings.map(\.name.count).max() ?? 0
            for finding in doctor.findings {
                let name = finding.name + String(repeating: " ", count: width - finding.name.count)
                let state = finding.state.rawValue + String(repeating: " ", count: 8 - finding.state.rawValue.count)
                print("\(name)  \(state)  \(finding.found)")
                if let advice = finding.advice { print(String(repeating: " ", count: width + 12) + "-> " + advice) }
            }
            print(doctor.isReady ? "This host is ready." : "This host would refuse jobs.")
        }
        if !doctor.isReady { throw ExitCode(1) }
    }
}
