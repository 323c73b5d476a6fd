import Foundation
import GRDB
import GRDBSQLite

/// A value for a statement's parameter.
enum SQLValue {
    case null
    case int(Int64)
    case real(Double)
    case text(String)
    case bytes(Data)
    case id(JobID)

    static func int(_ value: Int) -> SQLValue { .int(Int64(value)) }
    static func int(_ value: Int64?) -> SQLValue { value.map { .int($0) } ?? .null }
    static func real(_ value: Double?) -> SQLValue { value.map { .real($0) } ?? .null }
    static func text(_ value: String?) -> SQLValue { value.map { .text($0) } ?? .null }
    static func bytes(_ value: Data?) -> SQLValue { value.map { .bytes($0) } ?? .null }
}

/// The statements of a job's life go to SQLite as they are, past what the library around it does for each execution
/// (observers, argument boxes, row copies): several times the cost of the statements themselves. They stay the library's
/// cached statements, on its writer connection, inside the transaction of the group commit.
extension Database {
    /// Runs a statement that answers no rows.
    func run(_ sql: String, _ values: [SQLValue]) throws {
        let statement = try bound(sql, values)
        defer { sqlite3_reset(statement) }
        let code = sqlite3_step(statement)
        guard code == SQLITE_DONE || code == SQLITE_ROW else { throw failure(code, sql) }
    }

    /// The first row of a statement; it must not be kept.
    func first<Value>(_ sql: String, _ values: [SQLValue], _ read: (SQLRow) throws -> Value) throws -> Value? {
        let statement = try bound(sql, values)
        defer { sqlite3_reset(statement) }
        let code = sqlite3_step(statement)
        if code == SQLITE_DONE { return nil }
        guard code == SQLITE_ROW else { throw failure(code, sql) }
        return try read(SQLRow(statement: statement))
    }

    private func bound(_ sql: String, _ values: [SQLValue]) throws -> OpaquePointer {
        let statement = try cachedStatement(sql: sql).sqliteStatement
        // SQLite copies what is bound.
        let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        for (index, value) in values.enumerated() {
            let place = Int32(index + 1)
            let code =
                switch value {
                case .null: sqlite3_bind_null(statement, place)
                case .int(let value): sqlite3_bind_int64(statement, place, value)
                case .real(let value): sqlite3_bind_double(statement, place, value)
                case .text(var text):
                    text.withUTF8 { utf8 in
                        utf8.withMemoryRebound(to: CChar.self) {
                            // No address means NULL to SQLite, also of length 0.
                            $0.baseAddress.map { sqlite3_bind_text(statement, place, $0, Int32(utf8.count), transient) }
                                ?? sqlite3_bind_text(statement, place, "", 0, transient)
                        }
                    }
                case .bytes(let data):
                    data.withUnsafeBytes { bytes in
                        bytes.isEmpty
                            ? sqlite3_bind_zeroblob(statement, place, 0)
                            : sqlite3_bind_blob(statement, place, bytes.baseAddress, Int32(bytes.count), transient)
                    }
                case .id(let id):
                    withUnsafeBytes(of: (id.high.bigEndian, id.low.bigEndian)) {
                        sqlite3_bind_blob(statement, place, $0.baseAddress, Int32($0.count), transient)
                    }
                }
            guard code == SQLITE_OK else { throw failure(code, sql) }
        }
        return statement
    }

    private func failure(_ code: CInt, _ sql: String) -> DatabaseError {
        DatabaseError(
            resultCode: ResultCode(rawValue: code), message: sqliteConnection.map { String(cString: sqlite3_errmsg($0)) },
            sql: sql)
    }
}

/// A row while its statement stands on it.
struct SQLRow {
    fileprivate let statement: OpaquePointer

    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(statement, column) == SQLITE_NULL }

    func int(_ column: Int32) -> Int { Int(sqlite3_column_int64(statement, column)) }
    func int64(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }

    func text(_ column: Int32) -> String? {
        guard let text = sqlite3_column_text(statement, column) else { return nil }
        let count = Int(sqlite3_column_bytes(statement, column))
        return String(decoding: UnsafeBufferPointer(start: text, count: count), as: UTF8.self)
    }

    /// Nil for NULL.
    func data(_ column: Int32) -> Data? {
        guard !isNull(column) else { return nil }
        let count = Int(sqlite3_column_bytes(statement, column))
        return sqlite3_column_blob(statement, column).map { Data(bytes: $0, count: count) } ?? Data()
    }

    func id(_ column: Int32) -> JobID? {
        guard sqlite3_column_bytes(statement, column) == 16, let bytes = sqlite3_column_blob(statement, column) else {
            return nil
        }
        return JobID(
            high: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
            low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }
}
