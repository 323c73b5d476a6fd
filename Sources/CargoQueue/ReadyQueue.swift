/// The queued jobs of one coordinator in memory, ordered so that a claim costs O(buckets · log accounts).
///
/// Within a bucket the highest priority comes first; within a priority accounts take turns (stride scheduling: each
/// claim adds to the account's pass, the lowest pass goes next); within an account the oldest job. A job that was
/// cancelled stays in its place until a claim meets it and finds its row changed: removal needs no search.
/// About 40 bytes a job; its bound is the quota of queued jobs.
struct ReadyQueue {
    struct Entry: Hashable {
        var key: JobKey
        var priority: Int
        var requirement: Requirement
    }

    /// Ids in order of arrival; the front moves instead of the elements.
    private struct Line {
        var ids: [JobID] = []
        var front = 0
        var first: JobID? { front < ids.count ? ids[front] : nil }
        var count: Int { ids.count - front }

        mutating func append(_ id: JobID) { ids.append(id) }

        var waiting: ArraySlice<JobID> { ids[front...] }

        mutating func remove(_ id: JobID) -> Bool {
            if first == id {
                removeFirst()
                return true
            }
            guard let place = waiting.firstIndex(of: id) else { return false }
            ids.remove(at: place)
            return true
        }

        mutating func removeFirst() {
            front += 1
            if front > 1024, front * 2 > ids.count {
                ids.removeFirst(front)
                front = 0
            }
        }
    }

    /// The lines of one priority of one bucket; `turns` is a heap of accounts by the pass they had when they entered.
    private struct Level {
        var lines: [Int64: Line] = [:]
        var turns = MinimumHeap<Turn>()
    }

    private struct Turn: Comparable {
        var pass: UInt64
        var account: Int64
        static func < (left: Turn, right: Turn) -> Bool {
            left.pass != right.pass ? left.pass < right.pass : left.account < right.account
        }
    }

    /// Buckets that differ in the preferred image alone, at most: a claim looks at each.
    private static let mostBuckets = 256
    /// How much younger a job may be that goes first because its image is at hand.
    private static let headStart: UInt64 = 30_000

    private var buckets: [Requirement: [Int: Level]] = [:]
    private var passes: [Int64: UInt64] = [:]
    private var queuedPerAccount: [Int64: Int] = [:]
    /// The pass of the last claim: where an account that was idle begins.
    private var virtualTime: UInt64 = 0
    private(set) var count = 0

    var requirements: [Requirement] { Array(buckets.keys) }

    /// The first job of each line, of a thousand lines at most.
    var heads: [JobKey] {
        var heads: [JobKey] = []
        for level in buckets.values.flatMap(\.values) {
            for (account, line) in level.lines {
                if let id = line.first { heads.append(JobKey(account: account, id: id)) }
                if heads.count == 1000 { return heads }
            }
        }
        return heads
    }

    func queued(of account: Int64) -> Int { queuedPerAccount[account] ?? 0 }

    mutating func insert(_ entry: Entry) {
        var entry = entry
        if buckets[entry.requirement] == nil, buckets.count >= ReadyQueue.mostBuckets { entry.requirement.image = nil }
        let account = entry.key.account
        if queuedPerAccount[account, default: 0] == 0 { passes[account] = max(passes[account] ?? 0, virtualTime) }
        queuedPerAccount[account, default: 0] += 1
        count += 1
        var level = buckets[entry.requirement]?.removeValue(forKey: entry.priority) ?? Level()
        var line = level.lines.removeValue(forKey: account) ?? Line()
        if line.count == 0 { level.turns.insert(Turn(pass: passes[account] ?? 0, account: account)) }
        line.append(entry.key.id)
        level.lines[account] = line
        buckets[entry.requirement, default: [:]][entry.priority] = level
    }

    /// Takes the next job of the buckets that `accepts` lets through; among equals one whose bucket `prefers` is for.
    mutating func take(
        where accepts: (Requirement) -> Bool, preferring prefers: (Requirement) -> Bool = { _ in false }
    ) -> Entry? {
        var best: (requirement: Requirement, priority: Int, turn: Turn, id: JobID)?
        for requirement in Array(buckets.keys) where accepts(requirement) {
            guard let priority = buckets[requirement]?.keys.max(), let turn = settleTurn(requirement, priority),
                let id = buckets[requirement]?[priority]?.lines[turn.account]?.first
            else { continue }
            if let best {
                guard priority >= best.priority else { continue }
                if priority == best.priority {
                    guard turn.pass <= best.turn.pass else { continue }
                    if turn.pass == best.turn.pass {
                        let (age, bestAge) = (
                            ReadyQueue.rank(id, isPreferred: prefers(requirement)),
                            ReadyQueue.rank(best.id, isPreferred: prefers(best.requirement))
                        )
                        if age > bestAge || age == bestAge && id > best.id { continue }
                    }
                }
            }
            best = (requirement, priority, turn, id)
        }
        guard let best else { return nil }
        remove(best.requirement, best.priority, best.turn)
        return Entry(
            key: JobKey(account: best.turn.account, id: best.id), priority: best.priority, requirement: best.requirement)
    }

    /// Lines that one look compares at most.
    private static let mostLooked = 1000

    /// What `take` could give, the highest priority first, then the oldest.
    func offers(where accepts: (Requirement) -> Bool, limit: Int) -> [Entry] {
        var offers: [Entry] = []
        var looked = 0
        for (requirement, levels) in buckets where accepts(requirement) {
            for (priority, level) in levels {
                for (account, line) in level.lines where looked < Self.mostLooked {
                    looked += 1
                    for id in line.waiting.prefix(limit) {
                        offers.append(Entry(key: JobKey(account: account, id: id), priority: priority, requirement: requirement))
                    }
                }
            }
        }
        offers.sort { $0.priority != $1.priority ? $0.priority > $1.priority : $0.key.id < $1.key.id }
        return Array(offers.prefix(limit))
    }

    /// Takes this very job out of its line, where its bucket is one that `accepts` lets through.
    mutating func take(_ id: JobID, where accepts: (Requirement) -> Bool) -> Entry? {
        for requirement in Array(buckets.keys) where accepts(requirement) {
            for priority in Array((buckets[requirement] ?? [:]).keys) {
                for account in Array((buckets[requirement]?[priority]?.lines ?? [:]).keys) {
                    guard buckets[requirement]?[priority]?.lines[account]?.remove(id) == true else { continue }
                    count -= 1
                    let left = (queuedPerAccount[account] ?? 1) - 1
                    queuedPerAccount[account] = left == 0 ? nil : left
                    passes[account] = (passes[account] ?? virtualTime) + 1
                    if buckets[requirement]?[priority]?.lines[account]?.first == nil {
                        buckets[requirement]?[priority]?.lines[account] = nil
                        buckets[requirement]?[priority]?.turns.remove { $0.account == account }
                        if buckets[requirement]?[priority]?.lines.isEmpty == true { buckets[requirement]?[priority] = nil }
                        if buckets[requirement]?.isEmpty == true { buckets[requirement] = nil }
                    }
                    return Entry(key: JobKey(account: account, id: id), priority: priority, requirement: requirement)
                }
            }
        }
        return nil
    }

    /// When a job came, in milliseconds; earlier where it is preferred, so that nobody is overtaken for ever.
    private static func rank(_ id: JobID, isPreferred: Bool) -> UInt64 {
        let milliseconds = id.high >> 16
        return isPreferred ? milliseconds - min(milliseconds, headStart) : milliseconds
    }

    /// Brings the turn at the top of the heap up to date: passes only rise, so a stale one is put back further down.
    private mutating func settleTurn(_ requirement: Requirement, _ priority: Int) -> Turn? {
        while let turn = buckets[requirement]?[priority]?.turns.first {
            let pass = passes[turn.account] ?? 0
            if turn.pass >= pass { return turn }
            buckets[requirement]?[priority]?.turns.replaceFirst(with: Turn(pass: pass, account: turn.account))
        }
        return nil
    }

    private mutating func remove(_ requirement: Requirement, _ priority: Int, _ turn: Turn) {
        let account = turn.account
        count -= 1
        let left = (queuedPerAccount[account] ?? 1) - 1
        queuedPerAccount[account] = left == 0 ? nil : left
        virtualTime = max(virtualTime, turn.pass)
        passes[account] = turn.pass + 1
        if left == 0, passes.count > 10_000 { passes[account] = nil }
        buckets[requirement]?[priority]?.lines[account]?.removeFirst()
        if buckets[requirement]?[priority]?.lines[account]?.first == nil {
            buckets[requirement]?[priority]?.lines[account] = nil
            buckets[requirement]?[priority]?.turns.removeFirst()
            if buckets[requirement]?[priority]?.lines.isEmpty == true { buckets[requirement]?[priority] = nil }
            if buckets[requirement]?.isEmpty == true { buckets[requirement] = nil }
        } else {
            buckets[requirement]?[priority]?.turns.replaceFirst(with: Turn(pass: turn.pass + 1, account: account))
        }
    }
}

/// A binary heap whose first element is the least.
struct MinimumHeap<Element: Comparable> {
    private var elements: [Element] = []

    var first: Element? { elements.first }
    var isEmpty: Bool { elements.isEmpty }
    var count: Int { elements.count }

    mutating func insert(_ element: Element) {
        elements.append(element)
        var child = elements.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard elements[child] < elements[parent] else { return }
            elements.swapAt(child, parent)
            child = parent
        }
    }

    @discardableResult
    mutating func removeFirst() -> Element? {
        guard let last = elements.popLast() else { return nil }
        guard let first = elements.first else { return last }
        elements[0] = last
        sink()
        return first
    }

    /// Takes all that match out; costs a look at each.
    mutating func remove(where matches: (Element) -> Bool) {
        let kept = elements.filter { !matches($0) }
        elements = []
        for element in kept { insert(element) }
    }

    mutating func replaceFirst(with element: Element) {
        guard !elements.isEmpty else { return insert(element) }
        elements[0] = element
        sink()
    }

    private mutating func sink() {
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < elements.count && elements[child] < elements[least] {
                least = child
            }
            guard least != parent else { return }
            elements.swapAt(parent, least)
            parent = least
        }
    }
}
