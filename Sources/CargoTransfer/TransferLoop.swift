internal import CCurl
internal import CargoArtifact
internal import CargoFiles
internal import Synchronization

/// Stops a loop from elsewhere.
final class TransferStop: Sendable {
    /// `@unchecked`: waking is the one call that libcurl allows from other threads; the mutex keeps the handle alive for it.
    private struct Multi: @unchecked Sendable { let handle: UnsafeMutableRawPointer }

    private let state = Mutex<(multi: Multi?, isStopped: Bool)>((nil, false))

    func stop() {
        state.withLock { state in
            state.isStopped = true
            if let multi = state.multi { ccurl_multi_wake(multi.handle) }
        }
    }

    var isStopped: Bool { state.withLock { $0.isStopped } }

    func set(_ multi: UnsafeMutableRawPointer?) {
        let multi = multi.map(Multi.init)
        state.withLock { $0.multi = multi }
    }
}

/// Fetches one blob into its partial file: all of it on one thread, which waits in libcurl.
final class TransferLoop {
    private let request: TransferRequest
    private let options: TransferOptions
    private let file: File
    private let base: Int64
    private let stop: TransferStop
    private let progress: (TransferProgress) -> Void
    private let origin: WebOrigin
    private let proxied: Bool
    private var partial: PartialBlob
    private var report = TransferReport()
    private var retry: RetrySchedule
    private var retryAt: ContinuousClock.Instant
    private var active: [ObjectIdentifier: CurlGet] = [:]
    /// Where the origin last redirected to.
    private var location: (url: String, origin: WebOrigin)
    private var originIsPrivate = false
    /// nil until the first answer says whether the server grants ranges.
    private var ranges: Bool?
    private var meter = RateMeter()
    private var lastReport: ContinuousClock.Instant
    /// Whole-file mismatches after which the blob is refused.
    private static let mostAudits = 3
    /// Between two reports of progress.
    private static let reportInterval = Duration.milliseconds(250)

    init(
        _ request: TransferRequest, file: File, at base: Int64, journal: TransferJournal, options: TransferOptions, proxied: Bool,
        stop: TransferStop, progress: @escaping (TransferProgress) -> Void
    ) throws {
        guard let origin = WebOrigin(request.url) else {
            throw TransferFailure(.connection, "'\(request.url.prefix(200))' is neither an http nor an https address")
        }
        self.request = request
        self.options = options
        self.file = file
        self.base = base
        self.stop = stop
        self.progress = progress
        self.origin = origin
        self.proxied = proxied
        location = (request.url, origin)
        partial = try PartialBlob(
            file: file, at: base, journal: journal, request: request, pieceSize: request.chunks?.pieceSize ?? options.pieceSize)
        let now = ContinuousClock.now
        retry = RetrySchedule(options, now: now)
        retryAt = now
        lastReport = now
        report.resumed = partial.map.total
    }

    /// Returns when the partial file holds the blob, checked by its whole digest. Blocks.
    func run() throws -> TransferReport {
        if let problem = ccurl_load() { throw TransferFailure(.unavailable, String(cString: problem)) }
        let connections = max(1, min(options.connections, 16))
        guard let multi = ccurl_multi_new(Int32(connections)) else {
            throw TransferFailure(.unavailable, "libcurl has no memory left")
        }
        stop.set(multi)
        defer {
            stop.set(nil)
            for get in active.values { get.end(multi) }
            ccurl_multi_free(multi)
        }
        do {
            for _ in 0..<Self.mostAudits {
                if try fetchAll(multi, connections) {
                    report.damaged = partial.damaged
                    return report
                }
                try partial.audit()
            }
        } catch {
            // What stopped the transfer is what its caller must hear, also when the disk is full.
            try? partial.flush()
            throw error
        }
        throw Refusal("digest-mismatch", "the server sends other bytes than \(request.digest); nothing of them was kept")
    }

    /// Fetches what is missing; true when the whole has its digest.
    private func fetchAll(_ multi: UnsafeMutableRawPointer, _ connections: Int) throws -> Bool {
        let hash = try FollowingHash(file, at: base, size: request.size)
        defer { hash.stop() }
        while true {
            guard !stop.isStopped else { throw CancellationError() }
            hash.advance(to: partial.map.prefix)
            tell(final: false)
            if partial.map.isWhole, active.isEmpty { break }
            try startRequests(multi, connections)
            let wait = active.isEmpty ? max(retryAt - .now, .milliseconds(1)) : .milliseconds(250)
            guard ccurl_multi_step(multi, Int32(min(wait / .milliseconds(1), 250).rounded(.up))) == 0 else {
                throw TransferFailure(.unavailable, "libcurl failed in the middle of a transfer")
            }
            var end = ccurl_done
            while let handle = ccurl_multi_ended(multi, &end) {
                let get = CurlGet.of(handle)
                active[ObjectIdentifier(get)] = nil
                partial.giveBack(get.piece)
                defer { get.end(multi) }
                try take(get, end, multi)
            }
        }
        tell(final: true)
        return try hash.digest() == request.digest
    }

    private func startRequests(_ multi: UnsafeMutableRawPointer, _ connections: Int) throws {
        // One request asks whether ranges are granted; the others follow when they are.
        let limit = ranges == true ? connections : 1
        while active.count < limit, ContinuousClock.now >= retryAt, let piece = partial.take() {
            try start(multi, piece: piece, url: location.url, origin: location.origin, hops: 0)
        }
    }

    private func start(_ multi: UnsafeMutableRawPointer, piece: Int, url: String, origin: WebOrigin, hops: Int) throws {
        let first = partial.map.start(of: piece) + Int64(partial.map.received[piece])
        let last = partial.map.start(of: piece) + partial.map.length(of: piece) - 1
        let get = CurlGet(piece: piece, asked: first...last, url: url, origin: origin, hops: hops) { [unowned self] in
            try accept($0, $1)
        }
        let isOwn = origin == self.origin
        let addresses =
            isOwn || proxied ? ccurl_any_address : originIsPrivate ? ccurl_local_addresses : ccurl_public_addresses
        try get.start(multi, bearer: isOwn ? request.bearer : nil, options: options, addresses: addresses)
        active[ObjectIdentifier(get)] = get
    }

    private func accept(_ get: CurlGet, _ bytes: UnsafeRawBufferPointer) throws {
        report.transferred += Int64(bytes.count)
        if get.position == nil {
            get.position = try get.head.start(asked: get.asked, size: request.size)
            ranges = get.head.status == 206
        }
        let position = get.position ?? 0
        let end = get.head.status == 206 ? get.asked.upperBound + 1 : request.size
        guard position + Int64(bytes.count) <= end else {
            throw TransferFailure(.answer, "the server sent more bytes than were asked for")
        }
        if try partial.accept(bytes, at: position) > 0 { retry.progressed(at: .now) }
        get.position = position + Int64(bytes.count)
    }

    /// Decides what the end of a request means.
    private func take(_ get: CurlGet, _ end: ccurl_end, _ multi: UnsafeMutableRawPointer) throws {
        if let failure = get.failure { throw failure }
        if get.origin == origin, !originIsPrivate { originIsPrivate = ccurl_address_class(get.address) == 1 }
        switch end {
        case ccurl_hopeless:
            throw TransferFailure(.connection, "\(get.origin) cannot be reached: \(get.problem)")
        case ccurl_address_refused:
            throw TransferFailure(
                .connection, "\(origin) redirects to \(get.origin), an address inside a network that is not its own")
        case ccurl_broken:
            try tryAgain(get, "broke off: \(get.problem)")
        default:
            try take(status: get.head.status, of: get, multi)
        }
    }

    private func take(status: Int, of get: CurlGet, _ multi: UnsafeMutableRawPointer) throws {
        switch status {
        case 200, 206:
            // An answer that ended early is asked for again; without a byte in between that is a failure.
            if get.position == nil { try tryAgain(get, "sent an empty answer") }
        case 301, 302, 303, 307, 308:
            switch Redirect.decide(from: get.origin, to: get.redirect, hops: get.hops) {
            case .refuse(let why): throw TransferFailure(.answer, why)
            case .follow(let target):
                location = (get.redirect, target)
                guard let piece = partial.take() else { return }
                try start(multi, piece: piece, url: get.redirect, origin: target, hops: get.hops + 1)
            }
        case 408, 425, 429, 500, 502, 503, 504:
            try tryAgain(get, "answered \(status)")
        default:
            // The place that the origin named may have expired: ask the origin again.
            guard get.origin != origin || get.url != request.url else {
                throw TransferFailure(.status, "\(get.origin) answered \(status) for \(request.digest)", status: status)
            }
            try tryAgain(get, "answered \(status)")
        }
    }

    private func tryAgain(_ get: CurlGet, _ problem: String) throws {
        report.retries += 1
        location = (request.url, origin)
        let now = ContinuousClock.now
        // Connections that broke together are one failure.
        guard now >= retryAt else { return }
        var random = SystemRandomNumberGenerator()
        guard let next = retry.next(at: now, asked: get.head.retryAfter, using: &random) else {
            throw TransferFailure(
                .outOfPatience,
                "\(get.origin) \(problem); no new byte came for \(options.patience / .seconds(1)) s, try again later")
        }
        retryAt = next
    }

    private func tell(final: Bool) {
        let now = ContinuousClock.now
        guard final || now - lastReport >= Self.reportInterval else { return }
        lastReport = now
        progress(meter.progress(received: partial.map.total, size: request.size, at: now))
    }
}
