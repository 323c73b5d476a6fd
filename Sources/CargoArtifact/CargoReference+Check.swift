extension CargoReference {
    /// Refuses a cargo that calls itself otherwise than it was asked for: a registry, or who sits on the way to it, may answer
    /// a name or tag with another cargo that the same publisher signed, an older one too.
    public func check(_ config: CargoConfig) throws {
        guard config.name == name.description else {
            throw Refusal(
                "other-name", "\(self) was asked for, and the registry's answer is the cargo '\(config.name.prefix(200))'")
        }
        guard case .version(let version) = selector, config.version != version.description else { return }
        throw Refusal(
            "other-version", "\(self) was asked for, and the registry's answer is version '\(config.version.prefix(200))' of it")
    }
}
