#!/usr/bin/env bash
# make quickstart: from a fresh clone to a value that three members have agreed on. It builds the image, starts the
# development cluster (or takes the one that KUBECONFIG names, with IMG as an image that it can pull), installs the
# chart with Helm, applies config/samples/demo.yaml, waits until it is Ready, and writes and reads a key with
# etcdctl through the client Service. It can be run again: what is there already is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/quickstart-names.sh

say "building the tools"
go build -C hack/devcluster -o "$program" .
choose_cluster

if $own; then
  say "building the image $image"
  make --no-print-directory image IMG="$image"
  say "starting a Kubernetes on this machine (the first time its programs are built, which takes minutes)"
  devcluster up
  KUBECONFIG=$(devcluster kubeconfig)
  export KUBECONFIG
  say "loading the image onto its nodes"
  devcluster load dist/image.tar
else
  say "using the cluster of KUBECONFIG=$KUBECONFIG with image $image"
fi
find_tools
kubectl get --raw /readyz > /dev/null || fail "the API server of $KUBECONFIG does not answer: look at it with kubectl get --raw '/readyz?verbose'"

say "installing the operator with Helm as $release in $system"
helm upgrade --install "$release" charts/raftsman --namespace "$system" --create-namespace \
  --set image.repository="${image%:*}" --set image.tag="${image##*:}" --wait --timeout 5m > /dev/null || {
  kubectl -n "$system" get pods,events >&2 || true
  fail "the chart was not installed: its Pods and events in $system are above; kubectl -n $system logs deployment/$release says more"
}

say "applying config/samples/demo.yaml in $namespace"
kubectl -n "$namespace" apply -f config/samples/demo.yaml

# One line whenever something new is said.
told=
deadline=$((SECONDS + 300))
while :; do
  now=$(kubectl -n "$namespace" get raftcluster demo -o jsonpath='{.status.conditions[?(@.type=="Ready")].status} {.status.readyReplicas}/{.spec.replicas} ready, {.status.conditions[?(@.type=="Ready")].message}')
  if [ "$now" != "$told" ]; then
    [ -z "${now#* }" ] || echo "   ${now#* }"
    told=$now
  fi
  case $now in
    True\ *) break ;;
  esac
  if [ $SECONDS -ge $deadline ]; then
    kubectl -n "$namespace" describe raftcluster demo >&2 || true
    kubectl -n "$namespace" get pods,pvc -l raftsman.dev/cluster=demo >&2 || true
    fail "RaftCluster $namespace/demo is not Ready after 5 minutes: its events and Pods are above; kubectl -n $system logs deployment/$release says what the operator is doing"
  fi
  sleep 1
done
kubectl -n "$namespace" get raftcluster demo

say "writing and reading a key through the Service demo, with etcdctl"
value="agreed on by three members at $(date -u +%H:%M:%S)"
through_service put greeting "$value" || fail "the write through Service $namespace/demo failed: kubectl -n $namespace describe raftcluster demo says how the cluster is"
read_back=$(through_service get greeting --print-value-only) || fail "the read through Service $namespace/demo failed: kubectl -n $namespace describe raftcluster demo says how the cluster is"
[ "$read_back" = "$value" ] || fail "wrote '$value' and read '$read_back'"
echo "   read back: $read_back"

down_with=
[ "$cluster" = raftsman ] || down_with=" CLUSTER=$cluster"
$own || down_with=" KUBECONFIG=$KUBECONFIG"
cat <<TEXT

It works. To go on:

  export KUBECONFIG=$KUBECONFIG
  $by_hand -n $namespace get raftcluster demo -o wide               # how it is
  $by_hand -n $namespace scale raftcluster/demo --replicas=5        # grow, and shrink again
  $by_hand -n $namespace delete pod demo-0                          # lose a member
  $by_hand -n $namespace describe raftcluster demo                  # what has happened
$(service_hint)

  make quickstart-down$down_with                                          # remove all of it
TEXT
