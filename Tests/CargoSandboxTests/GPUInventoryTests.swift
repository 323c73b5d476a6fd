import Glibc
import Testing

@testable import CargoSandbox

@Suite struct GPUInventoryTests {
    /// A folder that looks like a host's root.
    private func tree(_ files: [String], cdi: String? = nil) throws -> String {
        var template = Array("/tmp/longshore-gpu-XXXXXX".utf8CString)
        let root = String(cString: try #require(mkdtemp(&template)))
        for file in files { #expect(system("mkdir -p $(dirname \(root)\(file)) && touch \(root)\(file)") == 0) }
        if let cdi {
            #expect(system("mkdir -p \(root)/etc/cdi") == 0)
            #expect(creat(root + "/etc/cdi/nvidia.json", 0o644) >= 0)
            try SmallFile.write(cdi, to: root + "/etc/cdi/nvidia.json")
        }
        return root
    }

    private let nodes = [
        "/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-modeset", "/dev/dri/renderD128",
    ]

    @Test func onlyTheAssignedNVIDIADeviceIsVisible() throws {
        let assignment = try GPUInventory(root: tree(nodes)).assignment(of: [1])
        #expect(assignment.devices == ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia1"])
        #expect(assignment.environment == ["NVIDIA_VISIBLE_DEVICES": "1"])
    }

    @Test func onlyTheAssignedAMDDeviceIsVisible() throws {
        let inventory = GPUInventory(
            root: try tree(["/dev/kfd", "/dev/dri/renderD128", "/dev/dri/renderD129", "/dev/dri/card0"]))
        #expect(inventory.count == 2)
        #expect(try inventory.assignment(of: [1]).devices == ["/dev/kfd", "/dev/dri/renderD129"])
    }

    @Test func aRenderNodeWithoutTheComputeDriverIsNoGPU() throws {
        #expect(GPUInventory(root: try tree(["/dev/dri/renderD128"])).count == 0)
    }

    @Test(arguments: [[], [2], [-1], [0, 0]]) func whatIsNotThereIsNotAssigned(gpus: [Int]) throws {
        let inventory = GPUInventory(root: try tree(nodes))
        #expect(throws: SandboxError.self) { try inventory.assignment(of: gpus) }
    }

    /// The shape that nvidia-ctk writes with `cdi generate --format=json`, shortened.
    private func specification(
        hook: String = "/usr/bin/nvidia-cdi-hook", mount: String = "/usr/lib/x86_64-linux-gnu/libcuda.so.1"
    ) -> String {
        """
        {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu",
         "devices": [
          {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}, {"path": "/dev/dri/renderD128"}]}},
          {"name": "1", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia1"}]}},
          {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}, {"path": "/dev/nvidia1"}]}}],
         "containerEdits": {
          "env": ["NVIDIA_VISIBLE_DEVICES=void"],
          "deviceNodes": [{"path": "/dev/nvidiactl"}, {"path": "/dev/nvidia-uvm"}],
          "hooks": [{"hookName": "createContainer", "path": "\(hook)", "args": ["nvidia-cdi-hook", "create-symlinks", "--link", "a::b"]}],
          "mounts": [{"hostPath": "\(mount)", "containerPath": "\(mount)", "options": ["ro", "nosuid", "nodev", "bind"]}]}}
        """
    }

    @Test func aSpecificationsEditsAreThoseOfTheAssignedDevice() throws {
        let assignment = try GPUInventory(root: tree(nodes, cdi: specification())).assignment(of: [0])
        #expect(assignment.devices == ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/dri/renderD128"])
        #expect(assignment.shares.isEmpty)
        #expect(assignment.environment == ["NVIDIA_VISIBLE_DEVICES": "void"])
    }

    @Test func aForeignHookIsRefusedUnlessAllowed() throws {
        let inventory = GPUInventory(root: try tree(nodes, cdi: specification(hook: "/opt/anything")))
        let error = #expect(throws: SandboxError.self) { try inventory.assignment(of: [0]) }
        #expect(error?.message.contains("/opt/anything") == true)
        #expect(try inventory.assignment(of: [0], skipsHooks: true).devices.contains("/dev/nvidia0"))
    }

    @Test(arguments: ["/etc/shadow::/job/output/x", "/etc::/usr/etc", "/x::/y/../proc"]) func mountsOverTheSandboxsOwnAreRefused(
        pair: String
    ) throws {
        let halves = pair.split(separator: ":", omittingEmptySubsequences: true).map(String.init)
        let text = specification().replacing(
            #""containerPath": "/usr/lib/x86_64-linux-gnu/libcuda.so.1""#, with: #""containerPath": "\#(halves[1])""#)
        let inventory = GPUInventory(root: try tree(nodes, cdi: text))
        #expect(throws: SandboxError.self) { try inventory.assignment(of: [0]) }
    }
}
