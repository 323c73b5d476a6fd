/// Writes protobuf messages for the tests, honest or not.
struct ProtobufBuilder {
    var bytes: [UInt8] = []

    static func varint(_ value: UInt64) -> [UInt8] {
        var value = value
        var out: [UInt8] = []
        while value >= 0x80 {
            out.append(UInt8(value & 0x7f) | 0x80)
            value >>= 7
        }
        return out + [UInt8(value)]
    }

    mutating func number(_ field: UInt64, _ value: UInt64) { bytes += Self.varint(field << 3) + Self.varint(value) }
    mutating func data(_ field: UInt64, _ value: [UInt8]) {
        bytes += Self.varint(field << 3 | 2) + Self.varint(UInt64(value.count)) + value
    }
    mutating func text(_ field: UInt64, _ value: String) { data(field, Array(value.utf8)) }
    mutating func message(_ field: UInt64, _ build: (inout ProtobufBuilder) -> Void) {
        var inner = ProtobufBuilder()
        build(&inner)
        data(field, inner.bytes)
    }
}

/// Writes ONNX models for the tests; the numbers are onnx.proto's field numbers.
struct ONNXBuilder {
    var graph = ProtobufBuilder()
    /// Fields of the model besides version, operator set and graph.
    var model = ProtobufBuilder()

    var file: [UInt8] {
        var out = ProtobufBuilder()
        out.number(1, 9)
        out.text(2, "tests")
        out.message(8) {
            $0.text(1, "")
            $0.number(2, 21)
        }
        out.data(7, graph.bytes)
        return out.bytes + model.bytes
    }

    mutating func value(_ field: UInt64, _ name: String, type: UInt64, _ shape: [ONNXAxis]) {
        graph.message(field) {
            $0.text(1, name)
            $0.message(2) {
                $0.message(1) {
                    $0.number(1, type)
                    $0.message(2) { for axis in shape { $0.message(1) { axis.write(&$0) } } }
                }
            }
        }
    }

    mutating func initializer(_ name: String, type: UInt64, _ dimensions: [UInt64], raw: Int) {
        graph.message(5) { Self.tensor(&$0, name, type: type, dimensions, raw: raw) }
    }

    mutating func external(_ name: String, _ dimensions: [UInt64], _ entries: [(String, String)]) {
        graph.message(5) { Self.external(&$0, name, dimensions, entries) }
    }

    static func tensor(_ message: inout ProtobufBuilder, _ name: String, type: UInt64, _ dimensions: [UInt64], raw: Int?) {
        for dimension in dimensions { message.number(1, dimension) }
        message.number(2, type)
        message.text(8, name)
        if let raw { message.data(9, [UInt8](repeating: 3, count: raw)) }
    }

    static func external(_ message: inout ProtobufBuilder, _ name: String, _ dimensions: [UInt64], _ entries: [(String, String)])
    {
        tensor(&message, name, type: 1, dimensions, raw: nil)
        for (key, value) in entries {
            message.message(13) {
                $0.text(1, key)
                $0.text(2, value)
            }
        }
        message.number(14, 1)
    }

    static func small() -> ONNXBuilder {
        var builder = ONNXBuilder()
        builder.graph.text(2, "small")
        builder.value(11, "x", type: 1, [.symbol("batch"), .size(4)])
        builder.value(11, "w", type: 1, [.size(4), .size(2)])
        builder.value(12, "y", type: 1, [.symbol("batch"), .size(2)])
        builder.initializer("w", type: 1, [4, 2], raw: 32)
        builder.graph.message(1) { $0.text(4, "MatMul") }
        return builder
    }
}

/// An axis as the tests write it.
enum ONNXAxis {
    case size(UInt64)
    case symbol(String)

    func write(_ message: inout ProtobufBuilder) {
        switch self {
        case .size(let size): message.number(1, size)
        case .symbol(let name): message.text(2, name)
        }
    }
}
