# What quickstart.sh and quickstart-down.sh share; it is sourced, never run.
release=raftsman
system=raftsman-system
namespace=${NAMESPACE:-default}
program=$PWD/bin/devcluster
cluster=${CLUSTER:-raftsman}
image=${IMG:?run it as make quickstart}
given=${KUBECONFIG:-}

devcluster() { "$program" --name "$cluster" "$@"; }
say() { echo "== $*"; }
fail() {
  echo "quickstart: $*" >&2
  exit 1
}

# choose_cluster sets own: whether the development cluster is used or the one that KUBECONFIG names.
choose_cluster() {
  case ${image##*/} in
    *:*) ;;
    *) fail "IMG is $image: name it REPOSITORY:TAG" ;;
  esac
  own=true
  if [ -z "$given" ]; then
    return
  fi
  if [ "$given" = "$(devcluster kubeconfig 2> /dev/null)" ]; then
    given=
    return
  fi
  own=false
  [ -e "$given" ] || fail "KUBECONFIG names $given, which does not exist: name a kubeconfig, or unset KUBECONFIG to use a cluster on this machine"
  [ -n "${IMG_GIVEN:-}" ] || fail "KUBECONFIG names another cluster, so say IMG=REPOSITORY:TAG too: an image of Raftsman that it can pull (build it with the Dockerfile)"
}

# find_tools takes kubectl, helm and etcdctl from PATH where they are, and builds the others.
find_tools() {
  local tool
  by_hand=kubectl
  command -v kubectl > /dev/null || by_hand="$program --name $cluster kubectl"
  for tool in kubectl helm etcdctl; do
    command -v "$tool" > /dev/null || PATH=$(dirname "$(devcluster tool "$tool")"):$PATH
  done
}

# through_service runs etcdctl against the client Service: by its DNS name from a node of the development cluster,
# through a forwarded port elsewhere.
through_service() {
  if $own; then
    devcluster exec -- "$(command -v etcdctl)" --endpoints="http://demo.$namespace.svc:2379" "$@"
    return
  fi
  local log port= forward status=0
  log=$(mktemp)
  kubectl -n "$namespace" port-forward service/demo :2379 > "$log" 2>&1 &
  forward=$!
  for _ in $(seq 50); do
    port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' "$log")
    [ -z "$port" ] || break
    sleep 0.2
  done
  if [ -n "$port" ]; then
    etcdctl --endpoints="http://127.0.0.1:$port" "$@" || status=$?
  else
    cat "$log" >&2
    status=1
  fi
  kill "$forward"
  wait "$forward" 2> /dev/null || true
  rm -f "$log"
  return $status
}

# service_hint is how a person does the same by hand.
service_hint() {
  if $own; then
    echo "  $program --name $cluster exec -- $(command -v etcdctl) --endpoints=http://demo.$namespace.svc:2379 get greeting"
  else
    echo "  kubectl -n $namespace port-forward service/demo 2379 &  etcdctl get greeting"
  fi
}
