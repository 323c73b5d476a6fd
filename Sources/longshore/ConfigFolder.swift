import CargoFiles
import CargoSigning
import Glibc
import SystemPackage

/// `$LONGSHORE_CONFIG`, else `~/.config/longshore`: keys and the default trust file.
enum ConfigFolder {
    static var path: FilePath {
        if let path = getenv("LONGSHORE_CONFIG"), path.pointee != 0 { return FilePath(platformString: path) }
        let home = getenv("HOME").map { FilePath(platformString: $0) } ?? "/"
        return home.appending(".config/longshore")
    }

    static var keys: FilePath { path.appending("keys") }

    static var trustFile: FilePath { path.appending("trust.json") }

    /// The policy of a trust file that a person named, or the default one; nobody is trusted where that is missing.
    static func trust(_ named: String?) throws -> TrustPolicy {
        if let named { return try TrustPolicy(contentsOf: FilePath(named)) }
        do { return try TrustPolicy(contentsOf: trustFile) } catch let failure as FileFailure
            where failure.errno == .noSuchFileOrDirectory
        { return TrustPolicy() }
    }

    /// A private key by its name in `keys/`, or by the path of its file.
    static func signingKey(_ name: String) throws -> SigningKey {
        let path = name.contains("/") ? FilePath(name) : keys.appending(name + ".key")
        do { return try KeyFile.readPrivate(path) } catch let failure as FileFailure
            where failure.errno == .noSuchFileOrDirectory
        {
            throw KeyFailure("there is no key '\(name)' (\(path)); `longshore key create \(name)` makes one")
        }
    }
}
