# The Kubernetes objects of one Alluxio cluster. Sourced by lib/alluxio.sh.
# shellcheck shell=bash

# alluxio_manifests NAME VERSION MASTERS WORKERS STORAGE [KEY=VALUE...]
alluxio_manifests() {
  local name=$1 version=$2 masters=$3 workers=$4 storage=$5
  shift 5
  cat <<YAML
apiVersion: v1
kind: Namespace
metadata:
  name: $name
  labels: {ratchet-bench: alluxio}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: alluxio-config
  namespace: $name
data:
  alluxio-site.properties: |
$(site_properties "$name" "$masters" "$@" | sed 's/^\(.\)/    \1/')
YAML
  headless_service "$name" alluxio-master master rpc "$ALLUXIO_RPC_PORT" web "$ALLUXIO_WEB_PORT" journal 19200
  headless_service "$name" alluxio-worker worker rpc "$ALLUXIO_WORKER_RPC_PORT" web "$ALLUXIO_WORKER_WEB_PORT"
  master_set "$name" "$version" "$masters"
  worker_set "$name" "$version" "$workers" "$storage"
}

# The common settings, then the addresses, then what the caller sets: the last value of a key is the one that counts.
site_properties() {
  local name=$1 masters=$2 index host rpc='' journal='' separator=''
  shift 2
  cat "$BENCH_HOME/alluxio/alluxio-site.properties"
  echo
  if [[ $masters == 1 ]]; then
    cat <<PROPERTIES
# One master, with its journal in a directory that outlives the container and the pod.
alluxio.master.hostname=alluxio-master-0.alluxio-master.$name.svc.cluster.local
alluxio.master.journal.type=UFS
alluxio.master.journal.folder=/journal/data
PROPERTIES
  else
    for ((index = 0; index < masters; index++)); do
      host=alluxio-master-$index.alluxio-master.$name.svc.cluster.local
      rpc+=$separator$host:$ALLUXIO_RPC_PORT
      journal+=$separator$host:19200
      separator=,
    done
    cat <<PROPERTIES
# Names and not addresses: a pod that is replaced keeps its name. Each master gets its own alluxio.master.hostname on
# its command line.
alluxio.master.rpc.addresses=$rpc
alluxio.master.journal.type=EMBEDDED
alluxio.master.journal.folder=/journal/data
alluxio.master.embedded.journal.addresses=$journal
PROPERTIES
  fi
  if [[ $# -gt 0 ]]; then
    printf '# Set by the caller.\n'
    printf '%s\n' "$@"
  fi
}

# headless_service NAMESPACE NAME ROLE [PORT_NAME PORT]...
# Masters of a quorum must find each other before any of them is ready.
headless_service() {
  local namespace=$1 name=$2 role=$3
  shift 3
  cat <<YAML
---
apiVersion: v1
kind: Service
metadata:
  name: $name
  namespace: $namespace
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {app: alluxio, role: $role}
  ports:
YAML
  while [[ $# -gt 0 ]]; do
    printf '  - {name: %s, port: %s}\n' "$1" "$2"
    shift 2
  done
}

# stateful_set_head NAMESPACE NAME ROLE VERSION REPLICAS PORT: up to the volumes of the container. Readiness is the open
# RPC port: a standby master has no other.
stateful_set_head() {
  cat <<YAML
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: $2
  namespace: $1
spec:
  replicas: $5
  serviceName: $2
  podManagementPolicy: Parallel
  selector:
    matchLabels: {app: alluxio, role: $3}
  template:
    metadata:
      labels: {app: alluxio, role: $3}
    spec:
      terminationGracePeriodSeconds: 10
      automountServiceAccountToken: false
      enableServiceLinks: false
      containers:
      - name: alluxio
        image: ratchet-bench/alluxio:$4
        imagePullPolicy: Never
        args: [$3]
        env:
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        - name: POD_IP
          valueFrom: {fieldRef: {fieldPath: status.podIP}}
YAML
}

probe_and_mounts() {
  cat <<YAML
        readinessProbe:
          tcpSocket: {port: $1}
          periodSeconds: 1
          failureThreshold: 3
        resources:
          requests: {cpu: 10m, memory: 64Mi}
        volumeMounts:
        - {name: config, mountPath: /opt/alluxio/conf}
        - {name: ufs, mountPath: /ufs}
YAML
}

common_volumes() {
  cat <<YAML
      volumes:
      - name: config
        configMap: {name: alluxio-config}
      - name: ufs
        hostPath: {path: "$RUN/ufs/$1", type: Directory}
YAML
}

# The journal of each master is a directory of its own on the machine: it is there again for the container that is
# restarted and for the pod that is replaced, by another version too.
master_set() {
  local namespace=$1
  stateful_set_head "$1" alluxio-master master "$2" "$3" "$ALLUXIO_RPC_PORT"
  cat <<YAML
        - name: ALLUXIO_JAVA_OPTS
          value: -Dalluxio.master.hostname=\$(POD_NAME).alluxio-master.$namespace.svc.cluster.local
        ports:
        - {name: rpc, containerPort: $ALLUXIO_RPC_PORT}
        - {name: web, containerPort: $ALLUXIO_WEB_PORT}
YAML
  probe_and_mounts "$ALLUXIO_RPC_PORT"
  cat <<YAML
        - {name: journal, mountPath: /journal, subPathExpr: \$(POD_NAME)}
YAML
  common_volumes "$namespace"
  cat <<YAML
      - name: journal
        hostPath: {path: "$RUN/alluxio/$namespace", type: Directory}
YAML
}

# A worker is known by its pod's address.
worker_set() {
  local namespace=$1 storage=$4
  stateful_set_head "$1" alluxio-worker worker "$2" "$3" "$ALLUXIO_WORKER_RPC_PORT"
  cat <<YAML
        - name: ALLUXIO_JAVA_OPTS
          value: -Dalluxio.worker.hostname=\$(POD_IP)
        ports:
        - {name: rpc, containerPort: $ALLUXIO_WORKER_RPC_PORT}
        - {name: web, containerPort: $ALLUXIO_WORKER_WEB_PORT}
YAML
  probe_and_mounts "$ALLUXIO_WORKER_RPC_PORT"
  if [[ $storage == hostpath ]]; then
    cat <<YAML
        - {name: cache, mountPath: /cache, subPathExpr: \$(POD_NAME)}
YAML
  else
    cat <<YAML
        - {name: cache, mountPath: /cache}
YAML
  fi
  common_volumes "$namespace"
  if [[ $storage == hostpath ]]; then
    printf '      - name: cache\n        hostPath: {path: "%s", type: Directory}\n' "$RUN/alluxio/$namespace"
  else
    printf '      - name: cache\n        emptyDir: {}\n'
  fi
}
