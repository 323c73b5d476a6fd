import CargoArtifact
import CargoWire
import FoundationEssentials
import Testing

@testable import CargoQueue

/// What is read and written without `Codable` says exactly what `Codable` says.
@Suite("Plain bodies and answers")
struct PlainTextTests {
    private static let lease = #"{"epoch":2,"generation":1,"host":"host_1","seconds":30,"token":"abc"}"#

    private func same<Body: PlainBody & Equatable>(_ type: Body.Type, _ text: String) throws {
        let bytes = Array(text.utf8)
        let plain = try #require(Body(plain: try StrictJSON.parse(bytes, limit: 1 << 20)), "\(text) is not read plainly")
        #expect(try plain == StrictJSON.decode(type, from: bytes, limit: 1 << 20), "\(text) is read in two ways")
    }

    private func left<Body: PlainBody>(_ type: Body.Type, _ text: String) throws {
        #expect(Body(plain: try StrictJSON.parse(Array(text.utf8), limit: 1 << 20)) == nil, "\(text) belongs to the decoder")
    }

    @Test(
        "a job's plain fields are read as the decoder reads them",
        arguments: [
            #"{"cargo":"a/b:1.0.0"}"#,
            #"{"cargo":"a/b:1.0.0","params":{"text":"xé\n\"","n":3,"f":1.5,"deep":{"list":[1,null,true,"s"]}},"metadata":{"batch":"n"}}"#,
            #"{"image":"alpine:3.20","args":["a","b"],"env":{"A":"1"},"input":"words","tier":2,"priority":7,"attempts":3}"#,
            #"{"id":"0190b0a0-0000-7000-8000-000000000000","cargo":"a/b:1.0.0","input":{"messages":[{"role":"user"}]},"metadata":"m"}"#,
        ])
    func jobs(_ text: String) throws { try same(JobRequest.self, text) }

    @Test(
        "what is rare, unknown or wrong in a job goes to the decoder",
        arguments: [
            #"{"cargo":"a/b:1.0.0","files":[]}"#, #"{"cargo":"a/b:1.0.0","timeout":"5s"}"#, #"{"cargo":5}"#, #"{"cargo":null}"#,
            #"{"cargo":"a/b:1.0.0","colour":"red"}"#, #"{"args":["a",1]}"#, #"{"env":{"A":1}}"#, #"{"tier":1.5}"#, #"[]"#,
        ])
    func unusualJobs(_ text: String) throws { try left(JobRequest.self, text) }

    @Test("claims, heartbeats and completions are read as the decoder reads them")
    func reports() throws {
        for text in [
            "{}", #"{"wait":1,"slots":1,"capabilities":{"kinds":["process"]}}"#,
            #"{"wait":1.5,"claim_id":"c","host":"h","capabilities":{"kinds":[],"images":["a"],"docker":true,"region":"eu","cpu":2}}"#,
        ] { try same(ClaimRequest.self, text) }
        for text in [
            #"{"lease":\#(Self.lease),"exit_code":0,"wall_seconds":0.001,"outputs":[]}"#,
            #"{"lease":\#(Self.lease),"exit_code":null,"signal":null,"timed_out":true,"oom_killed":false,"cpu_seconds":1}"#,
            #"{"lease":\#(Self.lease),"exit_code":1,"log_bytes":5,"log_sha256":"ab","max_rss_bytes":9,"outcome":{"payload":"x"}}"#,
        ] { try same(Completion.self, text) }
        for text in [
            #"{"lease":\#(Self.lease)}"#,
            #"{"lease":\#(Self.lease),"state":"processing","logs":[{"stream":"stdout","offset":0,"data":"hi"}],"progress":{"step":1}}"#,
            #"{"lease":\#(Self.lease),"logs":[{"stream":"stderr","offset":7,"data_base64":"/w=="}]}"#,
        ] { try same(Heartbeat.self, text) }
        try left(Heartbeat.self, #"{"lease":{"epoch":"2"}}"#)
        try left(Heartbeat.self, #"{"lease":\#(Self.lease),"state":"sleeping"}"#)
        try left(Completion.self, #"{"exit_code":0}"#)
        try left(Completion.self, #"{"lease":\#(Self.lease),"outputs":[{"path":"a"}]}"#)
        try left(ClaimRequest.self, #"{"capabilities":{"colour":"red"}}"#)
    }

    @Test("a job's answer has every field that its encoder writes, in the same bytes")
    func answers() throws {
        var job = Job(id: "i", status: .error, tier: 2, priority: 50, attempt: 3, createdAt: "2026-01-01T00:00:00.000Z")
        try expectEncoded(job)
        (job.cargo, job.digest, job.image, job.host, job.notice) = (
            "a/b:1.0.0", "sha256:00", "alpine", "h", "wait \"é\"\n\t\u{1}"
        )
        job.exitCode = 3
        job.exit = ExitReport(
            exitCode: nil, signal: 9, timedOut: true, oomKilled: false, wallSeconds: 1.25, cpuSeconds: 2, maxRSSBytes: 7)
        job.error = JobError(.timedOut, "It took too long.")
        job.outputs = [OutputFile(path: "a/b", size: 5, sha256: "ff"), OutputFile(path: "c", size: 0, sha256: "00")]
        job.metadata = .object(["z": .array([.integer(1), .number(0.5), .null, .bool(true)]), "a": .string("/")])
        job.auditHead = .object(["payload": .string("x")])
        (job.startedAt, job.finishedAt, job.model) = ("s", "f", "acme/chat")
        for child in Mirror(reflecting: job).children {
            let isMissing =
                Mirror(reflecting: child.value).displayStyle == .optional && Mirror(reflecting: child.value).children.isEmpty
            #expect(!isMissing, "set \(child.label ?? "") here, and see that Job.write(into:) writes it")
        }
        try expectEncoded(job)
    }

    private func expectEncoded(_ job: Job) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var writer = JSONWriter()
        job.write(into: &writer)
        #expect(String(decoding: writer.bytes, as: UTF8.self) == String(decoding: try encoder.encode(job), as: UTF8.self))
    }

    @Test("the detail of a transition has the bytes that its encoder would write")
    func details() throws {
        var detail = TransitionDetail()
        detail.exit = ExitReport(exitCode: 0)
        detail.error = JobError(.poison, "p")
        (detail.note, detail.payload, detail.cargo, detail.digest) = ("n", "sha256:1", "a/b:1.0.0", "sha256:2")
        detail.outputs = [OutputFile(path: "o", size: 1, sha256: "aa")]
        (detail.logBytes, detail.logSHA256) = (3, "bb")
        detail.outcome = .object(["signatures": .array([])])
        detail.answer = AnswerHead(status: 200, contentType: "text/event-stream")
        detail.usage = ModelUsage(promptTokens: 3, completionTokens: 4)
        detail.trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        for child in Mirror(reflecting: detail).children {
            #expect(
                !Mirror(reflecting: child.value).children.isEmpty, "set \(child.label ?? "") here, and see that json writes it")
        }
        #expect(String(decoding: detail.json, as: UTF8.self) == String(decoding: try SQLiteRows.encode(detail), as: UTF8.self))
        #expect(String(decoding: TransitionDetail().json, as: UTF8.self) == "{}")
    }

    @Test(
        "times and ids are written as their standards say",
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
        ])
    func times(_ milliseconds: Int64, _ text: String) {
        #expect(Timestamp(milliseconds: milliseconds).text == text)
        let id = JobID(at: Timestamp(milliseconds: milliseconds))
        #expect(JobID(id.description) == id)
        #expect(JobID(bytes: id.bytes) == id)
    }
}
