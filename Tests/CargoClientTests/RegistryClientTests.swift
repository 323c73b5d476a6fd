import CargoArtifact
import CargoFiles
import Hummingbird
import NIOCore
import Synchronization
import SystemPackage
import Testing

@testable import CargoClient

/// Pushing to and pulling from a registry that fails now and then.
@Suite struct RegistryClientTests {
    /// `/v2` in memory, as little of it as a push and a pull touch.
    private final class FakeRegistry: Sendable {
        struct State {
            var blobs: [String: [UInt8]] = [:]
            var manifests: [String: [UInt8]] = [:]
            var calls: [String] = []
            var failures = 0
            var location = "/v2/acme/tool/blobs/uploads/1"
        }

        let state = Mutex(State())

        var router: Router<BasicRequestContext> {
            let router = Router()
            router.on("/v2/acme/tool/blobs/{digest}", method: .head) { [self] _, context -> Response in
                let digest = context.parameters.get("digest") ?? ""
                return Response(status: state.withLock { $0.blobs[digest] == nil } ? .notFound : .ok)
            }
            router.get("/v2/acme/tool/blobs/{digest}") { [self] _, context -> Response in
                guard let bytes = state.withLock({ $0.blobs[context.parameters.get("digest") ?? ""] }) else {
                    return Response(status: .notFound)
                }
                return Response(status: .ok, body: .init(byteBuffer: ByteBuffer(bytes: bytes)))
            }
            router.post("/v2/acme/tool/blobs/uploads") { [self] _, _ -> Response in
                Response(status: .accepted, headers: [.location: state.withLock { $0.location }])
            }
            router.put("/v2/acme/tool/blobs/uploads/1") { [self] request, _ -> Response in
                let bytes = Array(buffer: try await request.body.collect(upTo: 1 << 20))
                let digest = request.uri.queryParameters.get("digest") ?? ""
                return state.withLock { state in
                    if state.failures > 0 {
                        state.failures -= 1
                        return Response(status: .serviceUnavailable)
                    }
                    state.blobs[digest] = bytes
                    state.calls.append("blob")
                    return Response(status: .created)
                }
            }
            router.put("/v2/acme/tool/manifests/{reference}") { [self] request, context -> Response in
                let bytes = Array(buffer: try await request.body.collect(upTo: 1 << 20))
                let reference = context.parameters.get("reference") ?? ""
                state.withLock { state in
                    state.manifests[reference] = bytes
                    state.calls.append(reference)
                }
                return Response(status: .created)
            }
            router.get("/v2/acme/tool/manifests/{reference}") { [self] _, context -> Response in
                guard let bytes = state.withLock({ $0.manifests[context.parameters.get("reference") ?? ""] }) else {
                    return Response(status: .notFound)
                }
                return Response(status: .ok, body: .init(byteBuffer: ByteBuffer(bytes: bytes)))
            }
            return router
        }
    }

    private func tool() throws -> CargoName { try #require(CargoName("acme/tool")) }

    private func blob(_ bytes: [UInt8]) -> Descriptor {
        Descriptor(mediaType: "application/octet-stream", digest: Digest(of: bytes), size: Int64(bytes.count))
    }

    @Test func `a blob out of the middle of a file arrives, also at the second try, and is not sent twice`() async throws {
        let scratch = try Scratch()
        try scratch.write("before-CONTENT-after", to: "file")
        let file = try File.open(scratch.path.appending("file"))
        let registry = FakeRegistry()
        registry.state.withLock { $0.failures = 1 }
        let name = try tool()
        let content = blob(Array("CONTENT".utf8))
        try await serving(registry.router) { client in
            let there = RegistryClient(client, name: name)
            let first = try await there.push(blob: content, from: file, offset: 7)
            let second = try await there.push(blob: content, from: file, offset: 7)
            #expect(first && !second)
        }
        #expect(registry.state.withLock { $0.blobs[content.digest.description] } == Array("CONTENT".utf8))
        #expect(registry.state.withLock { $0.calls } == ["blob"])
    }

    @Test(arguments: ["http://elsewhere.example/upload", "//elsewhere.example/upload", "upload"])
    func `an upload that leads to another origin does not get the credential`(location: String) async throws {
        let scratch = try Scratch()
        try scratch.write("x", to: "file")
        let file = try File.open(scratch.path.appending("file"))
        let registry = FakeRegistry()
        registry.state.withLock { $0.location = location }
        let name = try tool()
        try await serving(registry.router) { client in
            await #expect(throws: ClientError.self) {
                try await RegistryClient(client, name: name).push(blob: blob([120]), from: file, offset: 0)
            }
        }
    }

    @Test func `bytes other than their digest says are refused`() async throws {
        let registry = FakeRegistry()
        let honest = blob(Array("honest".utf8))
        registry.state.withLock {
            $0.blobs[honest.digest.description] = Array("forged".utf8)
            $0.manifests[honest.digest.description] = Array("forged".utf8)
        }
        let name = try tool()
        try await serving(registry.router) { client in
            let there = RegistryClient(client, name: name)
            await #expect(throws: Refusal.self) { try await there.blob(honest) { _ in } }
            await #expect(throws: Refusal.self) { try await there.manifest(honest.digest.description) }
        }
    }

    @Test func `a registry that does not know referrers has none`() async throws {
        let name = try tool()
        try await serving(FakeRegistry().router) { client in
            let referrers = try await RegistryClient(client, name: name).referrers(of: Digest(of: [1]))
            #expect(referrers.isEmpty)
        }
    }
}
