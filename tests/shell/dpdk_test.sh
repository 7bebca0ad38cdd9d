#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A short pass of the dpdk: transport: memif between processes, with loss, a killed instance.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
scripts/test-dpdk --short
