import Testing

@testable import CargoSandbox

@Suite struct CgroupLayoutTests {
    private func find(_ mountinfo: String, _ membership: String, isRoot: Bool = true) -> CgroupLayout {
        CgroupLayout.find(mountinfo: mountinfo, membership: membership, isRoot: isRoot)
    }

    private func line(_ point: String, _ type: String, _ options: String) -> String {
        "30 25 0:26 / \(point) rw,nosuid shared:9 - \(type) \(type) rw,\(options)\n"
    }

    @Test func aUnifiedHostGivesRootATopFolder() {
        guard case .unified(let parent) = find(line("/sys/fs/cgroup", "cgroup2", "nsdelegate"), "0::/user.slice\n") else {
            Issue.record("not unified")
            return
        }
        #expect(parent == "/sys/fs/cgroup/longshore")
    }

    @Test func aUnifiedHostGivesAnOrdinaryUserItsOwnDelegatedFolder() {
        guard
            case .unified(let parent) = find(line("/sys/fs/cgroup", "cgroup2", "x"), "0::/user.slice/a.service\n", isRoot: false)
        else {
            Issue.record("not unified")
            return
        }
        #expect(parent == "/sys/fs/cgroup/user.slice/a.service")
    }

    @Test func controllersOnV1WinOverAnEmptyV2Mount() {
        let mounts =
            line("/c/memory", "cgroup", "memory") + line("/c/pids", "cgroup", "pids") + line("/c/cpu", "cgroup", "cpu,cpuacct")
            + line("/c/unified", "cgroup2", "x") + line("/c/freezer", "cgroup", "freezer")
        guard case .legacy(let parents) = find(mounts, "4:memory:/own\n3:cpu,cpuacct:/\n2:pids:/\n0::/\n") else {
            Issue.record("not legacy")
            return
        }
        #expect(
            parents == [
                "memory": "/c/memory/own/longshore", "pids": "/c/pids/longshore", "cpu": "/c/cpu/longshore",
                "cpuacct": "/c/cpu/longshore",
            ])
    }

    @Test func aHostWithoutLimitsSaysSo() {
        guard case .absent = find(line("/c/freezer", "cgroup", "freezer"), "") else {
            Issue.record("not absent")
            return
        }
    }
}
