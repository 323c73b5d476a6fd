import Testing

@testable import CargoAgent

@Suite struct LeaseTermTests {
    private let start = ContinuousClock.now

    @Test func `a heartbeat is due at a third of the lease, and one that hangs leaves time for another`() {
        let term = LeaseTerm(grantedAt: start, seconds: 30)
        #expect(term.heartbeatAt == start + .seconds(10))
        #expect(term.heartbeatTimeout == .seconds(10))
    }

    @Test(arguments: [0.5, 1, 3, 30, 300])
    func `the work is told to stop early enough to be gone when the lease ends`(seconds: Double) {
        let term = LeaseTerm(grantedAt: start, seconds: seconds)
        #expect(term.stopAt + .seconds(term.grace) < start + .seconds(seconds))
        #expect(term.stopAt > term.heartbeatAt + .seconds(seconds / 3))
    }

    @Test func `a renewal counts from when it was sent, and an older one changes nothing`() {
        var term = LeaseTerm(grantedAt: start, seconds: 30)
        term.renewed(at: start + .seconds(10), seconds: 30)
        let stop = term.stopAt
        term.renewed(at: start + .seconds(5), seconds: 30)
        #expect(term.stopAt == stop)
        #expect(stop == start + .seconds(10 + 30 - 5 - 1.5))
    }

    @Test func `a coordinator that names no length means thirty seconds, and one of zero is not believed`() {
        #expect(LeaseTerm(grantedAt: start, seconds: nil).heartbeatAt == start + .seconds(10))
        #expect(LeaseTerm(grantedAt: start, seconds: 0).heartbeatAt > start)
    }
}
