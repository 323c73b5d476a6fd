internal import CLinux
internal import Glibc
internal import SystemPackage

extension File {
    /// Bytes read or copied by one call.
    static let piece = 1 << 20

    /// Reads `count` bytes from `offset` in order, in pieces of at most 1 MiB; fewer is a failure.
    public func read(from offset: Int64, count: Int64, into sink: (UnsafeRawBufferPointer) throws -> Void) throws {
        try withUnsafeTemporaryAllocation(byteCount: Int(min(count, Int64(File.piece))), alignment: 4096) { buffer in
            var done: Int64 = 0
            while done < count {
                let wanted = Int(min(Int64(buffer.count), count - done))
                let got = try read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted]), at: offset + done)
                guard got == wanted else { throw FileFailure("read all of", path.string, .ioError) }
                try sink(UnsafeRawBufferPointer(rebasing: buffer[..<wanted]))
                done += Int64(wanted)
            }
        }
    }

    /// Copies a range of another file into this one: by shared blocks where the file system can, else in the kernel,
    /// else through memory. Holes of the source are left as holes: the target range must not have been written yet.
    public func copy(from source: File, at sourceOffset: Int64, count: Int64, to offset: Int64) throws {
        let end = sourceOffset + count
        guard try source.status().size >= end else { throw FileFailure("read all of", source.path.string, .ioError) }
        var position = sourceOffset
        while position < end {
            let data = try source.nextData(from: position, end: end)
            guard data.lowerBound < end else { return }
            try copyData(from: source, data, to: offset + data.lowerBound - sourceOffset)
            position = data.upperBound
        }
    }

    /// The next range that holds data, cut at `end`; empty at `end` when only a hole is left.
    public func nextData(from position: Int64, end: Int64) throws -> Range<Int64> {
        let start = clinux_seek_data(descriptor.rawValue, position)
        if start < 0 {
            // ENXIO: nothing but a hole. Else the file system knows no holes: all is data.
            return Glibc.errno == ENXIO ? end..<end : position..<end
        }
        guard start < end else { return end..<end }
        let hole = clinux_seek_hole(descriptor.rawValue, start)
        return start..<(hole < 0 ? end : min(hole, end))
    }

    /// Shares a range of another file's blocks with this one; false, with nothing done, where the file system cannot.
    ///
    /// Offsets and count are multiples of the file system's block.
    public func share(from source: File, at sourceOffset: Int64, count: Int64, to offset: Int64) -> Bool {
        clinux_clone_range(descriptor.rawValue, offset, source.descriptor.rawValue, sourceOffset, count) == 0
    }

    /// Gives a range its blocks before it is written, so that it lies together and several threads may write it at once.
    ///
    /// A file system that cannot is no failure; one without the space is.
    public func reserve(at offset: Int64, count: Int64) throws {
        guard count > 0, clinux_allocate(descriptor.rawValue, offset, count) < 0 else { return }
        if Glibc.errno == ENOSPC { throw FileFailure("write", path.string, .noSpace) }
    }

    private func copyData(from source: File, _ range: Range<Int64>, to offset: Int64) throws {
        let count = range.upperBound - range.lowerBound
        if share(from: source, at: range.lowerBound, count: count, to: offset) { return }
        var done: Int64 = 0
        while done < count {
            let copied = clinux_copy_range(
                descriptor.rawValue, offset + done, source.descriptor.rawValue, range.lowerBound + done,
                min(count - done, 64 << 20))
            guard copied > 0 else { break }
            done += copied
        }
        guard done < count else { return }
        var position = offset + done
        try source.read(from: range.lowerBound + done, count: count - done) { bytes in
            try write(bytes, at: position)
            position += Int64(bytes.count)
        }
    }
}
