internal import SystemPackage

extension Folder {
    /// A new file under a name that nobody else has, for writing and reading.
    public func makeTemporary(prefix: String = ".tmp-", permissions: UInt32 = 0o600) throws -> (name: String, file: File) {
        var generator = SystemRandomNumberGenerator()
        while true {
            let name = prefix + String(generator.next(), radix: 36)
            do {
                return (name, try open(name, .readWrite, options: [.create, .exclusiveCreate], permissions: permissions))
            } catch let failure as FileFailure where failure.errno == .fileExists { continue }
        }
    }

    /// Replaces a file as a whole: a reader sees the old or the new content, also after a crash.
    ///
    /// Temporary file, fsync, rename, fsync of the folder. Returns after the content is on disk.
    public func writeDurably(_ name: String, _ bytes: [UInt8], permissions: UInt32 = 0o600) throws {
        try replace(name, bytes, permissions: permissions, durable: true)
    }

    /// The same without waiting for the disk: for content that can be made again.
    public func writeAtomically(_ name: String, _ bytes: [UInt8], permissions: UInt32 = 0o600) throws {
        try replace(name, bytes, permissions: permissions, durable: false)
    }

    private func replace(_ name: String, _ bytes: [UInt8], permissions: UInt32, durable: Bool) throws {
        let temporary = try makeTemporary(permissions: permissions)
        do {
            try temporary.file.write(bytes)
            try temporary.file.setPermissions(permissions)
            if durable { try temporary.file.sync() }
            try rename(temporary.name, to: name)
        } catch {
            _ = try? remove(temporary.name)
            throw error
        }
        if durable { try sync() }
    }
}
