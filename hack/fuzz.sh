#!/usr/bin/env bash
# Runs every fuzz target of the main module for the given time, one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10s}
count=0
while IFS=: read -r file target; do
  echo "== fuzz $target in $(dirname "$file") for $time"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "./$(dirname "$file")"
  count=$((count + 1))
done < <(git grep -nE '^func Fuzz[A-Za-z]+\(' -- '*_test.go' | sed -E 's/^([^:]+):[0-9]+:func (Fuzz[A-Za-z]+)\(.*/\1:\2/')
echo "$count targets"
[ "$count" -gt 0 ]
