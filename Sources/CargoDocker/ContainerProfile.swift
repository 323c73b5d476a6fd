internal import CargoArtifact
internal import FoundationEssentials

/// A seccomp profile as a container gets it.
enum ContainerProfile {
    /// The profile with one rule more where it has none for it: pid 1 of a container makes a unix stream socket and
    /// connects to its agent before the command runs, and the same filter already holds for it.
    static func prepared(_ profile: [UInt8]) throws -> [UInt8] {
        guard case .object(var members) = try StrictJSON.parse(profile, limit: 1 << 20),
            case .array(var rules)? = members["syscalls"]
        else { throw Refusal("profile", "the seccomp profile is not the JSON object of the OCI runtime specification") }
        rules.append(
            .object([
                "comment": .string("Pid 1 of a container tells its agent what happens."), "names": .array([.string("socket")]),
                "action": .string("SCMP_ACT_ALLOW"),
                "args": .array([
                    equal(0, mask: 0xFFFF_FFFF, 1), equal(1, mask: 0x7FF, 1), equal(2, mask: 0xFFFF_FFFF, 0),
                ]),
            ]))
        rules.append(
            .object(["names": .array([.string("connect"), .string("sendto")]), "action": .string("SCMP_ACT_ALLOW")]))
        members["syscalls"] = .array(rules)
        return CanonicalJSON.encode(.object(members))
    }

    private static func equal(_ index: Int64, mask: Int64, _ value: Int64) -> JSONValue {
        .object([
            "index": .integer(index), "value": .integer(mask), "valueTwo": .integer(value), "op": .string("SCMP_CMP_MASKED_EQ"),
        ])
    }
}
