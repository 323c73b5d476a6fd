import Testing

@testable import CargoClient

@Suite struct BackoffTests {
    @Test func `waits double up to the most, each between a half and the whole, and begin again after a success`() {
        var backoff = Backoff(first: .milliseconds(100), most: .seconds(1))
        for _ in 0..<2 {
            for whole in [100, 200, 400, 800, 1000, 1000, 1000] {
                let wait = backoff.next()
                #expect((.milliseconds(whole / 2)...(.milliseconds(whole))).contains(wait))
            }
            backoff.reset()
        }
    }
}
