import CCurl
import Testing

@testable import CargoTransfer

/// The decisions of a transfer, without files and network.
@Suite struct TransferDecisionTests {
    @Test func piecesAreTakenLowestFirstAndOnce() throws {
        var map = try #require(PieceMap(size: 25, pieceSize: 10))
        #expect(map.count == 3)
        #expect(map.length(of: 2) == 5)
        let taken = [map.take(), map.take(), map.take(), map.take()]
        #expect(taken == [0, 1, 2, nil])
        map.giveBack(1)
        let again = map.take()
        #expect(again == 1)
        map.add(10, to: 1)
        #expect(map.prefix == 0)
        map.add(10, to: 0)
        #expect(map.prefix == 20)
        map.add(5, to: 2)
        #expect(map.isWhole && map.total == 25 && map.prefix == 25)
    }

    @Test func aDiscardedPieceIsMissingAgainUntilItIsHopeless() throws {
        var map = try #require(PieceMap(size: 20, pieceSize: 10, received: [10, 10]))
        #expect(map.isWhole)
        let first = map.discard(0)
        #expect(first && !map.isWhole && map.prefix == 0 && map.total == 10)
        let next = map.take()
        #expect(next == 0)
        let others = [map.discard(0), map.discard(0)]
        #expect(others == [true, false])
    }

    @Test func senselessMapsAreNoMaps() {
        #expect(PieceMap(size: -1, pieceSize: 10) == nil)
        #expect(PieceMap(size: 10, pieceSize: 0) == nil)
        #expect(PieceMap(size: .max, pieceSize: 1) == nil)
        #expect(PieceMap(size: 10, pieceSize: 10, received: [11]) == nil)
        #expect(PieceMap(size: 10, pieceSize: 10, received: [1, 2]) == nil)
        #expect(PieceMap(size: 0, pieceSize: 10)?.isWhole == true)
    }

    @Test func waitsDoubleWithJitterUntilPatienceEnds() {
        var options = TransferOptions()
        options.firstWait = .milliseconds(100)
        options.longestWait = .seconds(1)
        options.patience = .seconds(60)
        let start = ContinuousClock.now
        var retry = RetrySchedule(options, now: start)
        var random = SplitMix(state: 1)
        for expected in [100, 200, 400, 800, 1000, 1000] {
            let next = retry.next(at: start, using: &random)
            #expect(next.map { (.milliseconds(expected / 2)...Duration.milliseconds(expected)).contains($0 - start) } == true)
        }
        let asked = [7, 700].map { retry.next(at: start, asked: .seconds($0), using: &random) }
        #expect(asked == [start + .seconds(7), start + .seconds(60)])
        let over = retry.next(at: start + .seconds(60), using: &random)
        #expect(over == nil)
        retry.progressed(at: start + .seconds(60))
        let next = retry.next(at: start + .seconds(60), using: &random)
        #expect(next.map { $0 - start <= .milliseconds(60_100) } == true)
    }

    @Test func originsAreSchemeHostAndPort() throws {
        #expect(WebOrigin("http://Host/x") == WebOrigin("http://host:80/y?z"))
        #expect(WebOrigin("https://host/x") == WebOrigin("https://host:443"))
        #expect(WebOrigin("https://host") != WebOrigin("http://host:443"))
        #expect(WebOrigin("https://[::1]:8443/x")?.port == 8443)
        for url in [
            "", "host/x", "file:///x", "http://", "http://a@b/", "http://h:x/", "http://h:0/", "http://h:99999/", "http://h\\@e/",
        ] {
            #expect(WebOrigin(url) == nil, "\(url)")
        }
        let secure = try #require(WebOrigin("https://a"))
        let other = try #require(WebOrigin("https://b"))
        #expect(Redirect.decide(from: secure, to: "https://b/x", hops: 0) == .follow(other))
        for (url, hops) in [("http://a/x", 0), ("https://a/x", 5), ("javascript:1", 0), ("", 0)] {
            guard case .refuse = Redirect.decide(from: secure, to: url, hops: hops) else {
                Issue.record("\(url) was followed")
                continue
            }
        }
    }

    private func head(_ lines: [String]) -> AnswerHead {
        var head = AnswerHead()
        for line in lines { head.take(line: line + "\r\n") }
        return head
    }

    @Test func anAnswerSaysWhereItsBytesBelong() throws {
        let partial = head(["HTTP/1.1 100 Continue", "", "HTTP/1.1 206 Partial", "Content-Range: bytes 10-19/100", ""])
        #expect(try partial.start(asked: 10...19, size: 100) == 10)
        #expect(try head(["HTTP/1.1 206 x", "content-range: bytes 10-15/*"]).start(asked: 10...19, size: 100) == 10)
        #expect(try head(["HTTP/2 200", "Content-Length: 100"]).start(asked: 10...19, size: 100) == 0)
        #expect(head(["HTTP/1.1 503 x", "Retry-After: 3"]).retryAfter == .seconds(3))
        let wrong: [[String]] = [
            ["HTTP/1.1 206 x", "Content-Range: bytes 0-19/100"], ["HTTP/1.1 206 x", "Content-Range: bytes 10-20/100"],
            ["HTTP/1.1 206 x", "Content-Range: bytes 10-19/101"], ["HTTP/1.1 206 x"],
            ["HTTP/1.1 206 x", "Content-Range: bytes 19-10/100"], ["HTTP/1.1 200 x", "Content-Length: 99"],
            ["HTTP/1.1 200 x", "Content-Encoding: gzip"],
        ]
        for lines in wrong { #expect(throws: TransferFailure.self) { try head(lines).start(asked: 10...19, size: 100) } }
    }

    @Test func addressesInsideNetworksAreKnownInEveryDisguise() {
        let inside = [
            "127.0.0.1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "198.18.0.1", "::1",
            "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "fd00::1", "fc00::1", "2002:7f00:1::", "64:ff9b:1::1",
            "2001:0:1::1", "fec0::1",
        ]
        for text in inside { #expect(ccurl_address_class(text) == 1, "\(text)") }
        for text in [
            "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "fe80::1", "ff02::1", "::", "::ffff:169.254.1.1",
            "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "::7f00:2",
        ] { #expect(ccurl_address_class(text) == 2, "\(text)") }
        for text in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1", "::ffff:8.8.8.8", "2002:808:808::"] {
            #expect(ccurl_address_class(text) == 0, "\(text)")
        }
        #expect(ccurl_address_class("host") == -1)
    }

    @Test func rateIsThatOfTheLastSeconds() {
        var meter = RateMeter()
        let start = ContinuousClock.now
        let first = meter.progress(received: 0, size: 1000, at: start)
        #expect(first.bytesPerSecond == nil)
        let second = meter.progress(received: 100, size: 1000, at: start + .seconds(1))
        #expect(second.secondsLeft == 9)
        for second in 2...30 { _ = meter.progress(received: 100, size: 1000, at: start + .seconds(second)) }
        let last = meter.progress(received: 100, size: 1000, at: start + .seconds(31))
        #expect(last.secondsLeft == nil)
    }

    @Test func authoritiesComeFromTheUsualVariables() {
        func read(_ variables: [String: String]) -> CertificateAuthorities { .from { variables[$0] } }
        #expect(read([:]) == CertificateAuthorities())
        #expect(read(["SSL_CERT_FILE": "a", "SSL_CERT_DIR": "d"]) == CertificateAuthorities(file: "a", folder: "d"))
        #expect(read(["SSL_CERT_FILE": "a", "CURL_CA_BUNDLE": "b"]).file == "b")
        #expect(read(["CURL_CA_BUNDLE": "", "SSL_CERT_FILE": "a"]).file == "a")
        #expect(CertificateAuthorities.proxyIsSet { $0 == "https_proxy" ? "http://p" : nil })
        #expect(!CertificateAuthorities.proxyIsSet { _ in "" })
    }
}
