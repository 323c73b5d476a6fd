/// Walks an ONNX model's messages; the numbers in the comments are onnx.proto's field numbers.
struct ONNXReader {
    /// Bytes of all weights together; keeps sums exact and far from overflow.
    private static let mostWeightBytes: UInt64 = 1 << 52

    private var protobuf: ProtobufReader
    private var header = ONNXHeader()
    private var weightElements: UInt64 = 0
    private var weightBytes: UInt64 = 0

    init(_ source: any ByteSource) {
        protobuf = ProtobufReader(source)
    }

    private func refusal(_ message: String) -> Refusal { protobuf.refusal(message) }

    /// Throws where a field that may stand only once stands there again.
    private func once(_ field: ProtobufField, _ seen: inout Set<UInt64>, _ message: String) throws {
        guard seen.insert(field.number).inserted else { throw refusal("has field \(field.number) of a \(message) twice") }
    }

    // ModelProto
    mutating func model() throws -> ONNXHeader {
        var seen: Set<UInt64> = []
        let end = protobuf.cursor.length
        while let field = try protobuf.next(until: end) {
            if field.number < 8 { try once(field, &seen, "model") }
            switch field.number {
            case 1: header.irVersion = try protobuf.integer(field)
            case 2: header.producer = try protobuf.string(field, what: "producer")
            case 3: header.producerVersion = try protobuf.string(field, what: "producer version")
            case 7: header.graphName = try graph(field, depth: 1, isMain: true)
            case 8: try operatorSet(field)
            case 14: try metadata(field)
            case 20: try training(field)
            case 25: try function(field)
            default: try protobuf.skip(field)
            }
        }
        guard seen.contains(7), header.irVersion > 0 else {
            throw Refusal("onnx-header", "The file holds no ONNX graph; give a model in the ONNX format.")
        }
        return header
    }

    // OperatorSetIdProto
    private mutating func operatorSet(_ field: ProtobufField) throws {
        let end = try protobuf.message(field, depth: 1)
        var domain = ""
        var version: UInt64 = 0
        while let field = try protobuf.next(until: end) {
            switch field.number {
            case 1: domain = try protobuf.string(field, what: "operator set")
            case 2: version = try protobuf.integer(field)
            default: try protobuf.skip(field)
            }
        }
        guard header.operatorSets.updateValue(version, forKey: domain) == nil else {
            throw refusal("names the operator set '\(domain)' twice")
        }
        guard header.operatorSets.count <= ONNXHeader.mostOperatorSets else {
            throw refusal("names more than \(ONNXHeader.mostOperatorSets) operator sets")
        }
    }

    // StringStringEntryProto of metadata_props; what is long or no plain text is passed over, as labels may be.
    private mutating func metadata(_ field: ProtobufField) throws {
        let end = try protobuf.message(field, depth: 1)
        var key: String?
        var value: String?
        while let field = try protobuf.next(until: end) {
            switch field.number {
            case 1: key = try protobuf.shortText(field)
            case 2: value = try protobuf.shortText(field)
            default: try protobuf.skip(field)
            }
        }
        guard let key, let value, header.metadata.count < ONNXHeader.mostMetadata else { return }
        header.metadata[key] = value
    }

    // TrainingInfoProto
    private mutating func training(_ field: ProtobufField) throws {
        let end = try protobuf.message(field, depth: 1)
        while let field = try protobuf.next(until: end) {
            switch field.number {
            case 1, 2: _ = try graph(field, depth: 2, isMain: false)
            default: try protobuf.skip(field)
            }
        }
    }

    // FunctionProto
    private mutating func function(_ field: ProtobufField) throws {
        let end = try protobuf.message(field, depth: 1)
        while let field = try protobuf.next(until: end) {
            switch field.number {
            case 7: try node(field, depth: 2)
            case 11: try attribute(field, depth: 2)
            default: try protobuf.skip(field)
            }
        }
    }

    // GraphProto; returns its name.
    private mutating func graph(_ field: ProtobufField, depth: Int, isMain: Bool) throws -> String? {
        let end = try protobuf.message(field, depth: depth)
        var name: String?
        var filled: Set<String> = []
        var inputs: [ONNXValue] = []
        while let field = try protobuf.next(until: end) {
            switch field.number {
            case 1: try node(field, depth: depth + 1)
            case 2 where name == nil: name = try protobuf.string(field, what: "graph name")
            case 5:
                let tensor = try tensor(field, depth: depth + 1, isWeight: true)
                guard filled.insert(tensor).inserted else { throw refusal("fills the tensor '\(tensor)' twice") }
            case 15:
                let tensor = try sparseTensor(field, depth: depth + 1, isWeight: true)
                guard filled.insert(tensor).inserted else { throw refusal("fills the tensor '\(tensor)' twice") }
            case 11 where isMain: inputs.append(try value(field, depth: depth + 1))
            case 12 where isMain: header.outputs.append(try value(field, depth: depth + 1))
            case 13:
                let bytes = try value(field, depth: depth + 1).bytes { _ in 1 }
                header.largestIntermediateBytes = max(header.largestIntermediateBytes, bytes)
            default: try protobuf.skip(field)
            }
            guard inputs.count <= ONNXHeader.mostValues, header.outputs.count <= ONNXHeader.mostValues else {
                throw refusal("has more than \(ONNXHeader.mostValues) inputs or outputs")
            }
        }
        if isMain { header.inputs = inputs.filter { !filled.contains($0.name) } }
        return name
    }

    // NodeProto
    private mutating func node(_ field: ProtobufField, depth: Int) throws {
        header.nodeCount += 1
        let end = try protobuf.message(field, depth: depth)
        while let field = try protobuf.next(until: end) {
            if field.number == 5 { try attribute(field, depth: depth + 1) } else { try protobuf.skip(field) }
        }
    }

    // AttributeProto
    private mutating func attribute(_ field: ProtobufField, depth: Int) throws {
        let end = try protobuf.message(field, depth: depth)
        while let field = try protobuf.next(until: end) {
            switch field.number {
            case 5, 10: _ = try tensor(field, depth: depth + 1, isWeight: false)
            case 6, 11: _ = try graph(field, depth: depth + 1, isMain: false)
            case 22, 23: _ = try sparseTensor(field, depth: depth + 1, isWeight: false)
            default: try protobuf.skip(field)
            }
        }
    }

    // SparseTensorProto; returns the name, which its values carry.
    private mutating func sparseTensor(_ field: ProtobufField, depth: Int, isWeight: Bool) throws -> String {
        let end = try protobuf.message(field, depth: depth)
        var name = ""
        while let field = try protobuf.next(until: end) {
            switch field.number {
            case 1: name = try tensor(field, depth: depth + 1, isWeight: isWeight)
            case 2: _ = try tensor(field, depth: depth + 1, isWeight: isWeight)
            default: try protobuf.skip(field)
            }
        }
        return name
    }

    // TensorProto; returns its name. A constant (no weight) is kept only where its numbers lie beside the model.
    private mutating func tensor(_ field: ProtobufField, depth: Int, isWeight: Bool) throws -> String {
        let end = try protobuf.message(field, depth: depth)
        var seen: Set<UInt64> = []
        var dimensions: [UInt64] = []
        var type: UInt64 = 0
        var name = ""
        var isExternal = false
        var entries: [String: String] = [:]
        var rawBytes: UInt64?
        var dataBytes: UInt64 = 0
        while let field = try protobuf.next(until: end) {
            switch field.number {
            case 1:
                try protobuf.integers(field, into: &dimensions, atMost: ONNXHeader.mostDimensions, what: "dimensions")
            case 2:
                try once(field, &seen, "tensor")
                type = try protobuf.integer(field)
            case 8:
                try once(field, &seen, "tensor")
                name = try protobuf.string(field, what: "tensor name")
            case 9:
                try once(field, &seen, "tensor")
                if case .delimited(let length) = field.payload { rawBytes = length }
                try protobuf.skip(field)
            case 4, 5, 6, 7, 10, 11:
                if case .delimited(let length) = field.payload { dataBytes += max(length, 1) } else { dataBytes += 8 }
                try protobuf.skip(field)
            case 13: try entry(field, depth: depth + 1, into: &entries)
            case 14:
                try once(field, &seen, "tensor")
                isExternal = try protobuf.integer(field) == 1
            default: try protobuf.skip(field)
            }
        }
        guard let type = ONNXType(number: type) else {
            throw refusal("gives the tensor '\(name.prefix(80))' the unknown type \(type)")
        }
        let (elements, bytes) = try size(of: name, dimensions, type)
        var external: ONNXExternalData?
        if isExternal {
            external = try self.external(entries, bytes: bytes, name: name)
        } else if let rawBytes {
            guard type.bits > 0, rawBytes == bytes else {
                throw refusal("gives the tensor '\(name.prefix(80))' \(rawBytes) bytes where its shape needs \(bytes)")
            }
        } else {
            // A packed number takes a byte at least, and holds up to four small elements.
            guard elements <= dataBytes.multipliedReportingOverflow(by: 4).partialValue else {
                throw refusal("gives the tensor '\(name.prefix(80))' \(elements) elements and only \(dataBytes) bytes")
            }
        }
        if isWeight || isExternal {
            try keep(
                ONNXTensor(
                    name: name, type: type, dimensions: dimensions, elements: elements,
                    bytes: type.bits == 0 ? dataBytes : bytes, external: external))
        }
        return name
    }

    private func size(of name: String, _ dimensions: [UInt64], _ type: ONNXType) throws -> (elements: UInt64, bytes: UInt64) {
        var elements: UInt64 = 1
        for dimension in dimensions {
            let (product, overflow) = elements.multipliedReportingOverflow(by: dimension)
            guard dimension <= UInt64(Int64.max), !overflow else {
                throw refusal("gives the tensor '\(name.prefix(80))' more elements than 64 bits can count")
            }
            elements = product
        }
        let (bits, overflow) = elements.multipliedReportingOverflow(by: type.bits)
        guard !overflow else { throw refusal("gives the tensor '\(name.prefix(80))' more bytes than 64 bits can count") }
        return (elements, bits / 8 + (bits % 8 == 0 ? 0 : 1))
    }

    private mutating func keep(_ tensor: ONNXTensor) throws {
        guard header.tensors.count < ONNXHeader.mostTensors else {
            throw refusal("has more than \(ONNXHeader.mostTensors) weight tensors")
        }
        guard tensor.bytes < Self.mostWeightBytes - weightBytes, tensor.elements < Self.mostWeightBytes - weightElements else {
            throw refusal("has more weights than any host can hold")
        }
        weightBytes += tensor.bytes
        weightElements += tensor.elements
        header.tensors.append(tensor)
    }

    // StringStringEntryProto of external_data
    private mutating func entry(_ field: ProtobufField, depth: Int, into entries: inout [String: String]) throws {
        let end = try protobuf.message(field, depth: depth)
        var key = ""
        var value = ""
        while let field = try protobuf.next(until: end) {
            switch field.number {
            case 1: key = try protobuf.string(field, what: "key")
            case 2: value = try protobuf.string(field, what: "value")
            default: try protobuf.skip(field)
            }
        }
        guard entries.updateValue(value, forKey: key) == nil, entries.count <= 16 else {
            throw refusal("says twice where a tensor's bytes lie")
        }
    }

    private func external(_ entries: [String: String], bytes: UInt64, name: String) throws -> ONNXExternalData {
        let location = entries["location"] ?? ""
        try ONNXExternalData.check(location: location)
        func number(_ key: String, _ fallback: UInt64) throws -> UInt64 {
            guard let text = entries[key] else { return fallback }
            guard let value = UInt64(text), value <= UInt64(Int64.max) else {
                throw refusal("gives the tensor '\(name.prefix(80))' an \(key) that is no number of bytes")
            }
            return value
        }
        let offset = try number("offset", 0)
        let length = try number("length", bytes)
        guard length == bytes, offset <= UInt64(Int64.max) - length else {
            throw refusal("gives the tensor '\(name.prefix(80))' \(length) bytes beside it where its shape needs \(bytes)")
        }
        return ONNXExternalData(location: location, offset: offset, length: length)
    }

    // ValueInfoProto
    private mutating func value(_ field: ProtobufField, depth: Int) throws -> ONNXValue {
        let end = try protobuf.message(field, depth: depth)
        var name = ""
        var type: ONNXType?
        var shape: [ONNXDimension]?
        while let field = try protobuf.next(until: end) {
            switch field.number {
            case 1: name = try protobuf.string(field, what: "value name")
            case 2: (type, shape) = try valueType(field, depth: depth + 1)
            default: try protobuf.skip(field)
            }
        }
        return ONNXValue(name: name, type: type, shape: shape)
    }

    // TypeProto; only tensors (1) and sparse tensors (8) have a shape, and both have it in the same fields.
    private mutating func valueType(_ field: ProtobufField, depth: Int) throws -> (ONNXType?, [ONNXDimension]?) {
        let end = try protobuf.message(field, depth: depth)
        var type: ONNXType?
        var shape: [ONNXDimension]?
        while let field = try protobuf.next(until: end) {
            guard field.number == 1 || field.number == 8 else {
                try protobuf.skip(field)
                continue
            }
            let tensorEnd = try protobuf.message(field, depth: depth + 1)
            while let field = try protobuf.next(until: tensorEnd) {
                switch field.number {
                case 1: type = ONNXType(number: try protobuf.integer(field))
                case 2: shape = try self.shape(field, depth: depth + 2)
                default: try protobuf.skip(field)
                }
            }
        }
        return (type, shape)
    }

    // TensorShapeProto
    private mutating func shape(_ field: ProtobufField, depth: Int) throws -> [ONNXDimension] {
        let end = try protobuf.message(field, depth: depth)
        var shape: [ONNXDimension] = []
        while let field = try protobuf.next(until: end) {
            guard field.number == 1 else {
                try protobuf.skip(field)
                continue
            }
            guard shape.count < ONNXHeader.mostDimensions else {
                throw refusal("gives a value more than \(ONNXHeader.mostDimensions) dimensions")
            }
            let dimensionEnd = try protobuf.message(field, depth: depth + 1)
            var dimension = ONNXDimension.unknown
            while let field = try protobuf.next(until: dimensionEnd) {
                switch field.number {
                case 1:
                    let size = try protobuf.integer(field)
                    dimension = size <= UInt64(Int64.max) ? .size(size) : .unknown
                case 2: dimension = .symbol(try protobuf.string(field, what: "dimension name"))
                default: try protobuf.skip(field)
                }
            }
            shape.append(dimension)
        }
        return shape
    }
}
