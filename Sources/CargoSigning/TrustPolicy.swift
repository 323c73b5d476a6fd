/// Which keys may sign which names (DESIGN.md section 4, `trust.json`).
public struct TrustPolicy: Sendable {
}
