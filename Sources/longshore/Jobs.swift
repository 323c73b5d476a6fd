public import ArgumentParser
import CargoClient
public import CargoWire

/// Lists jobs, and looks at one of them.
struct Jobs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List jobs; show, audit, cancel or replay one.",
        subcommands: [List.self, Show.self, Audit.self, CancelJob.self, Replay.self], defaultSubcommand: List.self)

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List jobs, newest first (the default).")

        @Option(help: "queued, provisioning, processing, complete, error or cancelled.")
        var status: JobStatus?

        @Option(help: "How many.")
        var limit: Int = 50

        @Option(help: ArgumentHelp("Only jobs older than this one.", valueName: "id"))
        var before: String?

        @Flag(help: "Print JSON.")
        var json = false

        @OptionGroup var coordinator: CoordinatorOptions

        func validate() throws {
            guard (1...10_000).contains(limit) else { throw ValidationError("--limit is a number from 1 to 10000.") }
        }

        func run() async throws {
            let client = try coordinator.client()
            var jobs: [Job] = []
            var next = before
            repeat {
                let page = try await client.jobs(limit: min(limit - jobs.count, 200), before: next, status: status)
                jobs += page.jobs
                next = page.jobs.isEmpty ? nil : page.next
            } while next != nil && jobs.count < limit
            if json {
                try Streams.json(JobList(jobs: jobs, next: next))
            } else {
                Streams.result(JobText.table(JobText.heads, jobs.map(JobText.row)))
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show one job.")
        @OptionGroup var one: OneJob

        func run() async throws {
            let client = try one.coordinator.client()
            let job = try await client.job(one.id)
            SeenHeads(url: client.url).keep(job)
            try one.print(job)
        }
    }

    struct Audit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show every transition of a job with its hash.",
            discussion: """
                With --verify the chain of hashes is computed anew here, and compared with what the coordinator has signed: now, \
                and when this user last saw the job. Its key is remembered at the first time. What the hosts have signed is held \
                against the trail: outputs, log, cargo, and which engine ran it. Exit code 1 when anything differs.
                """)

        @Flag(help: "Compute the chain of hashes anew.")
        var verify = false

        @OptionGroup var one: OneJob

        func run() async throws {
            let client = try one.coordinator.client()
            let audit = try await client.audit(one.id)
            if one.json {
                try Streams.json(audit)
            } else {
                Streams.result(
                    JobText.table(
                        ["SEQ", "AT", "STATUS", "ATTEMPT", "ACTOR", "HASH"],
                        audit.transitions.map {
                            ["\($0.sequence)", $0.at, $0.status.rawValue, "\($0.attempt)", $0.actor, $0.hash]
                        }))
            }
            guard verify else { return }
            if let row = try audit.firstBreak() {
                Streams.note("the chain breaks at transition \(row): it was changed after it was written")
                throw ExitCode(ProgramExit.failed)
            }
            if let objection = try SeenHeads(url: client.url).objection(to: audit) {
                Streams.note(objection)
                throw ExitCode(ProgramExit.failed)
            }
            Streams.note("the chain holds: \(audit.transitions.count) transitions, head \(audit.head)")
            do {
                for attested in try audit.attestedOutcomes() { JobText.lines(of: attested).forEach { Streams.note($0) } }
            } catch let objection as JobAudit.Objection {
                Streams.note("\(objection)")
                throw ExitCode(ProgramExit.failed)
            }
        }
    }

    struct CancelJob: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "cancel", abstract: "Cancel a job.")
        @OptionGroup var one: OneJob

        func run() async throws { try one.print(try await one.coordinator.client().cancel(one.id)) }
    }

    struct Replay: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Run a job that ended in error again.")
        @OptionGroup var one: OneJob

        func run() async throws { try one.print(try await one.coordinator.client().replay(one.id)) }
    }
}

/// The options of a command about one job.
struct OneJob: ParsableArguments {
    @Argument(help: "The job's id.")
    var id: String

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var coordinator: CoordinatorOptions

    func print(_ job: Job) throws {
        if json { try Streams.json(job) } else { Streams.result(JobText.description(of: job)) }
    }
}

extension JobStatus: ExpressibleByArgument {}

/// `longshore cancel ID`.
struct Cancel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Cancel a job.", discussion: "A queued job ends at once; a running one is stopped within its grace.")
    @OptionGroup var one: OneJob

    func run() async throws {
        let job = try await one.coordinator.client().cancel(one.id)
        if one.json {
            try Streams.json(job)
        } else {
            Streams.note("\(job.id): \(job.status.rawValue)\(job.status.isFinal ? "" : ", cancel asked")")
        }
    }
}
