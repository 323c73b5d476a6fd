public import CargoArtifact

/// One blob that is to be fetched: where from, and what it must be.
public struct TransferRequest: Sendable {
    /// `http` or `https`.
    public var url: String
    /// Sent to the origin of `url` alone, never to where a redirect leads.
    public var bearer: String?
    public var digest: Digest
    /// Bytes.
    public var size: Int64
    /// With them a damaged piece is noticed as it comes, and fetched again alone.
    public var chunks: ChunkSums?

    public init(url: String, bearer: String? = nil, digest: Digest, size: Int64, chunks: ChunkSums? = nil) {
        self.url = url
        self.bearer = bearer
        self.digest = digest
        self.size = size
        self.chunks = chunks
    }
}

/// How hard and how patiently a transfer tries.
public struct TransferOptions: Sendable {
    /// Requests at once; 1 to 16.
    public var connections = 4
    /// Slower than `stallRate` bytes a second for this long is a broken connection.
    public var stallSeconds = 20
    public var stallRate = 1024
    public var connectTimeout: Duration = .seconds(15)
    /// Gives up after this long without one new byte.
    public var patience: Duration = .seconds(120)
    /// Wait before the second try, doubling up to `longestWait`, each drawn between a half and the whole.
    public var firstWait: Duration = .milliseconds(100)
    public var longestWait: Duration = .seconds(5)
    /// Piece size where the request has no chunk sums.
    public var pieceSize = ChunkSums.defaultPieceSize
    /// Files of certificate authorities; nil takes the library's own.
    public var authorities: CertificateAuthorities = .fromEnvironment()

    public init() {}
}

/// How far a transfer is.
public struct TransferProgress: Hashable, Sendable {
    /// Bytes that are here, from this try and earlier ones.
    public var received: Int64
    public var size: Int64
    /// Over the last seconds; nil until that can be said.
    public var bytesPerSecond: Double?
    /// nil until that can be said.
    public var secondsLeft: Double?

    public init(received: Int64, size: Int64, bytesPerSecond: Double? = nil, secondsLeft: Double? = nil) {
        self.received = received
        self.size = size
        self.bytesPerSecond = bytesPerSecond
        self.secondsLeft = secondsLeft
    }
}

/// What a finished transfer took.
public struct TransferReport: Hashable, Sendable {
    /// Body bytes that came over the network.
    public var transferred: Int64
    /// Bytes that were here from an earlier try.
    public var resumed: Int64
    /// Pieces that came damaged and were fetched again.
    public var damaged: Int
    /// Requests that broke off and went on.
    public var retries: Int
    /// Another task or process fetched it meanwhile.
    public var joined: Bool

    public init(transferred: Int64 = 0, resumed: Int64 = 0, damaged: Int = 0, retries: Int = 0, joined: Bool = false) {
        self.transferred = transferred
        self.resumed = resumed
        self.damaged = damaged
        self.retries = retries
        self.joined = joined
    }
}

/// Why a transfer ended without its blob. What was received stays for the next try.
public struct TransferFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// Kinds that a caller may tell apart.
    public enum Code: String, Sendable {
        /// libcurl cannot be loaded.
        case unavailable
        /// No byte came for as long as patience lasts.
        case outOfPatience
        /// The server answered with `status`.
        case status
        /// The answer is not what was asked for, or leads where it may not.
        case answer
        /// Certificate, address or protocol: trying again changes nothing.
        case connection
    }

    public let code: Code
    /// HTTP status, where there is one.
    public let status: Int?
    /// One sentence.
    public let message: String

    public init(_ code: Code, _ message: String, status: Int? = nil) {
        self.code = code
        self.status = status
        self.message = message
    }

    public var description: String { message }
}
