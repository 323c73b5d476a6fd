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
}
