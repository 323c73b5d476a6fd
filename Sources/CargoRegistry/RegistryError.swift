import FoundationEssentials
import HTTPTypes
public import Hummingbird
import NIOCore

/// An error in the shape of the OCI distribution specification 1.1, "Error codes".
public struct RegistryError: Error, Hashable, Sendable {
    public var status: Int
    public var code: String
    public var message: String

    public init(_ status: Int, _ code: String, _ message: String) {
        self.status = status
        self.code = code
        self.message = message
    }

    /// For paths under `/v2` that are no operation.
    public static let unsupported = RegistryError(
        404, "UNSUPPORTED", "This registry has no such operation; names are publisher/name.")
    static let nameUnknown = RegistryError(404, "NAME_UNKNOWN", "There is no such name here; names are publisher/name.")
    static let manifestUnknown = RegistryError(404, "MANIFEST_UNKNOWN", "There is no such manifest here; see tags/list.")
    static let blobUnknown = RegistryError(404, "BLOB_UNKNOWN", "There is no such blob under this name.")
    static let uploadUnknown = RegistryError(404, "BLOB_UPLOAD_UNKNOWN", "There is no such upload; begin again with POST.")

    private struct Body: Encodable {
        struct Entry: Encodable {
            var code: String
            var message: String
        }
        var errors: [Entry]
    }

    public func response(headers: HTTPFields = [:]) -> Response {
        var headers = headers
        headers[.contentType] = "application/json"
        let data = (try? JSONEncoder().encode(Body(errors: [.init(code: code, message: message)]))) ?? Data()
        return Response(
            status: .init(integerLiteral: status), headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: data)))
    }
}
