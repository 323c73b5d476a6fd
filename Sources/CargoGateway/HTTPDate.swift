import CargoQueue
import Synchronization

/// The time as a header says it (RFC 9110, section 5.6.7), written once a second.
public enum HTTPDate {
    private static let last = Mutex<(second: Int64, text: String)>((.min, ""))

    public static func now() -> String {
        let second = Timestamp.now().milliseconds / 1000
        return last.withLock { last in
            if last.second != second { last = (second, text(Timestamp(milliseconds: second * 1000))) }
            return last.text
        }
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT`.
    static func text(_ time: Timestamp) -> String {
        // 2026-11-20T23:59:59.123Z
        let digits = Array(time.text.utf8)
        func part(_ range: Range<Int>) -> String { String(decoding: digits[range], as: UTF8.self) }
        let days = Int((Double(time.milliseconds) / 86_400_000).rounded(.down))
        // The first day of 1970 was a Thursday.
        let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][((days % 7) + 7) % 7]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let month = months[(Int(part(5..<7)) ?? 1) - 1]
        return "\(weekday), \(part(8..<10)) \(month) \(part(0..<4)) \(part(11..<19)) GMT"
    }
}
