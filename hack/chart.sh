#!/usr/bin/env bash
# Lints the chart and packs it: hack/chart.sh DIRECTORY.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 1 ] || { echo "usage: hack/chart.sh DIRECTORY" >&2; exit 2; }
helm=$(command -v helm) || helm=$(go run -C hack/devcluster . tool helm)
"$helm" lint --strict charts/raftsman
"$helm" package charts/raftsman --destination "$1"
