import CargoArtifact
import Testing

@Suite("Image references")
struct ImageReferenceTests {
    static let digest = "sha256:" + String(repeating: "ab", count: 32)

    @Test(
        "A reference is read as Docker reads it",
        arguments: [
            ("alpine", "docker.io/library/alpine:latest"), ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("acme/tool", "docker.io/acme/tool:latest"), ("docker.io/alpine:1", "docker.io/library/alpine:1"),
            ("index.docker.io/acme/tool", "docker.io/acme/tool:latest"), ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
            ("127.0.0.1:8080/acme/tool:v1", "127.0.0.1:8080/acme/tool:v1"), ("localhost/x", "localhost/x:latest"),
            ("alpine@\(digest)", "docker.io/library/alpine@\(digest)"), ("a/b:1@\(digest)", "docker.io/a/b:1@\(digest)"),
            ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest"),
        ])
    func reads(text: String, whole: String) {
        #expect(ImageReference(text)?.description == whole)
        #expect(ImageReference(whole)?.description == whole)
    }

    @Test(
        "What is no reference is not read",
        arguments: [
            "", "Alpine", "alpine:", "alpine:-1", "alpine@sha256:00", "a//b", "/a", "a/", "a b", "-a", "a..b", "a___b",
            "ex.ample/", "http://a/b",
            "host.tld:99999/a", "a:b:c", "é", String(repeating: "a", count: 600), "a/../b", "a\nb", "_.io/x",
        ])
    func refuses(text: String) {
        #expect(ImageReference(text) == nil)
    }
}
