#!/usr/bin/env bash
# make quickstart-down: removes what make quickstart has made. The development cluster goes as a whole; from another
# cluster go the sample with its volumes, the operator and, when no other RaftCluster is left, its definition.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/quickstart-names.sh

IMG_GIVEN=yes # nothing is pulled here
go build -C hack/devcluster -o "$program" .
choose_cluster
if $own; then
  say "removing the development cluster"
  devcluster down
  exit
fi
find_tools
say "removing RaftCluster $namespace/demo, its volumes and the operator from the cluster of KUBECONFIG=$KUBECONFIG"
if kubectl get crd raftclusters.raftsman.dev > /dev/null 2>&1; then
  kubectl -n "$namespace" delete raftcluster demo --ignore-not-found --cascade=foreground --timeout=3m
fi
kubectl -n "$namespace" delete pvc -l raftsman.dev/cluster=demo --ignore-not-found
others=$(kubectl get raftclusters -A -o name 2> /dev/null || true)
if [ -n "$others" ]; then
  say "the operator stays, because other RaftClusters need it:"
  kubectl get raftclusters -A
  exit
fi
helm uninstall "$release" --namespace "$system" --ignore-not-found --wait
kubectl delete crd raftclusters.raftsman.dev --ignore-not-found
kubectl delete namespace "$system" --ignore-not-found
