import CargoBlobs
import CargoQueue
import CargoRegistry
import CargoSigning
import CargoStore
import FoundationEssentials
import HTTPTypes
import Hummingbird
import SystemPackage
import Testing

@testable import CargoGateway

/// `/openapi.json` and the routes that answer.
@Suite struct DocumentTests {
    @Test func everyRouteStandsInTheDocumentAndEveryOperationHasARoute() async throws {
        try await withFolder { path in
            let store = try BlobStore(root: path.appending("store"))
            let queue = try await JobQueue(folder: path)
            defer { queue.close() }
            let gateway = Gateway(
                queue: queue, blobs: FolderBlobs(store),
                registry: try RegistryIndex(folder: path.appending("registry"), blobs: store), blobGuard: BlobGuard(),
                metrics: GatewayMetrics(), disk: DiskSpace(path), identity: SigningKey(), files: try FileShelf(path))
            // A name in a path is a name, whatever it is called there; what may hold slashes is the last.
            func plain(_ text: String) -> String {
                text.split(separator: "/").map { part in
                    part.hasPrefix("{") || part.hasPrefix(":") || part == "**" ? "{}" : String(part)
                }.joined(separator: "/")
            }
            var documented = Set(OpenAPI.operations.map { "\($0.method) \(plain($0.path))" })
            for operation in OpenAPI.operations where operation.path.hasPrefix("/v1/") {
                documented.insert("\(operation.method) api/\(plain(operation.path))")
            }
            let routed = Set(try gateway.router().routes.map { "\($0.method.rawValue) \(plain($0.path.description))" })
            #expect(routed.subtracting(documented).sorted() == [], "routes that the document does not name")
            #expect(documented.subtracting(routed).sorted() == [], "operations that nothing answers")
        }
    }
}
