import CargoArtifact
import CargoEndpoints
import CargoWire
import FoundationEssentials
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import CargoEngines

/// The engine for pictures with its example cargo, for real and confined.
@Suite(.serialized) struct PictureTests {
    private func paint(_ house: EngineHouse, _ body: String) async throws -> [[UInt8]] {
        let answer = try await house.ask("longshore/tiny-paint", .images, body)
        return (answer.member("data")?.items ?? []).compactMap {
            $0.member("b64_json")?.text.flatMap { Data(base64Encoded: $0) }.map { [UInt8]($0) }
        }
    }

    /// What another program makes of a PNG: its size and how many colours are in it. Nil where it is none.
    private func read(_ png: [UInt8]) throws -> String {
        let file = "/tmp/longshore-picture-\(getpid())"
        defer { _ = system("rm -f \(file)*") }
        try Data(png).write(to: URL(filePath: file))
        // Chunks and their sums, and rows as PNG's specification has them, read by Python's own zlib.
        let script = """
            import struct, sys, zlib
            d = open('\(file)', 'rb').read()
            assert d[:8] == bytes([137, 80, 78, 71, 13, 10, 26, 10])
            at, parts = 8, []
            while at < len(d):
                n, = struct.unpack('>I', d[at:at + 4])
                kind, body = d[at + 4:at + 8], d[at + 8:at + 8 + n]
                assert struct.unpack('>I', d[at + 8 + n:at + 12 + n])[0] == zlib.crc32(kind + body)
                parts.append((kind, body))
                at += 12 + n
            assert [k for k, _ in parts] == [b'IHDR', b'IDAT', b'IEND']
            w, h, *rest = struct.unpack('>IIBBBBB', parts[0][1])
            rows = zlib.decompress(parts[1][1])
            assert rest == [8, 2, 0, 0, 0] and len(rows) == h * (1 + 3 * w)
            assert all(rows[y * (1 + 3 * w)] == 0 for y in range(h))
            print(w, h, len(set(rows)) > 20, end='')
            """
        try script.write(toFile: file + ".py", atomically: true, encoding: .utf8)
        guard system("/usr/bin/python3 \(file).py > \(file).out") == 0 else { return "no PNG" }
        return try String(contentsOfFile: file + ".out", encoding: .utf8)
    }

    @Test func `a picture is a PNG whose bytes depend on the seed alone`() async throws {
        let bench = try EngineBench()
        try bench.addImage()
        try bench.addExample("tiny-paint")
        let body = #"{"prompt":"a sea","size":"128x64","steps":4,"n":2,"seed":3}"#
        let first = try await bench.withHouse { house in
            let first = try await paint(house, body)
            #expect(first.count == 2)
            #expect(Set(first).count == 2)
            #expect(try await paint(house, body) == first)
            #expect(try await paint(house, body.replacing(":3}", with: ":4}")) != first)
            return first
        }
        for picture in first { #expect(try read(picture) == "128 64 True") }
        // Another process paints the same.
        let again = try await bench.withHouse { try await paint($0, body) }
        #expect(again == first)
    }

    @Test func `pictures have up to 1024 pixels a side, and what is more is refused`() async throws {
        let bench = try EngineBench()
        try bench.addImage()
        try bench.addExample("tiny-paint")
        try await bench.withHouse { house in
            let large = try await paint(house, #"{"prompt":"a sea","size":"1024x1024","steps":2,"seed":1}"#)
            #expect(try read(large.first ?? []) == "1024 1024 True")
            for (wrong, said) in [
                (#""size":"1032x64""#, "64 to 1024"), (#""size":"100x64""#, "multiple of 8"), (#""size":"big""#, "WIDTHxHEIGHT"),
                (#""steps":101"#, "1 to 100"), (#""n":11"#, "'n'"), (#""guidance_scale":1000"#, "0 to 100"),
            ] {
                await #expect {
                    _ = try await paint(house, "{\"prompt\":\"x\",\(wrong)}")
                } throws: { error in
                    (error as? ModelFailure)?.code == .badRequest && "\(error)".contains(said)
                }
            }
        }
    }

    @Test func `whoever hangs up ends the painting, and the next picture comes at once`() async throws {
        let bench = try EngineBench()
        try bench.addImage()
        try bench.addExample("tiny-paint")
        try await bench.withHouse { house in
            _ = try await paint(house, #"{"prompt":"x","size":"64x64","steps":1,"seed":1}"#)
            let slow = #"{"prompt":"x","size":"1024x1024","steps":100,"n":10,"seed":1}"#
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<2 { group.addTask { _ = try? await paint(house, slow) } }
                while house.activeRequests < 2 { await Task.yield() }
                group.cancelAll()
            }
            let begin = ContinuousClock.now
            #expect(try await paint(house, #"{"prompt":"x","size":"64x64","steps":1,"seed":1}"#).count == 1)
            #expect(ContinuousClock.now - begin < .seconds(20))
        }
    }

    @Test func `an engine that is taken by name runs no model that does not ask for it`() async throws {
        let bench = try EngineBench()
        try bench.addImage()
        try bench.addONNX()
        try bench.addExample("digits")
        try bench.addExample("tiny-paint")
        try await bench.withHouse { house in
            let models = await house.models()
            let operations = Dictionary(uniqueKeysWithValues: models.map { ($0.id, $0.operations) })
            #expect(operations["longshore/tiny-paint"] == [.images])
            #expect(operations["longshore/digits"]?.contains(.infer) == true)
        }
    }
}

extension EngineHouse {
    var activeRequests: Int { state.withLock { $0.pool.instances.values.reduce(0) { $0 + $1.active.count } } }
}
