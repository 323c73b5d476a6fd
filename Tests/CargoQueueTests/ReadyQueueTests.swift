import CargoWire
import Testing

@testable import CargoQueue

/// The order in which claims take queued jobs.
@Suite struct ReadyQueueTests {
    private func entry(_ image: String, at milliseconds: Int64, account: Int64 = 1) -> ReadyQueue.Entry {
        ReadyQueue.Entry(
            key: JobKey(account: account, id: JobID(at: Timestamp(milliseconds: milliseconds))), priority: 50,
            requirement: Requirement(kind: Requirement.image, tier: 1, image: image))
    }

    private func holds(_ image: String) -> (Requirement) -> Bool {
        var capabilities = HostCapabilities()
        capabilities.docker = true
        capabilities.images = [image]
        return { [capabilities] in $0.isAtHand(capabilities) }
    }

    @Test func `a host takes the job first whose image it holds`() {
        var queue = ReadyQueue()
        let (older, younger) = (entry("a:1", at: 1_000_000), entry("b:1", at: 1_000_500))
        queue.insert(older)
        queue.insert(younger)
        #expect(queue.take(where: { _ in true }, preferring: holds("b:1")) == younger)
        #expect(queue.take(where: { _ in true }, preferring: holds("b:1")) == older)
    }

    @Test func `a job whose image nobody holds is overtaken for thirty seconds, not for ever`() {
        var queue = ReadyQueue()
        let (older, younger) = (entry("a:1", at: 1_000_000), entry("b:1", at: 1_030_001))
        queue.insert(older)
        queue.insert(younger)
        #expect(queue.take(where: { _ in true }, preferring: holds("b:1")) == older)
    }

    @Test func `many image names share buckets beyond a bound, and every job is still taken`() {
        var queue = ReadyQueue()
        for number in 0..<1000 { queue.insert(entry("image\(number):1", at: 1_000_000 + Int64(number))) }
        #expect(queue.requirements.count <= 257)
        var taken = 0
        while queue.take(where: { _ in true }) != nil { taken += 1 }
        #expect(taken == 1000)
    }
}
