#!/usr/bin/env bash
# Writes everything that is made from the Go types and their markers: deepcopy code, the CRD, the operator's
# roles, and the chart's copies of the last two. With --check it writes nothing and fails when a file
# differs from what would be written.
set -euo pipefail
cd "$(dirname "$0")/.."

check=false
case "${1:-}" in
  --check) check=true ;;
  '') ;;
  *) echo "usage: hack/generate.sh [--check]" >&2; exit 2 ;;
esac

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mkdir -p "$out"/{api/v1alpha1,config/crd/bases,config/rbac,charts/raftsman/templates}

gen() { go tool -modfile=hack/tools/go.mod controller-gen "$@"; }

gen object paths=./api/... output:object:dir="$out/api/v1alpha1"
gen crd paths=./api/... output:crd:dir="$out/config/crd/bases"
# The operator's namespace in the markers is the one of config/; the chart's copy has rules only.
gen rbac:roleName=raftsman-operator paths=./controllers/... output:rbac:dir="$out/config/rbac"

notice='{{- /* Written by hack/generate.sh from config/: edit the Go types or markers and run make generate. */ -}}'

# braces makes text from Go comments safe inside a template.
braces() { sed -e 's/{{/{{ "{{" }}/g'; }

for crd in "$out"/config/crd/bases/*.yaml; do
  name=$(basename "$crd" .yaml)
  {
    echo "$notice"
    echo '{{- if .Values.crds.enabled }}'
    braces < "$crd" | awk '
      /^  annotations:$/ && !done { print; print "    {{- if .Values.crds.keep }}"; print "    helm.sh/resource-policy: keep"; print "    {{- end }}"; done = 1; next }
      { print }'
    echo '{{- end }}'
  } > "$out/charts/raftsman/templates/crd-${name#*_}.yaml"
done

# rules KIND NAME prints the rules of one role among the documents of config/rbac/role.yaml.
rules() {
  awk -v kind="$1" '
    /^---$/ { inside = 0; rules = 0; next }
    $1 == "kind:" { inside = ($2 == kind) }
    inside && /^rules:$/ { rules = 1; next }
    inside && rules { print }' "$out/config/rbac/role.yaml"
}
{
  echo "$notice"
  echo '{{- define "raftsman.clusterRules" -}}'
  rules ClusterRole
  echo '{{- end -}}'
  echo '{{- define "raftsman.leaseRules" -}}'
  rules Role
  echo '{{- end -}}'
} > "$out/charts/raftsman/templates/_rules.tpl"

for part in clusterRules leaseRules; do
  sed -n "/define \"raftsman.$part\"/,/end -/p" "$out/charts/raftsman/templates/_rules.tpl" | grep -q apiGroups || {
    echo "config/rbac/role.yaml gives no rule for $part: the markers in controllers/ or this script are wrong" >&2
    exit 1
  }
done

stale=0
while IFS= read -r file; do
  if $check; then
    cmp -s "$out/$file" "$file" || { echo "$file is not current: run make generate and commit what it writes" >&2; stale=1; }
  else
    cmp -s "$out/$file" "$file" || { mkdir -p "$(dirname "$file")"; cp "$out/$file" "$file"; echo "wrote $file"; }
  fi
done < <(cd "$out" && find . -type f | sed 's|^\./||' | sort)

# A CRD or template whose type is gone must go too.
while IFS= read -r file; do
  [ -e "$out/$file" ] && continue
  if $check; then echo "$file is made from nothing any more: run make generate" >&2; stale=1; else rm "$file"; echo "removed $file"; fi
done < <(find config/crd/bases charts/raftsman/templates -name 'crd-*.yaml' -o -path 'config/crd/bases/*.yaml' 2>/dev/null | sort)

exit $stale
