#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A short pass of the tests that need verbs: the conformance suite, connections that break and a workload, on this host's
# device or in the soft-RoCE lab.
# alone
# time limit: 400 s
# prepare: scripts/softroce-lab --prepare
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# The test run has built what it could; the release build is what the guest runs, whatever configuration asks.
CONFIG=release scripts/test-rdma --short
