#!/bin/sh
# embed-schema.sh ROOT OUTPUT: writes docs/cargo.schema.json as Swift source.
set -eu
root=$1 output=$2
{
    echo "// Written by embed-schema.sh from docs/cargo.schema.json."
    echo "enum EmbeddedSchema {"
    echo '    static let text = ##"""'
    cat "$root/docs/cargo.schema.json"
    echo
    echo '"""##'
    echo "}"
} >"$output"
