#!/bin/sh
# embed-container.sh ROOT OUTPUT: compiles Sources/container-init and writes it as Swift source.
set -eu
root=$1 output=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
${CC:-clang} -std=c17 -D_GNU_SOURCE -Os -static -nostdlib -ffreestanding -fno-stack-protector -fno-builtin -Wl,--build-id=none,-s \
    -Wall -Wextra -Werror -o "$work/container-init" "$root"/Sources/container-init/*.c
{
    echo "// Written by embed-container.sh from Sources/container-init."
    echo "enum EmbeddedContainerInit {"
    printf '    static let base64 = "%s"\n' "$(base64 -w0 <"$work/container-init")"
    echo "}"
} >"$output"
