import Foundation
import Testing

@testable import CargoQueue

/// The hand-written first row says what the encoder would: clients encode it again to check the chain.
@Suite struct DetailTests {
    @Test(arguments: ["acme/x:1.0.0", "registry.example/a/b@sha256:00", "quo\"te", "back\\slash", "line\nfeed", "caf\u{e9}", nil])
    func theFirstRowsDetailIsWhatTheEncoderWrites(_ cargo: String?) throws {
        var detail = TransitionDetail()
        (detail.payload, detail.cargo, detail.digest) = ("sha256:ab", cargo, cargo == nil ? nil : "sha256:cd")
        #expect(
            try TransitionDetail.submitted(payload: "sha256:ab", cargo: cargo, digest: detail.digest) == SQLiteRows.encode(detail)
        )
    }
}
