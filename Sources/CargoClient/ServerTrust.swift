import CargoTransfer
import NIOSSL

/// Whose certificates a coordinator may show: the system's authorities, and those that the usual variables name, as
/// transfers read them.
enum ServerTrust {
    static func configuration() -> TLSConfiguration {
        var configuration = TLSConfiguration.makeClientConfiguration()
        let named = CertificateAuthorities.fromEnvironment()
        configuration.additionalTrustRoots = [named.file, named.folder].compactMap(\.self).map { .file($0) }
        return configuration
    }
}
