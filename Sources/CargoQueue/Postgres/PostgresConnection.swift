import CPostgres
import Foundation

/// What PostgreSQL or the way to it refused.
struct PostgresError: Error, CustomStringConvertible {
    /// Five characters (PostgreSQL manual, appendix A); empty when the server said nothing.
    let state: String
    let message: String
    /// The connection is gone: whether the last statement took effect is not known.
    let isLost: Bool

    var description: String { state.isEmpty ? message : "\(message) (SQLSTATE \(state))" }

    /// The same transaction may succeed when it is run again: serialization failure, deadlock, a lock or a server that was not to be had.
    var mayRetry: Bool { isLost || ["40001", "40P01", "55P03", "57P01", "57P02", "57P03"].contains(state) }
}

/// A statement's parameter.
enum PostgresValue {
    case null
    case int(Int64)
    case text(String)
    case bytes(Data)
    case bool(Bool)

    static func int(_ value: Int) -> PostgresValue { .int(Int64(value)) }
    static func int(_ value: Int64?) -> PostgresValue { value.map { .int($0) } ?? .null }
    static func text(_ value: String?) -> PostgresValue { value.map { .text($0) } ?? .null }
    static func bytes(_ value: Data?) -> PostgresValue { value.map { .bytes($0) } ?? .null }
    static func id(_ id: JobID) -> PostgresValue { .bytes(id.bytes) }
}

/// One connection to a server through libpq; one thread uses it at a time and waits in it.
final class PostgresConnection {
    private let handle: OpaquePointer
    /// Prepared statements by their text; as many as this room has texts.
    private var prepared: [String: String] = [:]

    /// - Parameter url: anything libpq reads, such as `postgresql://user@host/database`.
    init(_ url: String) throws {
        let parameters: [(String, String)] = [
            // Expanded first, so that what follows cannot be overridden by mistake; a dead server is noticed within 20 s.
            ("dbname", url), ("fallback_application_name", "longshore"), ("connect_timeout", "5"), ("keepalives_idle", "10"),
            ("keepalives_interval", "5"), ("keepalives_count", "2"), ("tcp_user_timeout", "20000"), ("client_encoding", "UTF8"),
        ]
        let made = Self.withStrings(parameters.map(\.0)) { names in
            Self.withStrings(parameters.map(\.1)) { values in PQconnectdbParams(names, values, 1) }
        }
        guard let made else { throw PostgresError(state: "", message: "libpq has no memory", isLost: true) }
        handle = made
        guard PQstatus(made) == CONNECTION_OK else { throw Self.error(of: made, result: nil) }
        // A coordinator that is stopped in the middle must not hold its rows for ever.
        try run("SET idle_in_transaction_session_timeout = '20s'")
        try run("SET statement_timeout = '30s'")
        if try run("SHOW synchronous_commit")[0].text(0) == "off" { try run("SET synchronous_commit = on") }
    }

    deinit { PQfinish(handle) }

    /// Runs one statement, prepared at its first use.
    @discardableResult
    func run(_ sql: String, _ values: [PostgresValue] = []) throws -> PostgresRows {
        let name: String
        if let known = prepared[sql] {
            name = known
        } else {
            name = "s\(prepared.count)"
            _ = try rows(PQprepare(handle, name, sql, 0, nil))
            prepared[sql] = name
        }
        // One buffer holds every parameter, each ended by a zero, so that one pointer stays valid for all.
        var buffer: [UInt8] = []
        var places: [(offset: Int, length: Int, binary: Int32)?] = []
        for value in values {
            let start = buffer.count
            var binary: Int32 = 0
            switch value {
            case .null:
                places.append(nil)
                continue
            case .int(let number): buffer += Array(String(number).utf8)
            case .text(let text):
                // PostgreSQL has no zero byte in text.
                buffer += text.utf8.filter { $0 != 0 }
            case .bool(let value): buffer.append(value ? 116 : 102)
            case .bytes(let data):
                buffer += data
                binary = 1
            }
            places.append((start, buffer.count - start, binary))
            buffer.append(0)
        }
        let result = buffer.withUnsafeBytes { bytes in
            let pointers = places.map { place in
                place.flatMap { place in bytes.baseAddress.map { ($0 + place.offset).assumingMemoryBound(to: CChar.self) } }
            }
            return PQexecPrepared(
                handle, name, Int32(values.count), pointers, places.map { Int32($0?.length ?? 0) },
                places.map { $0?.binary ?? 0 }, 1)
        }
        return try rows(result)
    }

    /// Several statements without parameters, in one transaction.
    func script(_ sql: String) throws { _ = try rows(PQexec(handle, sql)) }

    private func rows(_ result: OpaquePointer?) throws -> PostgresRows {
        guard let result else { throw Self.error(of: handle, result: nil) }
        switch PQresultStatus(result) {
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY: return PostgresRows(result)
        default:
            defer { PQclear(result) }
            throw Self.error(of: handle, result: result)
        }
    }

    private static func error(of handle: OpaquePointer, result: OpaquePointer?) -> PostgresError {
        let state = result.flatMap { PQresultErrorField($0, Int32(UInt8(ascii: "C"))) }.map { String(cString: $0) } ?? ""
        let text = String(cString: PQerrorMessage(handle)).split(whereSeparator: \.isNewline).joined(separator: " ")
        return PostgresError(state: state, message: text, isLost: PQstatus(handle) != CONNECTION_OK)
    }

    private static func withStrings<Value>(
        _ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Value
    ) -> Value {
        let copies = strings.map { strdup($0) }
        defer { for copy in copies { free(copy) } }
        return (copies.map { UnsafePointer($0) } + [nil]).withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else {
                preconditionFailure("the list ends with a null pointer, so it is not empty")
            }
            return body(base)
        }
    }

    // MARK: Notifications

    /// Waits up to `milliseconds` for the server to say something; the payloads of what was notified meanwhile.
    func notifications(waiting milliseconds: Int32) throws -> [String] {
        var payloads = taken()
        if payloads.isEmpty {
            var descriptor = pollfd(fd: PQsocket(handle), events: Int16(POLLIN), revents: 0)
            _ = poll(&descriptor, 1, milliseconds)
            guard PQconsumeInput(handle) == 1 else { throw Self.error(of: handle, result: nil) }
            payloads = taken()
        }
        return payloads
    }

    private func taken() -> [String] {
        var payloads: [String] = []
        while let notice = PQnotifies(handle) {
            payloads.append(String(cString: notice.pointee.extra))
            PQfreemem(notice)
        }
        return payloads
    }
}

/// A statement's answer, in PostgreSQL's binary formats.
final class PostgresRows {
    private let result: OpaquePointer
    let count: Int
    /// Rows that an INSERT, UPDATE or DELETE touched.
    let changed: Int

    init(_ result: OpaquePointer) {
        self.result = result
        count = Int(PQntuples(result))
        changed = Int(String(cString: PQcmdTuples(result))) ?? 0
    }

    deinit { PQclear(result) }

    /// A row by its index, which is below `count`.
    subscript(_ row: Int) -> Row { Row(rows: self, row: Int32(row)) }

    var first: Row? { count > 0 ? self[0] : nil }

    func map<Value>(_ body: (Row) throws -> Value) rethrows -> [Value] { try (0..<count).map { try body(self[$0]) } }

    func compactMap<Value>(_ body: (Row) throws -> Value?) rethrows -> [Value] {
        try (0..<count).compactMap { try body(self[$0]) }
    }

    struct Row {
        fileprivate let rows: PostgresRows
        fileprivate let row: Int32

        func isNull(_ column: Int32) -> Bool { PQgetisnull(rows.result, row, column) == 1 }

        /// The bytes of a value; nil for NULL.
        func data(_ column: Int32) -> Data? {
            guard !isNull(column), let start = PQgetvalue(rows.result, row, column) else { return nil }
            return Data(bytes: start, count: Int(PQgetlength(rows.result, row, column)))
        }

        func text(_ column: Int32) -> String? { data(column).map { String(decoding: $0, as: UTF8.self) } }

        /// smallint, integer and bigint: big endian, two's complement.
        func int(_ column: Int32) -> Int64? {
            guard let bytes = data(column), let first = bytes.first else { return nil }
            return bytes.dropFirst().reduce(Int64(Int8(bitPattern: first))) { $0 << 8 | Int64($1) }
        }

        func bool(_ column: Int32) -> Bool { data(column)?.first == 1 }

        func id(_ column: Int32) throws -> JobID {
            guard let id = data(column).flatMap(JobID.init(bytes:)) else {
                throw StoreError.unavailable("A row of the database holds no valid id.")
            }
            return id
        }
    }
}
