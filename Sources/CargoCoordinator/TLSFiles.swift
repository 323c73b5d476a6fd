public import SystemPackage

/// Where the server's certificate chain and its key lie, as PEM.
public struct TLSFiles: Hashable, Sendable {
    /// Files that no server can begin with.
    public struct Unusable: Error, CustomStringConvertible, Hashable, Sendable {
        public let description: String
    }

    public var certificate: FilePath
    public var key: FilePath

    public init(certificate: FilePath, key: FilePath) {
        self.certificate = certificate
        self.key = key
    }
}
