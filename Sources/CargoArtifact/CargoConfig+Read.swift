extension CargoConfig {
    /// Reads a config blob whose digest was compared already.
    ///
    /// Refuses names and versions that are not well-formed, and an archive whose `index.json` names another version.
    public static func read(_ bytes: [UInt8], referenceVersion: String? = nil) throws -> CargoConfig {
        let config: CargoConfig
        do {
            config = try StrictJSON.decode(CargoConfig.self, from: bytes, limit: CargoLayout.maximumDocument)
        } catch let failure as StrictJSONFailure {
            throw Refusal("config", "the cargo's config is not valid: \(failure)")
        } catch {
            throw Refusal("config", "the cargo's config does not have the fields of a cargo; pack it with a matching longshore")
        }
        guard CargoName(config.name) != nil else { throw Refusal("name", "'\(config.name.prefix(130))' is not publisher/name") }
        guard CargoVersion(config.version) != nil else {
            throw Refusal("version", "'\(config.version.prefix(130))' is not a semantic version without build metadata")
        }
        if let referenceVersion, referenceVersion != config.version {
            throw Refusal(
                "index", "index.json names version '\(referenceVersion.prefix(130))' where the cargo is \(config.version)")
        }
        return config
    }
}
