#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The pages of docs/reference are those that the tables give, and the check sees it when they are not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

scripts/gen-reference --check

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/scripts" "$scratch/grd" "$scratch/base" "$scratch/docs" "$scratch/include"
cp scripts/gen-reference "$scratch/scripts/"
cp grd/msg.def grd/msg_fields.h "$scratch/grd/"
cp base/trace.def "$scratch/base/"
cp -r include/cachefusion "$scratch/include/"
cp -r docs/reference "$scratch/docs/"

fails_with() { # words of the complaint
    local said
    if said=$("$scratch/scripts/gen-reference" --check 2>&1); then
        echo "reference: a stale page went unseen ($1)" >&2
        exit 1
    fi
    grep -qF -- "$1" <<<"$said" || { echo "reference: said '$said' instead of '$1'" >&2; exit 1; }
}

"$scratch/scripts/gen-reference" --check
sed -i 's/blocks got/blocks taken/' "$scratch/include/cachefusion/stats.def"
fails_with docs/reference/stats.md
"$scratch/scripts/gen-reference"
"$scratch/scripts/gen-reference" --check
grep -qF 'blocks taken' "$scratch/docs/reference/stats.md"

rm "$scratch/docs/reference/status.md"
fails_with docs/reference/status.md
"$scratch/scripts/gen-reference"

# A message without fields, and a line that is no table entry, end the run with their names.
sed -i '/GRD_FIELDS_BOUNCE/d' "$scratch/grd/msg_fields.h"
fails_with BOUNCE
echo 'CF_TRACE_EVENT(BROKEN' >>"$scratch/base/trace.def"
cp grd/msg_fields.h "$scratch/grd/"
fails_with base/trace.def
