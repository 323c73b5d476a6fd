import CargoArtifact
import CargoWire
import Testing

@testable import CargoScheduler

@Suite struct RoomTests {
    @Test func amountsAreRoundedUpToEightStepsBetweenTwoPowersOfTwo() {
        let table: [(asked: Int64, rounded: Int64)] = [
            (300, 320), (500, 512), (512, 512), (513, 576), (6144, 6144), (22528, 22528), (23000, 24576), (81920, 81920),
        ]
        for row in table {
            #expect(Room(memory: row.asked << 20, vram: nil, gpus: nil, price: nil)?.memory == row.rounded << 20)
        }
    }

    @Test func whateverStrangersAskForThereAreFewRooms() {
        var rooms: Set<Room?> = []
        for megabytes in 1...100_000 {
            rooms.insert(Room(memory: Int64(megabytes) * 1_000_000, vram: nil, gpus: nil, price: Double(megabytes) / 1000))
        }
        #expect(Set(rooms.map { $0?.memory }).count < 100)
        #expect(Set(rooms.map { $0?.price }).count < 500)
    }

    @Test func aPriceIsRoundedDownNeverUp() {
        #expect(Room(memory: nil, vram: nil, gpus: nil, price: 0.0159)?.price == 0.015)
        #expect(Room(memory: nil, vram: nil, gpus: nil, price: 199)?.price == 190)
        #expect(Room(memory: nil, vram: nil, gpus: nil, price: 0)?.price == 0)
    }

    @Test func whatEveryHostHasIsNoNeed() {
        #expect(Room(memory: 256 << 20, vram: 0, gpus: 0, price: nil) == nil)
    }

    @Test func itIsReadAsItWasWritten() throws {
        for room in [
            Room(memory: 3 << 30, vram: 24 << 30, gpus: 2, price: 1.5), Room(memory: nil, vram: nil, gpus: 1, price: nil),
            Room(memory: nil, vram: nil, gpus: nil, price: 0.000001),
        ] {
            #expect(Room(stored: try #require(room).stored) == room)
        }
        #expect(Room(stored: "") == nil && Room(stored: "x1,m") == nil)
    }

    @Test func eachOfSeveralGPUsHasTheMemory() throws {
        var host = HostCapabilities()
        host.metrics = HostMetrics(gpus: [
            GPUReading(index: 0, name: "a", vramTotal: 24 << 30, vramFree: 20 << 30),
            GPUReading(index: 1, name: "b", vramTotal: 24 << 30, vramFree: 8 << 30),
        ])
        func leftOut(_ vram: Int64, _ gpus: Int) throws -> Filter? {
            try #require(Room(memory: nil, vram: vram, gpus: gpus, price: nil)).leftOut(host, nil, asked: 0)
        }
        #expect(try leftOut(20 << 30, 1) == nil)
        #expect(try leftOut(20 << 30, 2) == .vram)
        #expect(try leftOut(8 << 30, 2) == nil)
        #expect(try leftOut(8 << 30, 3) == .vram)
        // A host that says nothing of its GPUs has none; one that says nothing of its memory is given the job.
        let silent = HostCapabilities()
        #expect(try #require(Room(memory: nil, vram: nil, gpus: 1, price: nil)).leftOut(silent, nil, asked: 0) == .vram)
        #expect(try #require(Room(memory: 1 << 40, vram: nil, gpus: nil, price: nil)).leftOut(silent, nil, asked: 0) == nil)
    }
}
