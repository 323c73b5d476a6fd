/// The flat form of a plan that `cargo-init` reads: `Sources/cargo-init/plan.h` describes it.
extension LaunchPlan {
    var bytes: [UInt8] {
        var writer = PlanWriter()
        // A filter alone is several thousand bytes.
        writer.bytes.reserveCapacity(32 << 10)
        writer.number(0x3150_534c)
        writer.number(0)
        writer.number(UInt32(steps.count))
        for step in steps { step.write(to: &writer) }
        writer.setNumber(writer.bytes.count, at: 4)
        return writer.bytes
    }
}

/// Little-endian words, padded texts.
private struct PlanWriter {
    var bytes: [UInt8] = []

    mutating func number(_ value: some BinaryInteger) {
        withUnsafeBytes(of: UInt32(truncatingIfNeeded: value).littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func setNumber(_ value: Int, at offset: Int) {
        withUnsafeBytes(of: UInt32(truncatingIfNeeded: value).littleEndian) { word in
            for index in 0..<4 { bytes[offset + index] = word[index] }
        }
    }

    mutating func long(_ value: UInt64) {
        number(value & 0xffff_ffff)
        number(value >> 32)
    }

    mutating func blob(_ blob: [UInt8]) {
        number(blob.count)
        bytes.append(contentsOf: blob)
        pad()
    }

    private mutating func pad() {
        while bytes.count % 4 != 0 { bytes.append(0) }
    }

    /// A text ends at its first zero byte: what stands behind it would be another text to the kernel.
    mutating func text(_ text: String) {
        let start = bytes.count
        number(0)
        bytes.append(contentsOf: text.utf8)
        if let zero = bytes[(start + 4)...].firstIndex(of: 0) { bytes.removeSubrange(zero...) }
        bytes.append(0)
        setNumber(bytes.count - start - 4, at: start)
        pad()
    }

    mutating func texts(_ texts: [String]) {
        number(texts.count)
        for text in texts { self.text(text) }
    }

    /// One step; `body` writes its payload.
    mutating func step(_ operation: UInt32, _ body: (inout PlanWriter) -> Void = { _ in }) {
        number(operation)
        let start = bytes.count
        number(0)
        body(&self)
        setNumber(bytes.count - start - 4, at: start)
    }
}

extension LaunchStep {
    fileprivate func write(to writer: inout PlanWriter) {
        switch self {
        case .open(let slot, let path):
            writer.step(1) {
                $0.number(slot); $0.text(path)
            }
        case .expectDevice(let slot, let major, let minor):
            writer.step(2) {
                $0.number(slot); $0.number(major); $0.number(minor)
            }
        case .await: writer.step(3)
        case .become(let user, let group, let dropGroups):
            writer.step(4) {
                $0.number(user); $0.number(group); $0.number(dropGroups ? 1 : 0)
            }
        case .mount(let source, let target, let type, let flags, let data):
            writer.step(5) {
                $0.text(source); $0.text(target); $0.text(type); $0.number(flags); $0.text(data)
            }
        case .bind(let slot, let target, let attributes, let detached):
            writer.step(6) {
                $0.number(slot); $0.text(target); $0.number(attributes.rawValue); $0.number(detached ? 1 : 0)
            }
        case .directory(let path, let mode):
            writer.step(7) {
                $0.text(path); $0.number(mode)
            }
        case .file(let path, let mode, let bytes):
            writer.step(8) {
                $0.text(path); $0.number(mode); $0.blob(bytes)
            }
        case .symlink(let target, let path):
            writer.step(9) {
                $0.text(target); $0.text(path)
            }
        case .enter(let path): writer.step(10) { $0.text(path) }
        case .pivot: writer.step(11)
        case .mask(let path, let null):
            writer.step(12) {
                $0.text(path); $0.number(null)
            }
        case .readOnly(let path, let ownMount):
            writer.step(13) {
                $0.text(path); $0.number(ownMount ? 1 : 0)
            }
        case .makeNetwork: writer.step(31)
        case .enterNetwork: writer.step(14)
        case .listen(let port): writer.step(28) { $0.number(port) }
        case .hostname(let name): writer.step(15) { $0.text(name) }
        case .unshare(let flags): writer.step(16) { $0.number(flags) }
        case .limit(let resource, let soft, let hard):
            writer.step(17) {
                $0.number(resource); $0.long(soft); $0.long(hard)
            }
        case .dropCapabilities: writer.step(18)
        case .noNewPrivileges: writer.step(19)
        case .landlock(let rules): writer.step(20) { rules.write(to: &$0) }
        case .fork: writer.step(21)
        case .session: writer.step(22)
        case .oomScore(let score): writer.step(23) { $0.text(String(score)) }
        case .closeDescriptors: writer.step(24)
        case .seccomp(let filter, let notify):
            writer.step(25) {
                $0.blob(filter); $0.number(notify ? 1 : 0)
            }
        case .exec(let candidates, let arguments, let environment):
            writer.step(26) {
                $0.texts(candidates); $0.texts(arguments); $0.texts(environment)
            }
        case .inherit(let slot, let index):
            writer.step(27) {
                $0.number(slot); $0.number(index)
            }
        case .join(let path): writer.step(30) { $0.text(path) }
        case .overlay(let target, let above, let slots):
            writer.step(29) {
                $0.text(target)
                $0.text(above)
                $0.number(slots.count)
                for slot in slots { $0.number(slot) }
            }
        }
    }
}

extension LandlockRules {
    fileprivate func write(to writer: inout PlanWriter) {
        writer.long(handledFiles.rawValue)
        writer.long(handledTCP.rawValue)
        writer.long(scopes.rawValue)
        writer.number(attributeBytes)
        writer.number(files.count)
        for rule in files {
            writer.text(rule.path)
            writer.long(rule.rights.rawValue)
        }
        writer.number(ports.count)
        for rule in ports {
            writer.long(rule.rights.rawValue)
            writer.long(UInt64(rule.port))
        }
    }
}
