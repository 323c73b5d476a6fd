internal import CargoFiles
internal import Glibc
public import SystemPackage

/// Where container engines listen on this host.
public enum EngineSocket {
    /// The sockets to try, best first: `DOCKER_HOST` alone where it is set, else Docker's, then Podman's.
    ///
    /// Only unix sockets: an engine behind a network cannot see this host's folders.
    public static func candidates(environment: [String: String], user: UInt32) -> [FilePath] {
        if let named = environment["DOCKER_HOST"], !named.isEmpty {
            return named.hasPrefix("unix://") ? [FilePath(String(named.dropFirst(7)))] : []
        }
        var paths = ["/var/run/docker.sock"]
        if let runtime = environment["XDG_RUNTIME_DIR"], !runtime.isEmpty {
            paths += [runtime + "/docker.sock", runtime + "/podman/podman.sock"]
        }
        if user == 0 { paths.append("/run/podman/podman.sock") }
        return paths.map { FilePath($0) }
    }

    /// The first candidate where something listens; nil when there is none.
    public static func find(environment: [String: String]) -> FilePath? {
        candidates(environment: environment, user: getuid()).first { path in
            path.withPlatformString { access($0, W_OK) == 0 }
        }
    }
}
