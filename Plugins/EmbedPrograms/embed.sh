#!/bin/sh
# embed.sh ROOT OUTPUT: compiles Sources/cargo-init and writes it, with sandbox-profiles/*.json, as Swift source.
set -eu
root=$1 output=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
${CC:-clang} -std=c17 -D_GNU_SOURCE -Os -static -nostdlib -ffreestanding -fno-stack-protector -fno-builtin -Wl,--build-id=none,-s \
    -Wall -Wextra -Werror -o "$work/cargo-init" "$root"/Sources/cargo-init/*.c
{
    echo "// Written by embed.sh from Sources/cargo-init and sandbox-profiles."
    echo "enum EmbeddedPrograms {"
    printf '    static let cargoInit = "%s"\n' "$(base64 -w0 <"$work/cargo-init")"
    echo "    static let profiles: [String: String] = ["
    for profile in "$root"/sandbox-profiles/*.json; do
        [ -e "$profile" ] || continue
        printf '        "%s": "%s",\n' "$(basename "$profile" .json)" "$(base64 -w0 <"$profile")"
    done
    echo "        \"\": \"\","
    echo "    ]"
    echo "}"
} >"$output"
