import ArgumentParser
import CargoArtifact
import CargoPacking
import CargoSigning

/// Which keys sign, and what the signature says besides.
struct SigningOptions: ParsableArguments {
    @Option(help: "Sign with this key: a name in keys/, or a path. Repeatable.")
    var key: [String] = []

    @Option(help: "The release counter. Default: it follows from the version.")
    var counter: Int64?

    @Option(help: "The signature counts until then: a span such as 90d, or a time such as 2030-12-31T00:00:00Z.")
    var expires: String?

    func validate() throws {
        if let expires, time(expires) == nil {
            throw ValidationError("--expires takes a span such as 90d or a time such as 2030-12-31T00:00:00Z.")
        }
        if let counter, counter < 0 || counter >= 1 << 53 { throw ValidationError("--counter is 0 or more.") }
    }

    var options: SignatureOptions { SignatureOptions(counter: counter, expires: expires.flatMap(time)) }

    private func time(_ text: String) -> Int64? {
        Timestamp.seconds(text) ?? Seconds(text).map { Timestamp.now() + Int64($0.value) }
    }
}
