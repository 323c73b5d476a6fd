public import Foundation

/// JSON read loosely, for looking at what the programs print.
public struct JSON: CustomStringConvertible {
    private let value: Any?

    public init(_ data: Data) { value = try? JSONSerialization.jsonObject(with: data, options: .fragmentsAllowed) }
    private init(value: Any?) { self.value = value }

    public subscript(_ key: String) -> JSON? { (value as? [String: Any])?[key].map { JSON(value: $0) } }
    public var string: String? { value as? String }
    public var int: Int? { (value as? NSNumber)?.intValue }
    public var double: Double? { (value as? NSNumber)?.doubleValue }
    public var isNull: Bool { value is NSNull }
    public var array: [JSON] { (value as? [Any])?.map { JSON(value: $0) } ?? [] }
    public var description: String { value.map { "\($0)" } ?? "nothing" }

    /// One object a line.
    public static func lines(_ data: Data) -> [JSON] { data.split(separator: 10).map { JSON(Data($0)) } }
}
