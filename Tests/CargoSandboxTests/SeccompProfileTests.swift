import Testing

@testable import CargoSandbox

@Suite struct SeccompProfileTests {
    private func refusal(_ json: String) -> SandboxError? {
        do throws(SandboxError) {
            _ = try SeccompProfile(json: Array(json.utf8), name: "mine")
            return nil
        } catch { return error }
    }

    @Test func anUnknownCallNameIsRefusedByName() {
        let error = refusal(#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["raed"],"action":"SCMP_ACT_ALLOW"}]}"#)
        #expect(error?.code == .refused)
        #expect(error?.message.contains("'raed'") == true)
    }

    @Test func aProfileThatAllowsByDefaultIsRefused() {
        #expect(refusal(#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]}"#)?.code == .refused)
    }

    @Test func unknownActionsAndComparisonsAreRefused() {
        #expect(refusal(#"{"defaultAction":"SCMP_ACT_MAYBE","syscalls":[]}"#) != nil)
        #expect(
            refusal(
                #"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_SO"}]}]}"#
            ) != nil)
    }

    @Test func theProfilesOfThisProgramCompile() throws {
        #expect(Sandbox.profileNames == ["build", "gpu", "inference", "strict"])
        for name in Sandbox.profileNames {
            let json = try #require(SandboxProfiles.json(named: name))
            let compiled = try SeccompFilter.compile(SeccompProfile(json: json, name: name))
            #expect(compiled.program.count % 8 == 0)
            #expect(compiled.program.count > 800)
        }
    }

    @Test func rulesForCapabilitiesNeverCount() throws {
        let json =
            #"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}]}"#
        let with = try SeccompFilter.compile(SeccompProfile(json: Array(json.utf8), name: "x"))
        let without = try SeccompFilter.compile(
            SeccompProfile(json: Array(#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[]}"#.utf8), name: "x"))
        #expect(with.program == without.program)
    }

    @Test func anUnknownProfileIsRefusedWithTheKnownOnes() async throws {
        let error = await #expect(throws: SandboxError.self) { try await Bench.run(["/bin/true"]) { $0.profile = "lax" } }
        #expect(error?.code == .refused)
        #expect(error?.message.contains("inference") == true)
    }

    @Test(arguments: ["inference", "gpu", "strict", "build"]) func ordinaryProgramsRunUnderEveryProfile(profile: String)
        async throws
    {
        let script =
            "import os,threading,subprocess,tempfile,json,hashlib\nt=threading.Thread(target=lambda:None);t.start();t.join()\nprint(subprocess.run(['echo','child'],capture_output=True).stdout)\nopen('/tmp/x','w').write('y')\nprint(os.cpu_count()>0)"
        let result = try await Bench.run(["/usr/bin/python3", "-c", script]) { $0.profile = profile }
        #expect(result.standardError == "")
        #expect(result.standardOutput == "b'child\\n'\nTrue\n")
    }

    @Test func strictHasNoSocketsAndTheOthersHave() async throws {
        let script = "import socket\nsocket.socket(socket.AF_INET)\nprint('made')"
        let strict = try await Bench.run(["/usr/bin/python3", "-c", script]) { $0.profile = "strict" }
        #expect(strict.ending.exitCode == 1)
        let inference = try await Bench.run(["/usr/bin/python3", "-c", script])
        #expect(inference.standardOutput == "made\n")
    }
}
