internal import Glibc

/// Whose certificates an https server may show, as the usual variables say it.
///
/// Proxies come from `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy`, which libcurl reads itself.
public struct CertificateAuthorities: Hashable, Sendable {
    public var file: String?
    public var folder: String?

    public init(file: String? = nil, folder: String? = nil) {
        self.file = file
        self.folder = folder
    }

    /// `CURL_CA_BUNDLE`, else `SSL_CERT_FILE`; `SSL_CERT_DIR`. Empty values count as missing.
    public static func from(_ variable: (String) -> String?) -> CertificateAuthorities {
        func value(_ name: String) -> String? { variable(name).flatMap { $0.isEmpty ? nil : $0 } }
        return CertificateAuthorities(file: value("CURL_CA_BUNDLE") ?? value("SSL_CERT_FILE"), folder: value("SSL_CERT_DIR"))
    }

    public static func fromEnvironment() -> CertificateAuthorities {
        from { name in getenv(name).map { String(cString: $0) } }
    }

    /// Whether connections go to a proxy, whose address says nothing about the server's.
    static func proxyIsSet(_ variable: (String) -> String?) -> Bool {
        ["https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"].contains { variable($0)?.isEmpty == false }
    }
}
