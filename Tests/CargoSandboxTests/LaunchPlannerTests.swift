import SystemPackage
import Testing

@testable import CargoSandbox

/// The order of a launch, without root and without a kernel.
@Suite struct LaunchPlannerTests {
    private let host = HostFacts(
        isRoot: true, rootEntries: [.init(name: "bin", link: "usr/bin"), .init(name: "lib", link: nil)],
        configuration: [("/etc/ld.so.cache", false)], landlockABI: 7, hardLimits: [Limit.openFiles: 100])

    private func steps(_ change: (inout SandboxSpec) -> Void = { _ in }, filter: [UInt8] = [1], host: HostFacts? = nil)
        -> [LaunchStep]
    {
        var spec = SandboxSpec(command: ["run"])
        change(&spec)
        return LaunchPlanner(spec: spec, host: host ?? self.host, filter: filter).plan().steps
    }

    private func position(_ steps: [LaunchStep], _ matches: (LaunchStep) -> Bool) -> Int {
        steps.firstIndex(where: matches) ?? -1
    }

    @Test func rightsAreGivenUpInTheOrderOfTheDesign() {
        let steps = steps()
        let order = [
            position(steps) { $0 == .makeNetwork },
            position(steps) { if case .open = $0 { true } else { false } },
            position(steps) { $0 == .await },
            position(steps) { if case .become = $0 { true } else { false } },
            position(steps) { if case .mount(_, "/", _, _, _) = $0 { true } else { false } },
            position(steps) { if case .mount(_, _, "tmpfs", _, _) = $0 { true } else { false } },
            position(steps) { if case .mount(_, _, "proc", _, _) = $0 { true } else { false } },
            position(steps) { $0 == .pivot },
            position(steps) { $0 == .readOnly(path: "/", ownMount: true) },
            position(steps) { $0 == .enterNetwork },
            position(steps) { if case .unshare = $0 { true } else { false } },
            position(steps) { if case .limit = $0 { true } else { false } },
            position(steps) { $0 == .dropCapabilities },
            position(steps) { $0 == .noNewPrivileges },
            position(steps) { if case .landlock = $0 { true } else { false } },
            position(steps) { $0 == .fork },
            position(steps) { $0 == .session },
            position(steps) { $0 == .closeDescriptors },
            position(steps) { if case .seccomp = $0 { true } else { false } },
            position(steps) { if case .exec = $0 { true } else { false } },
        ]
        #expect(!order.contains(-1))
        #expect(order == order.sorted())
        #expect(order.last == steps.count - 1)
    }

    @Test func everySourceIsOpenedBeforeTheUserIdChanges() {
        let steps = steps { $0.shares = [.init(source: "/data", target: "/job/output", isFolder: true, isWritable: true)] }
        let change = position(steps) { if case .become = $0 { true } else { false } }
        let opened = steps.indices.filter { if case .open = steps[$0] { true } else { false } }
        #expect(opened.allSatisfy { $0 < change })
        #expect(Set(opened.map { steps[$0] }).count == opened.count)
    }

    @Test func everythingThatIsNotSharedForWritingIsBoundReadOnly() {
        let steps = steps {
            $0.shares = [
                .init(source: "/a", target: "/job/input/a", isFolder: false),
                .init(source: "/b", target: "/job/output", isFolder: true, isWritable: true),
            ]
        }
        for step in steps {
            guard case .bind(_, let target, let attributes, _) = step, !target.hasPrefix("dev/") else { continue }
            #expect(attributes.contains(.readOnly) == (target != "job/output"), "\(target)")
            #expect(attributes.isSuperset(of: [.noSetuid, .noDevices]), "\(target)")
        }
    }

    @Test func aPathIsMadeOnceAndBeforeItsContents() {
        let steps = steps {
            $0.shares = [
                .init(source: "/a", target: "/job/input/x/a", isFolder: false),
                .init(source: "/b", target: "/job/input/x/b", isFolder: false),
            ]
        }
        let made = steps.compactMap { if case .directory(let path, _) = $0 { path } else { nil } }
        #expect(Set(made).count == made.count)
        for path in made where path.contains("/") {
            let parent = path.split(separator: "/").dropLast().joined(separator: "/")
            #expect(made.firstIndex(of: parent)! < made.firstIndex(of: path)!)
        }
    }

    @Test func oneFolderIsBoundAndSeveralAreLaidOverEachOther() {
        let one = steps { $0.cargo = ["/t"] }
        #expect(!one.contains { if case .overlay = $0 { true } else { false } })
        let several = steps { $0.cargo = ["/low", "/high"] }
        let slots = several.compactMap { step -> (Int, String)? in
            if case .open(let slot, let path) = step { (slot, path) } else { nil }
        }
        let overlay = several.compactMap { if case .overlay("cargo", "cargo", let slots) = $0 { slots } else { nil } }.first
        #expect(overlay?.map { slot in slots.first { $0.0 == slot }?.1 } == ["/high", "/low"])
    }

    @Test func aFileInsideTheCargoIsMountedOverTheOverlay() {
        let steps = steps {
            $0.cargo = ["/t"]
            $0.shares = [.init(source: "/blob", target: "/cargo/models/w.gguf", isFolder: false)]
        }
        let overlay = position(steps) { if case .overlay = $0 { true } else { false } }
        let point = position(steps) { $0 == .file(path: "cargo/models/w.gguf", mode: 0o444, bytes: []) }
        let bind = position(steps) { if case .bind(_, "cargo/models/w.gguf", _, _) = $0 { true } else { false } }
        #expect(point >= 0 && point < overlay && overlay < bind)
    }

    @Test func limitsAreClampedAndNeverRaised() {
        let limits = steps().compactMap {
            if case .limit(Limit.openFiles, let soft, let hard) = $0 { [soft, hard] } else { nil }
        }
        #expect(limits == [[100, 100]])
    }

    @Test func aKernelWithoutLandlockGetsNoLandlockStep() {
        var old = host
        old.landlockABI = 0
        #expect(!steps(host: old).contains { if case .landlock = $0 { true } else { false } })
    }

    @Test func anOrdinaryUsersGroupsCannotBeDropped() {
        var ordinary = host
        ordinary.isRoot = false
        #expect(steps(host: ordinary).contains(.become(user: 1000, group: 1000, dropGroups: false)))
    }

    @Test func aCommandWithoutASlashIsSearchedInPATH() {
        let exec = steps { $0.environment = [("PATH", "/a:/b")] }.last
        #expect(exec == .exec(candidates: ["/a/run", "/b/run"], arguments: ["run"], environment: ["PATH=/a:/b"]))
    }

    @Test func theBytesOfAPlanAreFlatAndPadded() {
        let bytes = LaunchPlan(steps: [.enter(path: "ab"), .pivot]).bytes
        let header: [UInt8] = [0x4c, 0x53, 0x50, 0x31, 36, 0, 0, 0, 2, 0, 0, 0]
        let enter: [UInt8] = [10, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 0x61, 0x62, 0, 0]
        let pivot: [UInt8] = [11, 0, 0, 0, 0, 0, 0, 0]
        #expect(bytes == header + enter + pivot)
    }

    @Test func aTextEndsAtItsFirstZeroByte() {
        #expect(LaunchPlan(steps: [.enter(path: "a\0b")]).bytes == LaunchPlan(steps: [.enter(path: "a")]).bytes)
    }
}

@Suite struct LandlockRulesTests {
    @Test(arguments: [
        (1, 13, 0, 8), (2, 14, 0, 8), (3, 15, 0, 8), (4, 15, 0, 16), (5, 16, 0, 16), (6, 16, 3, 24), (7, 16, 3, 24),
        (9, 16, 3, 24),
    ])
    func anABIIsAskedOnlyForWhatItKnows(abi: Int, rights: Int, scopes: Int, bytes: Int) {
        let rules = LandlockRules(abi: abi, writable: ["/tmp"], devices: ["/dev/null"], tcp: nil)
        #expect(rules.handledFiles.rawValue == (1 << rights) - 1)
        #expect(rules.scopes.rawValue == UInt64(scopes))
        #expect(rules.attributeBytes == bytes)
        #expect(rules.files.allSatisfy { $0.rights.isSubset(of: rules.handledFiles) })
    }

    @Test func onlyWritableFoldersMayBeWritten() {
        let rules = LandlockRules(abi: 7, writable: ["/tmp"], devices: [], tcp: nil)
        let makers = rules.files.filter { $0.rights.rawValue & 0x1ff0 != 0 }.map(\.path)
        #expect(makers == ["/tmp"])
    }

    @Test func portsCountOnlyWhereTheKernelKnowsThem() {
        #expect(LandlockRules(abi: 3, writable: [], devices: [], tcp: [80]).ports.isEmpty)
        #expect(LandlockRules(abi: 4, writable: [], devices: [], tcp: [80]).ports == [.init(port: 80, rights: .connect)])
    }
}
