import Glibc
import Testing

@testable import CargoSandbox

@Suite struct EgressTests {
    @Test(arguments: ["example.org:443", "Example.ORG.:443", "[2001:db8::1]:80", "a_b-c.d:1"]) func targetsAreRead(text: String) {
        #expect(EgressTarget(text) != nil)
    }

    @Test(arguments: [
        "example.org", "example.org:0", "example.org:70000", ":443", "*.example.org:443", "a b:1", "http://x:1", "::1:80",
        "user@x:1",
    ])
    func whatIsNoExactTargetIsRefused(text: String) {
        #expect(EgressTarget(text) == nil)
    }

    @Test func caseAndClosingDotMakeNoDifference() {
        #expect(EgressTarget("Example.ORG.:443") == EgressTarget("example.org:443"))
    }

    @Test(
        arguments: [
            [0, 0, 0, 0], [10, 1, 1, 1], [100, 64, 0, 1], [127, 0, 0, 1], [169, 254, 169, 254], [172, 16, 0, 1],
            [172, 31, 255, 255],
            [192, 168, 1, 1], [198, 18, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255],
        ] as [[UInt8]]) func privateAddressesAreNotPublic(address: [UInt8])
    {
        #expect(!PublicAddress.isPublic(v4: address))
    }

    @Test(
        arguments: [[1, 1, 1, 1], [100, 63, 0, 1], [100, 128, 0, 1], [172, 15, 0, 1], [172, 32, 0, 1], [192, 169, 0, 1]]
            as [[UInt8]])
    func theirNeighboursArePublic(address: [UInt8]) {
        #expect(PublicAddress.isPublic(v4: address))
    }

    @Test func formsOfSixThatCarryFourAreNotPublic() {
        func padded(_ start: [UInt8]) -> [UInt8] { start + [UInt8](repeating: 0, count: 16 - start.count) }
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1]
        let others: [[UInt8]] = [
            mapped, padded([0x00, 0x64, 0xff, 0x9b]), padded([0x20, 0x02, 127, 0, 0, 1]), padded([0x20, 0x01, 0, 0]),
            padded([0xfe, 0x80]),
            padded([0xfc]), padded([]),
        ]
        for address in others { #expect(!PublicAddress.isPublic(v6: address)) }
        #expect(PublicAddress.isPublic(v6: padded([0x26, 0x06, 0x47, 0x00])))
    }

    @Test func onlyAConnectRequestNamesATarget() {
        #expect(EgressProxy.target(of: "CONNECT example.org:443 HTTP/1.1\r\nHost: x") == EgressTarget("example.org:443"))
        #expect(EgressProxy.target(of: "GET http://example.org/ HTTP/1.1") == nil)
        #expect(EgressProxy.target(of: "CONNECT example.org:443") == nil)
    }

    /// Speaks CONNECT by hand and prints the status line and what the target says.
    private let client = """
        import socket,sys
        def ask(target):
            s=socket.create_connection(('127.0.0.1',3128));s.sendall(b'CONNECT '+target.encode()+b' HTTP/1.1\\r\\n\\r\\n')
            data=b''
            while True:
                more=s.recv(4096)
                if not more: break
                data+=more
            print(data.split(b'\\r\\n')[0].decode().split(' ',1)[1], '|', data.split(b'\\r\\n\\r\\n',1)[1].decode().strip())
        for t in sys.argv[1:]: ask(t)
        try: socket.create_connection(('127.0.0.1',int(sys.argv[1].split(':')[1])),timeout=2); print('direct')
        except OSError as e: print('no way around')
        """

    @Test func aJobReachesItsTargetsAndNothingElse() async throws {
        let server = try Greeter()
        let allowed = "127.0.0.1:\(server.port)"
        let result = try await Bench.run(["/usr/bin/python3", "-c", client, allowed, "example.org:443"]) {
            $0.network = .egress([EgressTarget(allowed)!], privateAddresses: true)
        }
        #expect(result.standardError == "")
        #expect(
            result.standardOutput
                == "200 Connection established | hello from outside\n403 Forbidden | example.org:443 is not among the targets of this cargo\nno way around\n"
        )
    }

    @Test func aPrivateAddressIsRefusedUnlessTheOperatorAllowsIt() async throws {
        let server = try Greeter()
        let allowed = "127.0.0.1:\(server.port)"
        let result = try await Bench.run(["/usr/bin/python3", "-c", client, allowed]) {
            $0.network = .egress([EgressTarget(allowed)!], privateAddresses: false)
        }
        #expect(result.standardOutput.hasPrefix("502 Bad Gateway"))
    }
}

/// A server on the host that greets everyone.
private final class Greeter: Sendable {
    let port: UInt16
    private let listener: Descriptor

    init() throws {
        let listener = Descriptor(try check("socket") { socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0) })
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = try check("bind") {
            withUnsafePointer(to: name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(listener.number, $0, size) }
            }
        }
        _ = try check("listen") { listen(listener.number, 8) }
        _ = withUnsafeMutablePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(listener.number, $0, &size) }
        }
        port = UInt16(bigEndian: name.sin_port)
        self.listener = listener
        OwnThread.start(name: "greeter") {
            while true {
                let client = accept(listener.number, nil, nil)
                if client < 0 { return }
                _ = send(client, "hello from outside\n", 19, Int32(MSG_NOSIGNAL))
                close(client)
            }
        }
    }

    deinit { shutdown(listener.number, Int32(SHUT_RDWR)) }
}
