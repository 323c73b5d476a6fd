// rooms: CargoTunnel
// options: -max_len=4096
import CargoTunnel

/// Any bytes are frames that keep the rules, or the first violation; the bounds of a connection hold whatever a peer sends.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    var streams = TunnelStreams(count % 2 == 0 ? .host : .coordinator)
    _ = streams.open()
    var rest = bytes[...]
    // A length byte, then so many bytes as one message.
    while let length = rest.popFirst() {
        let message = Array(rest.prefix(Int(length)))
        rest = rest.dropFirst(Int(length))
        guard let frame = try? TunnelFrame(message) else { continue }
        precondition(frame.bytes == message)
        guard let event = try? streams.receive(frame) else { continue }
        if case .data(let stream, let data) = event { _ = streams.used(stream, data.count) }
        if case .opened(let stream, _) = event, stream % 4 == 0 { _ = streams.end(stream) }
        precondition(streams.count <= 2 * TunnelStreams.mostStreams)
    }
    return 0
}
