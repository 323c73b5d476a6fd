# Sourced by benchmarks that stand beside Docker: a daemon of their own, all its state below $state, stopped by its pid.
# Expects: state (folder). Sets: docker (the command, as an array). Needs root.

need_packages() {
    local missing=() package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] || {
        echo "installing ${missing[*]}" >&2
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    }
}

start_docker() {
    need_packages docker.io runc busybox-static iptables
    docker=("$(command -v docker)" -H "unix://$state/docker.sock")
    # No bridge: networks of the machine stay as they are.
    dockerd --data-root "$state/docker" --exec-root "$state/docker-exec" --pidfile "$state/docker.pid" \
        -H "unix://$state/docker.sock" --iptables=false --ip6tables=false --bridge=none >"$state/docker.log" 2>&1 &
    docker_pid=$!
    local tries
    for tries in $(seq 300); do
        "${docker[@]}" version >/dev/null 2>&1 && break
        kill -0 $docker_pid 2>/dev/null || { tail -n 5 "$state/docker.log" >&2; return 1; }
        sleep 0.1
    done
    local root=$state/image
    mkdir -p "$root"/{bin,etc,tmp,proc,sys,dev}
    cp /bin/busybox "$root/bin/busybox"
    for tool in sh true sleep cat; do ln -sf busybox "$root/bin/$tool"; done
    echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
    [ ! -d "${1:-}" ] || cp -r "$1"/. "$root"/
    tar -C "$root" -c . | "${docker[@]}" import - bench:latest >/dev/null
}

stop_docker() {
    [ -n "${docker_pid:-}" ] || return 0
    kill "$docker_pid" 2>/dev/null || true
    wait "$docker_pid" 2>/dev/null || true
}
