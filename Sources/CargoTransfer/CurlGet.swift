internal import CCurl
internal import Glibc

/// One request for a range, from its start to its end. Lives on the thread of its loop.
final class CurlGet {
    /// Takes a piece of the body; throws to stop the request.
    typealias Sink = (CurlGet, UnsafeRawBufferPointer) throws -> Void

    /// The piece of the blob for which it was started.
    let piece: Int
    let asked: ClosedRange<Int64>
    let url: String
    let origin: WebOrigin
    /// Redirects behind it.
    let hops: Int
    private(set) var head = AnswerHead()
    /// Where the next byte belongs; nil before the first.
    var position: Int64?
    /// What stopped the request from this side.
    private(set) var failure: (any Error)?
    /// Bytes of an answer that is no blob.
    private var discarded = 0
    private let sink: Sink
    private var handle: UnsafeMutableRawPointer?

    /// Bytes read of an answer that is no blob, before the request is ended.
    private static let mostDiscarded = 64 << 10

    init(piece: Int, asked: ClosedRange<Int64>, url: String, origin: WebOrigin, hops: Int, sink: @escaping Sink) {
        self.piece = piece
        self.asked = asked
        self.url = url
        self.origin = origin
        self.hops = hops
        self.sink = sink
    }

    /// Adds the request to `multi`; it must be ended with `end`. Throws when memory is short.
    func start(
        _ multi: UnsafeMutableRawPointer, bearer: String?, options: TransferOptions, addresses: ccurl_addresses
    ) throws(TransferFailure) {
        // The library copies strings; C strings made here live until then.
        var copies: [UnsafeMutablePointer<CChar>?] = []
        defer { for copy in copies { free(copy) } }
        func text(_ text: String?) -> UnsafePointer<CChar>? {
            guard let text else { return nil }
            copies.append(strdup(text))
            return copies.last.flatMap { $0 }.map { UnsafePointer($0) }
        }
        var raw = ccurl_options()
        raw.url = text(url)
        raw.first = asked.lowerBound
        raw.last = asked.upperBound
        raw.bearer = text(bearer)
        raw.agent = text("longshore")
        raw.ca_file = text(options.authorities.file)
        raw.ca_path = text(options.authorities.folder)
        raw.connect_ms = Int(options.connectTimeout / .milliseconds(1))
        raw.stall_seconds = options.stallSeconds
        raw.stall_rate = options.stallRate
        raw.addresses = Int32(addresses.rawValue)
        raw.head = { bytes, count, context in CurlGet.from(context).takeHead(bytes, count) }
        raw.body = { bytes, count, context in CurlGet.from(context).takeBody(bytes, count) }
        raw.context = Unmanaged.passUnretained(self).toOpaque()
        handle = ccurl_get_new(multi, &raw)
        guard handle != nil else { throw TransferFailure(.unavailable, "libcurl could not start a request for \(origin)") }
    }

    /// Takes the request out of `multi` and frees it.
    func end(_ multi: UnsafeMutableRawPointer) {
        if let handle { ccurl_get_free(multi, handle) }
        handle = nil
    }

    var redirect: String { handle.map { String(cString: ccurl_get_redirect($0)) } ?? "" }
    var address: String { handle.map { String(cString: ccurl_get_address($0)) } ?? "" }
    var problem: String { handle.map { String(cString: ccurl_get_problem($0)) } ?? "" }

    static func of(_ handle: UnsafeMutableRawPointer) -> CurlGet { from(ccurl_get_context(handle)) }

    private static func from(_ context: UnsafeMutableRawPointer?) -> CurlGet {
        guard let context else { preconditionFailure("every request is started with itself as its context") }
        // The loop keeps the object alive until it has ended the request.
        return Unmanaged<CurlGet>.fromOpaque(context).takeUnretainedValue()
    }

    private func takeHead(_ bytes: UnsafeRawPointer?, _ count: Int) -> Int32 {
        head.take(line: String(decoding: UnsafeRawBufferPointer(start: bytes, count: count), as: UTF8.self))
        return 1
    }

    private func takeBody(_ bytes: UnsafeRawPointer?, _ count: Int) -> Int32 {
        guard head.status == 200 || head.status == 206 else {
            discarded += count
            return discarded <= Self.mostDiscarded ? 1 : 0
        }
        do {
            try sink(self, UnsafeRawBufferPointer(start: bytes, count: count))
            return 1
        } catch {
            failure = error
            return 0
        }
    }
}
