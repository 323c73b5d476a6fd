public import FoundationEssentials
import Glibc
public import SystemPackage

/// Where the coordinator is and with which key one speaks to it: flags, then `LONGSHORE_*`, then `config.json`.
///
/// Nothing here can loosen a check: trust, signatures and sandbox are never configured by the environment.
public struct ClientSettings: Hashable, Sendable {
    public var url: String?
    public var apiKey: String?

    public init(url: String? = nil, apiKey: String? = nil) {
        self.url = url
        self.apiKey = apiKey
    }

    private struct Stored: Codable {
        var url: String?
        var apiKey: String?

        enum CodingKeys: String, CodingKey {
            case url
            case apiKey = "api_key"
        }
    }

    /// `$LONGSHORE_CONFIG`, else `~/.config/longshore`.
    public static func folder(environment: [String: String] = ProcessInfo.processInfo.environment) -> FilePath {
        if let set = environment["LONGSHORE_CONFIG"], !set.isEmpty { return FilePath(set) }
        if let home = environment["HOME"], !home.isEmpty { return FilePath(home).appending(".config/longshore") }
        return FilePath("/etc/longshore")
    }

    /// The trust file of every command that is not told another.
    public static func trustFile(environment: [String: String] = ProcessInfo.processInfo.environment) -> FilePath {
        folder(environment: environment).appending("trust.json")
    }

    /// The strongest word wins for each field; an empty variable counts as absent.
    public static func merged(flags: ClientSettings, environment: [String: String], file: ClientSettings) -> ClientSettings {
        func word(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        return ClientSettings(
            url: flags.url ?? word("LONGSHORE_URL") ?? file.url,
            apiKey: flags.apiKey ?? word("LONGSHORE_API_KEY") ?? file.apiKey)
    }

    /// The settings of this process.
    public static func load(
        flags: ClientSettings = ClientSettings(), environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws -> ClientSettings {
        let path = folder(environment: environment).appending("config.json")
        var file = ClientSettings()
        if let data = try readSmall(path) {
            guard let decoded = try? JSONDecoder().decode(Stored.self, from: data) else {
                throw ClientError(
                    status: 0, code: "bad_config",
                    message: "\(path) is not JSON of the form {\"url\": …, \"api_key\": …}; write it again with 'longshore login'"
                )
            }
            file = ClientSettings(url: decoded.url, apiKey: decoded.apiKey)
        }
        return merged(flags: flags, environment: environment, file: file)
    }

    /// Writes `config.json`, readable by its owner alone, whole or not at all.
    public func save(environment: [String: String] = ProcessInfo.processInfo.environment) throws -> FilePath {
        let folder = ClientSettings.folder(environment: environment)
        let path = folder.appending("config.json")
        let temporary = folder.appending("config.json.\(getpid())")
        do {
            try FileManager.default.createDirectory(
                atPath: folder.string, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            unlink(temporary.string)
            let file = try FileDescriptor.open(
                temporary, .writeOnly, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec],
                permissions: .ownerReadWrite)
            try file.closeAfter {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
                _ = try file.writeAll(try encoder.encode(Stored(url: url, apiKey: apiKey)) + [10])
            }
            guard rename(temporary.string, path.string) == 0 else { throw Errno(rawValue: errno) }
        } catch {
            throw ClientError(status: 0, code: "file", message: "cannot write \(path): \(error)")
        }
        return path
    }

    /// Reads a key file: its first line.
    public static func key(from path: FilePath) throws -> String {
        guard let data = try readSmall(path) else {
            throw ClientError(status: 0, code: "file", message: "there is no API key file \(path)")
        }
        let line = String(decoding: data, as: UTF8.self).split(whereSeparator: \.isNewline).first ?? ""
        guard !line.isEmpty, line.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) else {
            throw ClientError(status: 0, code: "bad_key", message: "\(path) does not hold an API key in its first line")
        }
        return String(line)
    }

    /// A client of the coordinator that these settings name.
    public func client(connections: Int = 8) throws -> CoordinatorClient {
        guard let url else {
            throw ClientError(
                status: 0, code: "no_coordinator",
                message: "no coordinator is set: run 'longshore login URL --api-key-file F' or set LONGSHORE_URL")
        }
        return try CoordinatorClient(url: url, token: apiKey, connections: connections)
    }

    /// At most 64 KiB; nil when there is no such file.
    private static func readSmall(_ path: FilePath) throws -> Data? {
        do {
            let file = try FileDescriptor.open(path, .readOnly, options: [.closeOnExec])
            return try file.closeAfter {
                var data = Data(count: 64 << 10)
                let count = try data.withUnsafeMutableBytes { try file.read(into: $0) }
                return data.prefix(count)
            }
        } catch Errno.noSuchFileOrDirectory {
            return nil
        } catch {
            throw ClientError(status: 0, code: "file", message: "cannot read \(path): \(error)")
        }
    }
}
