#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the documents name exists, and the check sees it when it does not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

scripts/check-docs

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/grd" "$scratch/docs"
printf 'lib: ## a target\n' >"$scratch/Makefile"
printf 'void grd_master_step(void);\n' >"$scratch/grd/master.h"
page=$scratch/docs/page.md

passes() { # a line of the page
    printf '# A page\n\n%s\n' "$1" >"$page"
    scripts/check-docs "$scratch" || { echo "docs: refused '$1'" >&2; exit 1; }
}

fails_with() { # what the check must name, a line of the page
    local said
    printf '# A page\n\n%s\n' "$2" >"$page"
    if said=$(scripts/check-docs "$scratch" 2>&1); then
        echo "docs: '$2' went unseen" >&2
        exit 1
    fi
    grep -qF -- "$1" <<<"$said" || { echo "docs: said '$said' instead of '$1'" >&2; exit 1; }
}

# shellcheck disable=SC2016 # backticks are those of the page
{
    passes 'See `grd/master.h`, `master.h`, `grd_master_step`, `grd_master_step(1, 2)`, `make lib`, [here](page.md#a-page).'
    passes '`tests/unit/LAYER` and `NAME_test.c` stand for names.'
    fails_with 'grd/master.c' 'See `grd/master.c`.'
    fails_with 'docs/page.md:3' 'See `grd/master.c`.'
    fails_with 'slave.h' 'See `slave.h`.'
    fails_with 'grd_master_stop' 'It calls `grd_master_stop`.'
    fails_with 'do_nothing' 'It calls `do_nothing`.'
    fails_with 'grd_master_stop' '    0  grd_master_stop   in a block of code'
    fails_with 'other.md' 'See [there](other.md).'
    fails_with '#no-such' 'See [there](page.md#no-such).'
    fails_with 'no target' 'Run `make everything`.'
}
