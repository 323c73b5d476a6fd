import Foundation
import TestStage
import Testing

/// Ordinary images and root file systems as cargos: in our sandbox without any engine, and in Docker with the same words.
@Suite struct ImageJourney {
    let stage: Stage

    init() throws { stage = try Stage() }

    /// Runs a shell script in the stage's folder.
    @discardableResult
    private func shell(_ script: String) async throws -> Finished {
        try await stage.run("/bin/sh", "-ec", script).orFail("a script that prepares the test")
    }

    /// A root file system of busybox in `NAME`, with absolute links as distributions have them.
    private func busybox(_ name: String) async throws {
        try await shell(
            """
            mkdir -p \(name)/bin \(name)/etc \(name)/usr \(name)/opt; cp "$(command -v busybox)" \(name)/bin/busybox
            for a in sh cat ls echo env id pwd sort wc touch readlink stat; do ln -s /bin/busybox \(name)/bin/$a; done
            ln -s /bin \(name)/usr/bin; echo low > \(name)/etc/release; ln -s /etc/release \(name)/opt/release
            """)
    }

    private func pack(_ yaml: String, in folder: String, as file: String) async throws -> String {
        try stage.write(yaml, to: folder + "/cargo.yaml")
        try await stage.run("longshore", "pack", stage.path(folder), "-o", stage.path(file)).orFail("pack")
        return stage.path(file)
    }

    /// An OCI layout `NAME.oci` of two layers: busybox, and changes over it. `config` is the image's own.
    private func layout(_ name: String, config: String) async throws {
        try await busybox("low")
        try await shell(
            """
            mkdir -p high/etc high/srv; echo high > high/etc/new; : > high/etc/.wh.release; : > high/.wh.opt; chmod -R a+rX high
            mkdir -p \(name).oci/blobs/sha256; b=\(name).oci/blobs/sha256
            put() { s=$(sha256sum "$1" | cut -c1-64); cp "$1" $b/$s; echo $s; }
            for l in low high; do
                tar -C $l --sort=name --owner=0 --group=0 -cf $l.tar .; gzip -nk $l.tar
                eval "d_$l=$(sha256sum $l.tar | cut -c1-64) b_$l=$(put $l.tar.gz) s_$l=$(stat -c %s $l.tar.gz)"
            done
            printf '{"architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s","sha256:%s"]}}' \
                "$(dpkg --print-architecture)" '\(config)' $d_low $d_high > config.json
            c=$(put config.json); t=application/vnd.oci.image
            printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"%s.layer.v1.tar+gzip","digest":"sha256:%s","size":%s},{"mediaType":"%s.layer.v1.tar+gzip","digest":"sha256:%s","size":%s}]}' \
                $t $t $c $(stat -c %s config.json) $t $b_low $s_low $t $b_high $s_high > manifest.json
            m=$(put manifest.json); printf '{"imageLayoutVersion":"1.0.0"}' > \(name).oci/oci-layout
            printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json","digest":"sha256:%s","size":%s}]}' \
                $t $m $(stat -c %s manifest.json) > \(name).oci/index.json
            """)
    }

    @Test func `a root file system is the cargo's root, as folder, tar and compressed tar alike`() async throws {
        try await busybox("root")
        try await shell("mkdir a b c; mv root a/root; tar -C a/root -cf b/root.tar .; gzip -c b/root.tar > c/root.tar.gz")
        var said: Set<String> = []
        for (folder, image) in [("a", "root"), ("b", "root.tar"), ("c", "root.tar.gz")] {
            let yaml = """
                name: test/root
                version: 1.0.0
                kind: process
                rootfs: layers
                image: \(image)
                command: [sh, -c, "cat /opt/release; pwd; ls /cargo; ls /; ls /usr/bin/sh"]
                """
            let archive = try await pack(yaml, in: folder, as: folder + ".cargo")
            let ran = try await stage.run("cargo-run", archive, "--unsigned")
            #expect(ran.code == 0, "\(ran.stderr)")
            said.insert(ran.text)
        }
        #expect(said == ["low\n/\nbin\ncargo\ndev\netc\njob\nopt\nproc\ntmp\nusr\n/usr/bin/sh\n"])
    }

    @Test func `whiteouts, absolute links and the image's own wishes hold without an engine`() async throws {
        try await layout(
            "image",
            config:
                #"{"Env":["PATH=/nowhere","HOME=/root","GREETING=from the image","LD_PRELOAD=/evil.so"],"Entrypoint":["sh","-c"],"Cmd":["cat /etc/new; ls /etc /opt; echo $GREETING $HOME; env | sort | cut -d= -f1; pwd; : > /data/x; ls /data"],"WorkingDir":"/srv","Volumes":{"/data":{}}}"#
        )
        try await shell("mkdir src; tar -C image.oci -cf src/image.tar .")
        let archive = try await pack(
            "name: test/image\nversion: 1.0.0\nkind: container\nimage: image.tar\n", in: "src", as: "i.cargo")
        let ran = try await stage.run("cargo-run", archive, "--unsigned", "--backend", "sandbox")
        #expect(ran.code == 0, "\(ran.stderr)")
        let names = [
            "CARGO_INPUT", "CARGO_JOB_ID", "CARGO_NAME", "CARGO_OUTPUT", "CARGO_PARAMS", "CARGO_SOCKET", "CARGO_VERSION",
        ]
        let expected =
            ["high", "/etc:", "hosts", "new", "from the image /tmp"] + names
            + ["GREETING", "HOME", "PATH", "PWD", "SHLVL", "TMPDIR", "/srv", "x"]
        let lines = ran.text.split(separator: "\n").map(String.init)
        #expect(lines.filter { !["OLDPWD", "_"].contains($0) } == expected, "\(ran.stderr)")
        #expect(ran.stderr.contains("/opt"), "what the upper layer removed is still there: \(ran.stderr)")
    }

    @Test func `a layer that puts links where the runtime mounts changes nothing`() async throws {
        try await busybox("root")
        try await shell(
            """
            mkdir src; cd root; ln -s /etc proc; ln -s / job; ln -s /etc dev; ln -s /etc cargo; rm -rf tmp; ln -s /etc tmp
            ln -s /etc sys; cd ..; tar -C root -cf src/root.tar .
            """)
        let script = "ls /proc/self/status /dev/null /job /cargo; : > /tmp/x; ls /tmp; cat /etc/release; readlink /sys"
        try stage.write(script, to: "src/main.sh")
        let archive = try await pack(
            """
            name: test/links
            version: 1.0.0
            kind: process
            rootfs: layers
            image: root.tar
            command: [sh, main.sh]
            """, in: "src", as: "l.cargo")
        let ran = try await stage.run("cargo-run", archive, "--unsigned")
        #expect(ran.code == 0, "\(ran.stderr)")
        #expect(
            ran.text
                == "/dev/null\n/proc/self/status\n\n/cargo:\nmain.sh\n\n/job:\ninput\noutput\nparams.json\nrun\nx\nlow\n/etc\n",
            "\(ran.text)")
    }

    @Test(.enabled(if: ContainerEngine.isHere, "needs root and dockerd"))
    func `the same container cargo says the same in Docker and in our sandbox`() async throws {
        try await layout("image", config: #"{"Env":["GREETING=hello"],"Entrypoint":["sh"],"WorkingDir":"/srv"}"#)
        try await shell("mkdir src process; cp -r image.oci src/image; cp -r image.oci process/image")
        let script = """
            echo $GREETING $HOME $PATH; pwd; ls /etc/new /etc/release /opt; cat /job/params.json /job/input/data
            echo "$@"; cat /cargo/main.sh | wc -c; echo result > $CARGO_OUTPUT/result; mkdir $CARGO_OUTPUT/d; echo deep > $CARGO_OUTPUT/d/f
            touch /etc/x /cargo/x /job/input/x; : > /tmp/x && echo wrote; exit 7
            """
        try stage.write(script, to: "src/main.sh")
        try stage.write(script, to: "process/main.sh")
        try stage.write("input\n", to: "data")
        let container = try await pack(
            "name: test/same\nversion: 1.0.0\nkind: container\nimage: {bundled: image}\ncommand: [sh, main.sh]\n", in: "src",
            as: "container.cargo")
        let process = try await pack(
            "name: test/same\nversion: 1.0.0\nkind: process\nrootfs: layers\nimage: image\ncommand: [sh, main.sh]\n",
            in: "process", as: "process.cargo")
        let engine = try ContainerEngine()
        try await engine.ready()
        var said: [String] = []
        for (archive, backend) in [
            (container, "docker"), (container, "sandbox"), (container, "auto"), (process, "docker"), (process, "auto"),
        ] {
            let place = stage.path("out-\(said.count)")
            let ran = try await stage.start(
                [
                    "cargo-run", archive, "--unsigned", "--backend", backend, "--param", "n=1", "--input", stage.path("data"),
                    "--output", place, "--", "one", "two words",
                ], environment: ["DOCKER_HOST": engine.address]
            ).finish()
            #expect(ran.code == 7, "\(backend): \(ran.stderr)")
            let outputs = try ["result", "d/f"].map { try String(contentsOfFile: place + "/" + $0, encoding: .utf8) }
            let complaints = ran.stderr.split(separator: "\n").filter { $0.hasPrefix("touch:") || $0.hasPrefix("ls:") }
            said.append(([ran.text] + outputs + complaints.map(String.init)).joined(separator: "|"))
        }
        #expect(Set(said).count == 1, "\(said.joined(separator: "\n----\n"))")
        #expect(said[0].hasPrefix("hello /tmp /usr/local/sbin:"), "\(said[0])")
        withExtendedLifetime(engine) {}
    }

    @Test func `auto runs a carried image in the sandbox where no engine answers, and says what a named one needs`() async throws
    {
        try await busybox("root")
        try await shell("mkdir src named; mv root src/root")
        let carried = try await pack(
            "name: test/auto\nversion: 1.0.0\nkind: container\nimage: {bundled: root}\ncommand: [echo, here]\n", in: "src",
            as: "a.cargo")
        let nowhere = ["DOCKER_HOST": "unix://" + stage.path("nowhere.sock")]
        let ran = try await stage.run("cargo-run", carried, "--unsigned", environment: nowhere)
        #expect(ran.code == 0 && ran.text == "here\n", "\(ran.stderr)")
        let pinned = "alpine@sha256:" + String(repeating: "0", count: 64)
        let named = try await pack(
            "name: test/named\nversion: 1.0.0\nkind: container\nimage: \(pinned)\ncommand: [echo]\n", in: "named", as: "n.cargo")
        let refused = try await stage.run("cargo-run", named, "--unsigned", "--backend", "sandbox", environment: nowhere)
        #expect(refused.code == 126 && refused.stderr.contains("pack the image with it"), "\(refused.stderr)")
    }

    @Test(.enabled(if: FileManager.default.fileExists(atPath: "/usr/bin/python3"), "needs Debian's Python"))
    func `Debian's own Python in a root file system prints`() async throws {
        // The files of Debian's packages as they lie on this machine, below the same paths; links stay absolute.
        try await shell(
            """
            mkdir -p src/root/etc; real=$(readlink -f /usr/bin/python3); version=$(basename $real)
            for f in $real $(ldd $real | grep -o '/[^ ]*' | grep -v :); do cp -L --parents $f src/root; done
            mkdir -p src/root/usr/lib/$version; cp -r /usr/lib/$version/*.py /usr/lib/$version/encodings /usr/lib/$version/collections \
                /usr/lib/$version/re /usr/lib/$version/importlib src/root/usr/lib/$version/ 2>/dev/null || true
            ln -s $real src/root/usr/bin/python3; [ -e src/root/bin ] || ln -s /usr/bin src/root/bin; cp /etc/os-release src/root/etc/
            """)
        let archive = try await pack(
            """
            name: test/python
            version: 1.0.0
            kind: process
            rootfs: layers
            image: root
            command: [python3, -c, "print(1)"]
            """, in: "src", as: "python.cargo")
        let ran = try await stage.run("cargo-run", archive, "--unsigned")
        #expect(ran.code == 0 && ran.text == "1\n", "\(ran.stderr)")
    }
}
