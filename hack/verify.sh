#!/usr/bin/env bash
# Everything that can be checked without running the product. Says which check failed and what mends it.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { echo "== verify: $*"; }

step format
unformatted=$(git ls-files -z '*.go' | xargs -0 gofmt -l)
[ -z "$unformatted" ] || { echo "not formatted: $unformatted; run gofmt -w on them"; exit 1; }

step scripts
for script in hack/*.sh .ci/run; do bash -n "$script" || { echo "$script is no valid bash"; exit 1; }; done

for module in . hack/devcluster hack/e2e hack/bench hack/diff; do
  [ -f "$module/go.mod" ] || continue
  step "vet and lint $module"
  (cd "$module" && go vet ./...)
  (cd "$module" && go tool -modfile="$OLDPWD/hack/tools/go.mod" staticcheck ./...)
  step "tidy $module"
  (cd "$module" && go mod tidy -diff)
done

step "import table and tidy files"
go test -count=1 ./hack/house

step "generated files"
hack/generate.sh --check
