#!/usr/bin/env bash
# Renders config/default with an image into one file: hack/manifest.sh IMAGE FILE. The configuration itself stays as
# it is; the image is set by a kustomization on top of it.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 2 ] || { echo "usage: hack/manifest.sh REPOSITORY:TAG FILE" >&2; exit 2; }
image=$1 file=$2
case ${image##*/} in
  *:*) ;;
  *) echo "hack/manifest.sh: the image is $image: name it REPOSITORY:TAG" >&2; exit 2 ;;
esac
kubectl=$(command -v kubectl) || kubectl=$(go run -C hack/devcluster . tool kubectl)
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
cp -r config "$top/config"
sed -i -e "s|newTag: .*|newTag: \"${image##*:}\"|" -e "/newTag:/i\\    newName: ${image%:*}" "$top/config/default/kustomization.yaml"
mkdir -p "$(dirname "$file")"
"$kubectl" kustomize "$top/config/default" > "$file.new"
mv "$file.new" "$file"
echo "wrote $file with image $image"
