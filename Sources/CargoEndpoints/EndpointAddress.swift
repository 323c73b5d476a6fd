internal import FoundationEssentials
public import SystemPackage

/// Where a model server is, as its owner writes it: `http://127.0.0.1:8080`, `http://10.0.0.5:8000/v1`, `unix:///run/model.sock`.
public struct EndpointAddress: Hashable, Sendable, CustomStringConvertible {
    /// The address was not understood.
    public struct Malformed: Error, CustomStringConvertible {
        public let description: String
    }

    public enum Place: Hashable, Sendable {
        case tcp(host: String, port: Int)
        case unix(FilePath)
    }

    public let place: Place
    /// Nil: the usual `/v1`.
    public let basePath: String?

    public init(loopback port: Int) {
        place = .tcp(host: "127.0.0.1", port: port)
        basePath = nil
    }

    public init(_ text: String) throws(Malformed) {
        if text.hasPrefix("unix://") {
            let path = FilePath(String(text.dropFirst(7)))
            guard path.isAbsolute else { throw Malformed(description: "'\(text)' is not a socket; write it as unix:///PATH") }
            place = .unix(path)
            basePath = nil
            return
        }
        guard let url = URL(string: text), url.scheme == "http", let host = url.host, !host.isEmpty, url.user == nil,
            url.query == nil, url.fragment == nil
        else {
            throw Malformed(
                description: "'\(text)' is not the address of a model server; write it as http://HOST:PORT[/v1] or unix:///PATH"
                    + (text.hasPrefix("https:") ? " (https is not spoken here: let a local proxy do it)" : ""))
        }
        let port = url.port ?? 80
        guard (1...65535).contains(port) else { throw Malformed(description: "'\(text)' has no possible port") }
        place = .tcp(host: host, port: port)
        var path = Substring(url.path)
        while path.hasSuffix("/") { path = path.dropLast() }
        basePath = path.isEmpty ? nil : String(path)
    }

    /// On this machine, as far as the address itself says.
    public var isLocal: Bool {
        switch place {
        case .unix: return true
        case .tcp(let host, _):
            if host == "localhost" || host == "::1" || host == "[::1]" { return true }
            let parts = host.split(separator: ".", omittingEmptySubsequences: false)
            return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
        }
    }

    var dial: Dial {
        switch place {
        case .tcp(let host, let port): .tcp(host: host, port: port)
        case .unix(let path): .unix(path)
        }
    }

    public var description: String {
        switch place {
        case .tcp(let host, let port): "http://" + (host.contains(":") ? "[\(host)]" : host) + ":\(port)" + (basePath ?? "")
        case .unix(let path): "unix://" + path.string
        }
    }
}
