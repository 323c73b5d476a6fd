import ArgumentParser

/// Publisher keys, and whom this machine trusts.
struct Key: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make keys, and say which ones are trusted.",
        subcommands: [
            KeyCreate.self, KeyList.self, KeyShow.self, KeyTrust.self, KeyDelegate.self, KeyRevoke.self,
        ])
}
