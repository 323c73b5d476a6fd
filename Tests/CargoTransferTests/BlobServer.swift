import Foundation
import Synchronization

/// A small HTTP server in a process of its own, which misbehaves as a test asks and can be killed.
final class BlobServer: Sendable {
    /// How it misbehaves.
    struct Manners: Sendable {
        /// Kills itself (SIGKILL) once it has sent this many body bytes in one life.
        var dieAfter: Int?
        /// Flips a byte at this offset the first time that it is sent.
        var damageOnce: Int?
        /// Flips it always.
        var damageAlways: Int?
        var ranges = true
        /// Sends half of the first answer, then nothing.
        var stallOnce = false
        /// Answers this status so many times first.
        var failFirst: (status: Int, times: Int)?
        /// Redirects every request there.
        var redirect: String?
        /// Pretends that the file is longer by so many bytes.
        var pretend = 0
        /// Bytes a second and connection.
        var rate: Int?
        /// Sends no more once it has sent this many body bytes, until it is released.
        var holdAfter: Int?
    }

    let port: Int
    private let script: URL
    private let arguments: [String]
    private let log: URL
    private let releaseMark: URL
    private let process = Mutex<Process?>(nil)
    /// One element a death.
    private let deaths: AsyncStream<Void>
    private let onDeath: @Sendable () -> Void

    /// Starts the server over `file`; its marks and log lie in `folder`.
    init(_ file: URL, manners: Manners = Manners(), folder: URL) async throws {
        let id = UUID().uuidString
        script = folder.appending(path: id + ".py")
        log = folder.appending(path: id + ".log")
        releaseMark = folder.appending(path: id + ".release")
        let options: [String: Any] = [
            "file": file.path, "log": log.path, "mark": folder.appending(path: id + ".mark").path,
            "dieAfter": manners.dieAfter ?? -1, "damageOnce": manners.damageOnce ?? -1,
            "damageAlways": manners.damageAlways ?? -1, "ranges": manners.ranges, "stallOnce": manners.stallOnce,
            "failStatus": manners.failFirst?.status ?? 0, "failTimes": manners.failFirst?.times ?? 0,
            "redirect": manners.redirect ?? "", "pretend": manners.pretend, "rate": manners.rate ?? 0,
            "holdAfter": manners.holdAfter ?? -1, "release": folder.appending(path: id + ".release").path,
        ]
        arguments = [String(decoding: try JSONSerialization.data(withJSONObject: options), as: UTF8.self)]
        try Self.source.write(to: script, atomically: true, encoding: .utf8)
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(16))
        deaths = stream
        onDeath = { continuation.yield() }
        port = try Self.launch(script, arguments + ["0"], into: process, onEnd: onDeath)
    }

    deinit {
        process.withLock { process in
            if let process, process.isRunning { kill(process.processIdentifier, SIGKILL) }
        }
    }

    var url: String { "http://127.0.0.1:\(port)/blob" }

    /// Starts it again on the same port each time it dies; `lives` in all. Returns when it is in its last life.
    func reviveUntil(lives: Int) async throws {
        var left = lives - 1
        for await _ in deaths where left > 0 {
            _ = try Self.launch(script, arguments + ["\(port)"], into: process, onEnd: onDeath)
            left -= 1
            if left == 0 { return }
        }
    }

    /// Lets a held server go on.
    func release() { _ = FileManager.default.createFile(atPath: releaseMark.path, contents: nil) }

    /// What it was asked, a line each: range, then the Authorization header.
    var requests: [String] {
        ((try? String(contentsOf: log, encoding: .utf8)) ?? "").split(separator: "\n").map(String.init)
    }

    private static func launch(
        _ script: URL, _ arguments: [String], into slot: borrowing Mutex<Process?>, onEnd: @escaping @Sendable () -> Void
    ) throws -> Int {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
        process.arguments = [script.path] + arguments + ["\(getpid())"]
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        process.terminationHandler = { _ in onEnd() }
        try process.run()
        slot.withLock { $0 = process }
        // The first line is the port: reading it waits until the server listens.
        var line = ""
        while !line.hasSuffix("\n") {
            let byte = pipe.fileHandleForReading.readData(ofLength: 1)
            guard !byte.isEmpty else { throw CocoaError(.fileReadUnknown) }
            line += String(decoding: byte, as: UTF8.self)
        }
        return Int(line.dropLast()) ?? 0
    }

    private static let source = """
        import http.server, json, os, signal, socketserver, sys, threading, time
        o = json.loads(sys.argv[1]); size = os.path.getsize(o["file"]); sent = 0; lock = threading.Lock()
        state = {"fail": o["failTimes"], "stall": o["stallOnce"]}
        def once():
            try: os.close(os.open(o["mark"], os.O_CREAT | os.O_EXCL)); return True
            except FileExistsError: return False
        class H(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def log_message(self, *a): pass
            def setup(self):
                super().setup(); self.connection.setsockopt(6, 1, 1)
            def do_GET(self):
                global sent
                with lock:
                    open(o["log"], "a").write(f"{self.headers.get('Range')} {self.headers.get('Authorization')}\\n")
                    fail = state["fail"] > 0; state["fail"] -= fail
                    stall = state["stall"]; state["stall"] = False
                if fail: self.send_response(o["failStatus"]); self.send_header("Content-Length", "0"); self.end_headers(); return
                if o["redirect"]:
                    self.send_response(307); self.send_header("Location", o["redirect"]); self.send_header("Content-Length", "0")
                    self.end_headers(); return
                total = size + o["pretend"]; first, last = 0, total - 1
                r = self.headers.get("Range")
                if r and o["ranges"]:
                    a, b = r[6:].split("-"); first = int(a); last = min(int(b), total - 1)
                    self.send_response(206); self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
                else: self.send_response(200)
                self.send_header("Content-Length", str(last - first + 1)); self.end_headers()
                at = first
                with open(o["file"], "rb") as f:
                    f.seek(first)
                    while at <= last:
                        piece = bytearray(f.read(min(1 << 18, last + 1 - at)))
                        if not piece: piece = bytearray(min(1 << 18, last + 1 - at))
                        for key in ("damageOnce", "damageAlways"):
                            d = o[key]
                            if at <= d < at + len(piece) and (key == "damageAlways" or once()): piece[d - at] ^= 1
                        if stall and at > first: time.sleep(3600)
                        self.wfile.write(piece); at += len(piece)
                        while 0 <= o["holdAfter"] <= sent and not os.path.exists(o["release"]): time.sleep(0.005)
                        if o["rate"]: time.sleep(len(piece) / o["rate"])
                        with lock:
                            sent += len(piece)
                            if 0 <= o["dieAfter"] <= sent: os.kill(os.getpid(), signal.SIGKILL)
        class S(socketserver.ThreadingTCPServer):
            allow_reuse_address = True; daemon_threads = True; request_queue_size = 128
        for _ in range(500):
            try: s = S(("127.0.0.1", int(sys.argv[2])), H); break
            except OSError: time.sleep(0.01)
        else: sys.exit(1)
        def follow():
            # Ends with the test process, however that ends.
            while os.getppid() == int(sys.argv[3]): time.sleep(0.2)
            os._exit(0)
        threading.Thread(target=follow, daemon=True).start()
        print(s.server_address[1], flush=True)
        s.serve_forever()
        """
}
