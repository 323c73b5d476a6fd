import CargoArtifact
import Testing

@testable import CargoWebhooks

@Suite("Where a webhook may go")
struct AddressTests {
    @Test(
        "Special addresses are refused in every form",
        arguments: [
            "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
            "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1", "2001::1",
            "2001:10::1", "2001:db8::1", "2002:7f00:1::", "2002:0808:0808::1", "3fff::1", "5f00::1", "fc00::1", "fd12:3456::1",
            "fe80::1", "febf::1", "fec0::1", "ff02::1", "4000::1", "1::1",
        ])
    func special(_ text: String) throws {
        let address = try #require(IPAddress(text))
        #expect(AddressPolicy().refusal(of: address) != nil)
    }

    @Test(
        "Public addresses are dialled",
        arguments: [
            "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
            "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.167.255.255", "198.17.255.255", "198.20.0.0",
            "223.255.255.255",
            "2001:4860:4860::8888", "2606:4700:4700::1111", "2a00:1450::1", "2400::1",
        ])
    func ordinary(_ text: String) throws {
        let address = try #require(IPAddress(text))
        #expect(AddressPolicy().refusal(of: address) == nil)
    }

    @Test func `every line of the table is a block`() {
        #expect(AddressPolicy.specialCount == 33)
    }

    @Test func `what the operator allows is dialled and nothing beside it`() throws {
        let policy = AddressPolicy(allowed: [try #require(AddressBlock("10.0.0.0/8")), try #require(AddressBlock("fd00::/48"))])
        func refused(_ text: String) throws -> Bool { policy.refusal(of: try #require(IPAddress(text))) != nil }
        #expect(try !refused("10.255.0.1"))
        #expect(try refused("11.0.0.1") == false)
        #expect(try refused("::ffff:10.0.0.1"))
        #expect(try refused("192.168.0.1"))
        #expect(try !refused("fd00::1"))
        #expect(try refused("fd00:0:1::1"))
    }

    @Test(
        "An address has one spelling",
        arguments: ["127.1", "0177.0.0.1", "0x7f.0.0.1", "2130706433", "127.0.0.1 ", "1.2.3", "::1%lo"])
    func oddSpelling(_ text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test(
        "Odd URLs are refused",
        arguments: [
            "", "example.com", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com", "//example.com/",
            "http:/example.com",
            "http://", "http:///x", "http://user@example.com/", "http://user:pw@example.com/", "http://example.com#f",
            "http://example.com:0/", "http://example.com:65536/", "http://example.com:+80/", "http://example.com:80:80/",
            "http://127.1/", "http://0x7f000001/", "http://2130706433/", "http://0177.0.0.1/", "http://127.0.0.1./",
            "http://[::1/", "http://[127.0.0.1]/", "http://[fe80::1%25eth0]/", "http://exa mple.com/", "http://ex\u{e4}mple.com/",
            "http://example.com\\@evil.com/", "http://-a.com/", "http://a..b/", "http://a_b.com/", "http://example.com/\u{0}",
            "http://example.com/\r\nX: y", "http://1.2.3.4.5/",
        ])
    func oddURL(_ text: String) {
        #expect(throws: Refusal.self) { try WebhookURL(text) }
    }

    @Test func `a URL is read into its parts and written in one spelling`() throws {
        let url = try WebhookURL("HTTPS://Example.COM:8443/a/b?c=d%20e")
        #expect(url.scheme == "https")
        #expect(url.host == .name("example.com"))
        #expect(url.port == 8443)
        #expect(url.description == "https://example.com:8443/a/b?c=d%20e")
        #expect(try WebhookURL("http://example.com?x").description == "http://example.com/?x")
        #expect(try WebhookURL("http://[2001:DB8:0::1]/").description == "http://[2001:db8::1]/")
        #expect(throws: Refusal.self) { try WebhookURL("http://example.com/" + String(repeating: "a", count: 2048)) }
    }

    @Test func `an address in the URL is refused at submit already`() throws {
        let url = try WebhookURL("http://169.254.169.254/latest/meta-data/")
        #expect(throws: Refusal.self) { try url.check(AddressPolicy()) }
        try WebhookURL("http://example.com/").check(AddressPolicy())
    }
}
