/// RFC 3986 escapes for what stands between the slashes of a path or in a query.
enum PercentEncoding {
    /// Everything but unreserved characters is escaped.
    static func segment(_ text: some StringProtocol) -> String {
        var out = ""
        out.reserveCapacity(text.utf8.count)
        for byte in text.utf8 {
            switch byte {
            case 48...57, 65...90, 97...122, 45, 46, 95, 126: out.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                out += byte < 16 ? "%0" + digits : "%" + digits
            }
        }
        return out
    }

    /// A relative path: the slashes stay.
    static func path(_ text: String) -> String {
        text.split(separator: "/", omittingEmptySubsequences: false).map { segment($0) }.joined(separator: "/")
    }

    static func query(_ fields: [(String, String)]) -> String {
        fields.map { segment($0.0) + "=" + segment($0.1) }.joined(separator: "&")
    }
}
