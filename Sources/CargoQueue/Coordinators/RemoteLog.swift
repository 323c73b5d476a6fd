import CargoArtifact
import CargoWire
import FoundationEssentials
import Synchronization

/// Part of a log as it comes from the coordinator that keeps it, for one reader. Goes when its reader goes.
final class RemoteLog: Sendable {
    /// What to read, and whether to go on while it grows.
    struct Ask: Hashable, Sendable {
        var key: JobKey
        var attempt: Int
        var part: LogPart
        var after: Int64
        var follows: Bool

        var target: String {
            "/peer/jobs/\(key.id)/logs/\(attempt)?account=\(key.account)&base=\(part.base)&after=\(after)&follow=\(follows)"
        }
    }

    enum End: Equatable {
        /// All of it has come.
        case whole
        /// Nobody has it any more.
        case lost
        /// It could not be had now.
        case failed
    }

    /// Bytes that wait for their reader at most, besides one frame; the other side waits then.
    private static let mostHeld = 256 << 10
    /// How long one that does not follow tries.
    private static let patienceMilliseconds: Int64 = 8000

    /// What the pump and the reader share.
    private final class Shared: Sendable {
        struct State {
            var pieces: [LogPiece] = []
            var held = 0
            var head: AnswerHead?
            var progress: (version: UInt64, value: JSONValue)?
            var end: End?
            /// Where the next byte is.
            var next: Int64
        }

        let state: Mutex<State>
        let room = Doorbell()
        let bell: Doorbell

        init(after: Int64, bell: Doorbell) {
            state = Mutex(State(next: after))
            self.bell = bell
        }

        func take(_ frames: [PeerFrame]) async throws -> Bool {
            var isOver = false
            let cause = state.withLock { state -> RingCause in
                var cause: RingCause = []
                for frame in frames {
                    switch frame {
                    case .piece(var piece):
                        // A connection that began anew may repeat what came before.
                        guard piece.end > state.next else { continue }
                        if piece.offset < state.next {
                            piece.bytes.removeFirst(Int(state.next - piece.offset))
                            piece.offset = state.next
                        }
                        state.next = piece.end
                        state.held += piece.bytes.count
                        state.pieces.append(piece)
                        cause.insert(.logs)
                    case .head(let head):
                        state.head = head
                        cause.insert(.logs)
                    case .progress(let value):
                        state.progress = ((state.progress?.version ?? 0) + 1, value)
                        cause.insert(.progress)
                    case .idle: continue
                    case .end: isOver = true
                    }
                }
                return cause
            }
            if !cause.isEmpty { bell.ring(cause) }
            while state.withLock({ $0.held > mostHeld }) {
                try Task.checkCancellation()
                _ = await room.wait(seconds: 5)
            }
            return isOver
        }

        func finish(_ end: End) {
            state.withLock { $0.end = end }
            bell.ring(.logs)
        }
    }

    let ask: Ask
    private let shared: Shared
    /// Ended by `deinit`: it holds `shared`, never this object.
    private let pump: Task<Void, Never>

    init(_ peers: Peers, _ ask: Ask, bell: Doorbell) {
        self.ask = ask
        let shared = Shared(after: ask.after, bell: bell)
        self.shared = shared
        pump = Task { await Self.pump(peers, ask, shared) }
    }

    deinit { pump.cancel() }

    var head: AnswerHead? { shared.state.withLock { $0.head } }
    var progress: (version: UInt64, value: JSONValue)? { shared.state.withLock { $0.progress } }
    /// Nil while more may come or is waiting to be taken.
    var end: End? { shared.state.withLock { $0.pieces.isEmpty ? $0.end : nil } }

    /// The next piece that has come.
    func take() -> LogPiece? {
        let piece = shared.state.withLock { state -> LogPiece? in
            guard !state.pieces.isEmpty else { return nil }
            let piece = state.pieces.removeFirst()
            state.held -= piece.bytes.count
            return piece
        }
        if piece != nil { shared.room.ring(.work) }
        return piece
    }

    @concurrent
    private static func pump(_ peers: Peers, _ ask: Ask, _ shared: Shared) async {
        let begun = Uptime.now()
        var pause = 0.05
        while !Task.isCancelled {
            let url: String
            switch peers.presence(of: ask.part.home) {
            case .lost: return shared.finish(.lost)
            case .there(let there), .silent(let there): url = there
            }
            var now = ask
            now.after = shared.state.withLock { $0.next }
            let before = now.after
            do {
                let reading = Mutex(PeerFrame.Reader())
                let over = Mutex(false)
                try await peers.calls.read(url + now.target, header: peers.proof("GET", now.target)) { bytes in
                    let frames = try reading.withLock { try $0.frames(bytes) }
                    if try await shared.take(frames) { over.withLock { $0 = true } }
                }
                if over.withLock({ $0 }) { return shared.finish(.whole) }
            } catch {
                // Its restart takes seconds, its move to another address as long; each try asks anew where it is.
            }
            if Task.isCancelled { return }
            if !ask.follows, Uptime.now().milliseconds - begun.milliseconds > patienceMilliseconds {
                return shared.finish(.failed)
            }
            pause = shared.state.withLock { $0.next } > before ? 0.05 : min(pause * 2, 1)
            try? await Task.sleep(for: .seconds(pause * Double.random(in: 0.5...1)))
        }
    }
}
