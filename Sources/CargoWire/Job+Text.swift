public import CargoArtifact

/// The answers that a busy coordinator gives most, written without `Codable`: the same fields in the same order as an encoder
/// with sorted keys writes them, which a test compares.
extension Job {
    public func write(into writer: inout JSONWriter) {
        writer.beginObject()
        writer.field("attempt", attempt)
        if let auditHead { writer.field("audit_head", auditHead) }
        if let cargo { writer.field("cargo", cargo) }
        writer.field("created_at", createdAt)
        if let digest { writer.field("digest", digest) }
        writer.key("error")
        if let error { error.write(into: &writer) } else { writer.null() }
        if let exit {
            writer.key("exit")
            exit.write(into: &writer)
        }
        writer.fieldOrNull("exit_code", exitCode)
        writer.fieldOrNull("finished_at", finishedAt)
        writer.fieldOrNull("host", host)
        writer.field("id", id)
        if let image { writer.field("image", image) }
        if let metadata { writer.field("metadata", metadata) }
        if let model { writer.field("model", model) }
        if let notice { writer.field("notice", notice) }
        writer.key("outputs")
        outputs.write(into: &writer)
        writer.field("priority", priority)
        writer.fieldOrNull("started_at", startedAt)
        writer.field("status", status.rawValue)
        writer.field("tier", tier)
        writer.endObject()
    }
}

extension ModelUsage {
    public func write(into writer: inout JSONWriter) {
        writer.beginObject()
        if let completionTokens { writer.field("completion_tokens", completionTokens) }
        if let promptTokens { writer.field("prompt_tokens", promptTokens) }
        writer.endObject()
    }
}

extension JobError {
    public func write(into writer: inout JSONWriter) {
        writer.beginObject()
        writer.field("code", code)
        writer.field("message", message)
        writer.endObject()
    }
}

extension ExitReport {
    public func write(into writer: inout JSONWriter) {
        writer.beginObject()
        writer.field("cpu_seconds", cpuSeconds)
        writer.fieldOrNull("exit_code", exitCode)
        writer.field("max_rss_bytes", maxRSSBytes)
        writer.field("oom_killed", oomKilled)
        writer.fieldOrNull("signal", signal)
        writer.field("timed_out", timedOut)
        writer.field("wall_seconds", wallSeconds)
        writer.endObject()
    }
}

extension [OutputFile] {
    public func write(into writer: inout JSONWriter) {
        writer.beginArray()
        for output in self {
            writer.beginObject()
            writer.field("path", output.path)
            writer.field("sha256", output.sha256)
            writer.field("size", output.size)
            writer.endObject()
        }
        writer.endArray()
    }
}

extension Lease {
    public func write(into writer: inout JSONWriter) {
        writer.beginObject()
        writer.field("epoch", epoch)
        writer.field("generation", generation)
        writer.field("host", host)
        if let seconds { writer.field("seconds", seconds) }
        writer.field("token", token)
        writer.endObject()
    }
}

extension JSONWriter {
    public mutating func field(_ name: StaticString, _ value: String) {
        key(name)
        self.value(value)
    }

    public mutating func field(_ name: StaticString, _ value: Int) {
        key(name)
        self.value(value)
    }

    public mutating func field(_ name: StaticString, _ value: Int64) {
        key(name)
        self.value(value)
    }

    public mutating func field(_ name: StaticString, _ value: Double) {
        key(name)
        self.value(value)
    }

    public mutating func field(_ name: StaticString, _ value: Bool) {
        key(name)
        self.value(value)
    }

    public mutating func field(_ name: StaticString, _ value: JSONValue) {
        key(name)
        self.value(value)
    }

    mutating func fieldOrNull(_ name: StaticString, _ value: String?) {
        key(name)
        if let value { self.value(value) } else { null() }
    }

    mutating func fieldOrNull(_ name: StaticString, _ value: Int?) {
        key(name)
        if let value { self.value(value) } else { null() }
    }
}
