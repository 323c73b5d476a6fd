public import ArgumentParser
public import CargoArtifact
internal import FoundationEssentials

/// `k=v` of `--param`: the value is JSON when it parses as such, else it is the text itself.
public struct ParameterPair: ExpressibleByArgument, Sendable {
    public let name: String
    public let value: JSONValue

    public init?(argument: String) {
        guard let pair = TextPair(argument: argument) else { return nil }
        name = pair.name
        value = (try? JSONDecoder().decode(JSONValue.self, from: Data(pair.value.utf8))) ?? .string(pair.value)
    }
}

/// `k=v` of `--env`.
public struct TextPair: ExpressibleByArgument, Sendable {
    public let name: String
    public let value: String

    public init?(argument: String) {
        guard let equals = argument.firstIndex(of: "="), equals != argument.startIndex else { return nil }
        name = String(argument[..<equals])
        value = String(argument[argument.index(after: equals)...])
    }
}

extension Seconds: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

extension ByteCount: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}
