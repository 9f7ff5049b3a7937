# Alluxio clusters in the node's pods. Sourced by bench.sh.
# shellcheck shell=bash

# shellcheck source=lib/alluxio_manifest.sh
source "$BENCH_HOME/lib/alluxio_manifest.sh"

readonly ALLUXIO_RPC_PORT=19998 ALLUXIO_WEB_PORT=19999 ALLUXIO_WORKER_RPC_PORT=29999 ALLUXIO_WORKER_WEB_PORT=30000

alluxio() {
  local command=${1:-}
  [[ $# -gt 0 ]] && shift
  case $command in
    up | down | status | logs | exec)
      [[ ${1:-} =~ ^[a-z]([-a-z0-9]{0,40}[a-z0-9])?$ ]] || die "alluxio $command: a name is needed (a-z, 0-9, -)"
      running kube-apiserver || die "the node level is not up: run 'bench.sh up node'"
      "alluxio_$command" "$@"
      ;;
    list) kc get namespaces -l ratchet-bench=alluxio -o name | sed 's|^namespace/||' ;;
    *) die "alluxio up, down, list, status, logs or exec expected, not '$command'" ;;
  esac
}

alluxio_up() {
  local name=$1 version=$ALLUXIO_DEFAULT_VERSION masters=1 workers=3 storage=emptydir settings=()
  shift
  while [[ $# -gt 0 ]]; do
    [[ $# -ge 2 ]] || die "alluxio up: $1 needs a value"
    case $1 in
      --version) version=$2 ;;
      --masters) masters=$2 ;;
      --workers) workers=$2 ;;
      --worker-storage) storage=$2 ;;
      --set)
        [[ $2 == *=* ]] || die "alluxio up: --set key=value expected, not '$2'"
        settings+=("$2")
        ;;
      *) die "alluxio up: unknown option $1" ;;
    esac
    shift 2
  done
  [[ $masters == 1 || $masters == 3 ]] || die "alluxio up: 1 or 3 masters, not '$masters'"
  [[ $workers =~ ^[0-9]+$ ]] || die "alluxio up: a number of workers, not '$workers'"
  [[ $storage == emptydir || $storage == hostpath ]] || die "alluxio up: emptydir or hostpath, not '$storage'"
  [[ " ${ALLUXIO_VERSIONS[*]} " == *" $version "* ]] || die "alluxio up: version ${ALLUXIO_VERSIONS[*]}, not '$version'"
  running kubelet || die "the node level is not up: run 'bench.sh up node'"

  local start
  start=$(now)
  mkdir -p "$RUN/ufs/$name/root" "$RUN/alluxio/$name"
  alluxio_manifests "$name" "$version" "$masters" "$workers" "$storage" ${settings[@]+"${settings[@]}"} |
    kc apply -f - >/dev/null
  wait_for 180 "the masters of $name are ready" stateful_set_is_ready "$name" alluxio-master "$masters" ||
    alluxio_failure "$name"
  wait_for 180 "$workers workers of $name are registered" alluxio_has_workers "$name" "$workers" ||
    alluxio_failure "$name"
  wait_for 30 "the worker pods of $name are ready" stateful_set_is_ready "$name" alluxio-worker "$workers" ||
    alluxio_failure "$name"
  wait_for 60 "the file system of $name answers" alluxio_serves "$name" || alluxio_failure "$name"
  say "alluxio $name: $masters master(s) and $workers worker(s) of $version after $(($(now) - start)) s"
  alluxio_status "$name"
}

alluxio_status() {
  kc -n "$1" get pods -l app=alluxio --sort-by=.metadata.name --no-headers \
    -o 'custom-columns=R:.metadata.labels.role,N:.metadata.name,I:.status.podIP' |
    awk -v rpc=$ALLUXIO_RPC_PORT -v data=$ALLUXIO_WORKER_RPC_PORT -v web=$ALLUXIO_WORKER_WEB_PORT '
      $1 == "master" { print "master " $3 ":" rpc }
      $1 == "worker" { print "worker " $2, $3, data, web }'
}

# --- waiting -----------------------------------------------------------------------------------------------------

# stateful_set_is_ready NAMESPACE NAME REPLICAS: all of the current revision, too, for `up` of a changed cluster.
stateful_set_is_ready() {
  local state
  state=$(kc -n "$1" get statefulset "$2" -o \
    'jsonpath={.metadata.generation} {.status.observedGeneration} {.spec.replicas} {.status.readyReplicas} {.status.updatedReplicas}')
  # shellcheck disable=SC2086
  set -- "$3" $state
  [[ $2 == "$3" && $4 == "$1" && ${5:-0} == "$1" && ${6:-0} == "$1" ]]
}

# What a server answers to GET, without a client program: HTTP/1.0 ends the answer by closing the connection.
http_get() {
  (
    exec 3<>"/dev/tcp/$1/$2"
    printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$3" "$1" >&3
    timeout 5 cat <&3
  ) 2>/dev/null
}

alluxio_masters() { kc -n "$1" get pods -l app=alluxio,role=master -o 'jsonpath={.items[*].status.podIP}'; }

# How many live workers the primary counts. A standby has no web server, so that only the primary answers.
alluxio_worker_count() {
  local address
  for address in $(alluxio_masters "$1"); do
    http_get "$address" "$ALLUXIO_WEB_PORT" /metrics/json/ | tr -d ' \n' |
      grep -o '"Cluster.Workers":{"value":[0-9]*' | grep -o '[0-9]*$' && return 0
  done
  return 1
}

alluxio_has_workers() { [[ $(alluxio_worker_count "$1") == "$2" ]]; }

# The file system answers: a primary has been found, and it has left safe mode.
# A listing would ask too, but mark the root as listed, and then files that a test adds there later are not found.
alluxio_serves() { alluxio_exec "$1" -- fs test -d /; }

# Says what can be seen of a cluster that did not come up, and ends.
alluxio_failure() {
  local pod
  {
    kc -n "$1" get pods -o wide || true
    kc -n "$1" get events --sort-by=.lastTimestamp 2>/dev/null | tail -n 15 || true
    for pod in $(kc -n "$1" get pods -l app=alluxio -o name); do
      say "last lines of $pod:"
      kc -n "$1" logs "$pod" --tail=12 2>/dev/null | cut -c1-300 || true
    done
  } >&2
  die "alluxio $1 did not come up"
}

# --- the other commands ------------------------------------------------------------------------------------------

alluxio_logs() {
  local name=$1 pod=${2:-}
  if [[ -n $pod ]]; then
    kc -n "$name" logs "$pod"
    return
  fi
  for pod in $(kc -n "$name" get pods -l app=alluxio -o name); do
    printf '=== %s\n' "${pod#pod/}"
    kc -n "$name" logs "$pod" || true
  done
}

alluxio_exec() {
  local name=$1 pod
  shift
  [[ ${1:-} == -- ]] && shift
  [[ $# -gt 0 ]] || die "alluxio exec NAME -- fs|fsadmin ARGS..."
  pod=$(kc -n "$name" get pods -l app=alluxio,role=master -o \
    'jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}' |
    awk '$2 == "True" { print $1; exit }')
  [[ -n $pod ]] || die "no master of $name is ready"
  kc -n "$name" exec "$pod" -c alluxio -- /opt/alluxio/bin/alluxio "$@"
}

alluxio_down() {
  local name=$1 label
  label=$(kc get namespace "$name" --ignore-not-found -o 'jsonpath={.metadata.labels.ratchet-bench}')
  if kc get namespace "$name" >/dev/null 2>&1; then
    [[ $label == alluxio ]] || die "namespace $name is not one of 'bench.sh alluxio up'"
    # Their data goes too, so the servers need no time to end in order.
    kc -n "$name" delete statefulset --all --cascade=orphan >/dev/null
    kc -n "$name" delete pods --all --grace-period=1 --timeout=60s >/dev/null || true
    kc delete namespace "$name" --timeout=120s >/dev/null || die "namespace $name does not go: see its status"
  fi
  rm -rf --one-file-system "${RUN:?}/ufs/$name" "${RUN:?}/alluxio/$name"
  say "alluxio $name is gone"
}
