# The node level: scheduler, containerd, kubelet and DNS on top of the api level. Sourced by bench.sh.
# shellcheck shell=bash

NODE_COMPONENTS=(kube-scheduler containerd coredns kubelet)
CONTAINERD=$RUN/containerd
CONTAINERD_SOCKET=$CONTAINERD/containerd.sock
KUBELET=$RUN/kubelet
BEFORE=$RUN/before

# What the kubelet sets on the machine when it starts, and `down` puts back.
KUBELET_SYSCTLS=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys
  kernel.keys.root_maxbytes)

node_up() {
  local program
  need_root
  for program in kube-scheduler kubelet coredns; do
    [[ -x $BIN/$program ]] || die "$program is not built yet: run 'bench.sh build node'"
  done
  check_build_tools node
  # The pods' processes and mounts of a run whose containerd and kubelet were killed are of no use to anyone.
  if ! running containerd && ! running kubelet; then node_clean; fi
  remember_machine
  make_bridge
  make_cgroups
  start_containerd
  import_images &
  local import=$!
  start_scheduler
  start_coredns
  start_kubelet
  wait "$import" || die "importing the images failed: see $LOGS/import.log"
  await kubelet 90 "the node is Ready" node_is_ready
  say "the node level is up: node $NODE_NAME, address $NODE_IP, pods in $POD_CIDR"
}

node_is_ready() {
  [[ $(kc get node "$NODE_NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') == True ]]
}

# --- the machine -------------------------------------------------------------------------------------------------

remember_machine() {
  local key
  [[ -d $BEFORE ]] && return 0
  mkdir -p "$BEFORE.new"
  for key in "${KUBELET_SYSCTLS[@]}"; do
    cat "/proc/sys/${key//.//}" >"$BEFORE.new/$key" 2>/dev/null || rm -f "$BEFORE.new/$key"
  done
  iptables-save -t nat 2>/dev/null | grep -o '^:CNI-HOSTPORT-[A-Z]*' >"$BEFORE.new/chains" || true
  for key in /var/log/containers /var/lib/cni /run/containerd /var/lib/kubelet /var/log/pods; do
    [[ -e $key ]] || echo "$key"
  done >"$BEFORE.new/absent"
  mv "$BEFORE.new" "$BEFORE"
}

# The bench makes the bridge itself and does not leave it to the CNI plugin: the kubelet and the DNS server need its
# address before the first pod is there, and the plugin would switch on forwarding for the whole machine.
make_bridge() {
  if ! ip link show "$BRIDGE" >/dev/null 2>&1; then
    if ip -4 route show | grep -q "^${POD_CIDR%.0/24}\."; then
      die "$POD_CIDR is in use on this machine: set another RATCHET_BENCH_PORT_BASE (the pods' network follows from it)"
    fi
    ip link add "$BRIDGE" type bridge
  fi
  ip addr replace "$NODE_IP/24" dev "$BRIDGE"
  ip link set "$BRIDGE" up
}

# With cgroup v1 every controller has a tree of its own, and systemd's unified tree may stand beside them; with v2 there
# is one.
cgroup_trees() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/self/mounts; }

make_cgroups() {
  local tree
  while read -r tree; do
    mkdir -p "$tree/$CGROUP"
    # A new cpuset has no CPUs and no memory nodes, and nothing can run in it.
    if [[ -f $tree/$CGROUP/cpuset.cpus && -f $tree/cpuset.mems ]]; then
      cat "$tree/cpuset.cpus" >"$tree/$CGROUP/cpuset.cpus"
      cat "$tree/cpuset.mems" >"$tree/$CGROUP/cpuset.mems"
    fi
  done < <(cgroup_trees)
}

# --- programs ----------------------------------------------------------------------------------------------------

start_containerd() {
  mkdir -p "$CONTAINERD" "$RUN/cni/net.d"
  write_cni_config >"$RUN/cni/net.d/10-bench.conflist"
  running containerd && return 0
  need_free_port "$PORT_CONTAINERD_STREAM" "containerd's streams"
  write_containerd_config >"$CONTAINERD/config.toml"
  launch containerd "$(command -v containerd)" --config "$CONTAINERD/config.toml"
  await containerd 30 "it answers" ctr_k8s version
}

ctr_k8s() { ctr --address "$CONTAINERD_SOCKET" --namespace k8s.io "$@"; }

# Every directory is below the run directory, so that this containerd shares nothing with another one on the machine,
# and all that it mounts can be found. restrict_oom_score_adj: where the bench itself runs in a container it may not
# lower a process's score, and without this setting every sandbox would fail.
write_containerd_config() {
  cat <<TOML
version = 2
root = "$CONTAINERD/root"
state = "$CONTAINERD/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "$CONTAINERD_SOCKET"

[plugins."io.containerd.internal.v1.opt"]
  path = "$CONTAINERD/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "$PORT_CONTAINERD_STREAM"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "$(cni_bin_dir)"
  conf_dir = "$RUN/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  Root = "$CONTAINERD/runc"
  SystemdCgroup = false
TOML
}

# isGateway false: see make_bridge. There is no default route: pods reach each other and this node, and nothing else.
# tcp_syn_retries: nobody answers at the address of a pod that is gone. A client that tries it finds out in seconds;
# with the default it would take longer than the replacement of the pod.
write_cni_config() {
  cat <<JSON
{
  "cniVersion": "0.4.0",
  "name": "$BRIDGE",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "$BRIDGE",
      "isGateway": false,
      "ipMasq": false,
      "hairpinMode": true,
      "ipam": {
        "type": "host-local",
        "dataDir": "$RUN/cni/addresses",
        "ranges": [[{ "subnet": "$POD_CIDR", "gateway": "$NODE_IP" }]]
      }
    },
    { "type": "tuning", "sysctl": { "net.ipv4.tcp_syn_retries": "2" } },
    { "type": "portmap", "capabilities": { "portMappings": true } }
  ]
}
JSON
}

# import_images: those that are not in containerd yet, or were built again since.
import_images() {
  local archive
  for archive in pause alluxio; do
    cmp -s "$(stamp_of "$archive-image")" "$CONTAINERD/imported-$archive" && continue
    ctr_k8s images import "$IMAGES/$archive.tar" >>"$LOGS/import.log" 2>&1 || return 1
    cp "$(stamp_of "$archive-image")" "$CONTAINERD/imported-$archive"
  done
}

start_scheduler() {
  running kube-scheduler && return 0
  need_free_port "$PORT_SCHEDULER" kube-scheduler
  launch kube-scheduler "$BIN/kube-scheduler" --kubeconfig="$RUN/admin.kubeconfig" --leader-elect=false \
    --bind-address=127.0.0.1 --secure-port="$PORT_SCHEDULER" --cert-dir="$RUN/scheduler"
}

start_coredns() {
  running coredns && return 0
  mkdir -p "$RUN/coredns"
  need_free_port "$PORT_COREDNS_HEALTH" "CoreDNS's health"
  need_free_port 53 CoreDNS "$NODE_IP"
  cat >"$RUN/coredns/Corefile" <<COREFILE
cluster.local:53 $(printf '%s' "$NODE_IP" | awk -F. '{ print $3 "." $2 "." $1 }').in-addr.arpa:53 {
    bind $NODE_IP
    errors
    health 127.0.0.1:$PORT_COREDNS_HEALTH
    kubernetes {
        kubeconfig $RUN/admin.kubeconfig bench
        # A pod that is replaced has another address at once; who asks again must not get the old one.
        ttl 0
    }
}
# Nothing outside this machine is ever asked: other names do not exist.
.:53 {
    bind $NODE_IP
    template ANY ANY {
        rcode NXDOMAIN
    }
}
COREFILE
  launch coredns "$BIN/coredns" -conf "$RUN/coredns/Corefile"
}

start_kubelet() {
  running kubelet && return 0
  mkdir -p "$KUBELET"
  need_free_port "$PORT_KUBELET" kubelet "$NODE_IP"
  need_free_port "$PORT_KUBELET_HEALTH" "the kubelet's health"
  # A directory on a shared mount of its own: volumes that a pod mounts for others (node plugins) propagate through it.
  if ! grep -q " $KUBELET " /proc/self/mounts; then
    mount --bind "$KUBELET" "$KUBELET"
    mount --make-rshared "$KUBELET"
  fi
  : >"$KUBELET/resolv.conf"
  write_kubelet_config >"$KUBELET/config.yaml"
  await kube-apiserver 30 "it answers /readyz" kc get --raw /readyz
  launch kubelet "$BIN/kubelet" --config="$KUBELET/config.yaml" --kubeconfig="$RUN/admin.kubeconfig" \
    --root-dir="$KUBELET" --cert-dir="$KUBELET/pki" --hostname-override="$NODE_NAME" --node-ip="$NODE_IP"
}

# Settings that differ from the defaults, by reason:
# - the machine may have cgroup v1, swap, and no right to change OOM scores;
# - nothing of the machine's iptables is the kubelet's to set (makeIPTablesUtilChains);
# - images cannot be fetched again, so none may be collected, and a full disk must not evict pods;
# - changed ConfigMaps and Secrets should reach pods in seconds.
write_kubelet_config() {
  cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $NODE_IP
port: $PORT_KUBELET
healthzBindAddress: 127.0.0.1
healthzPort: $PORT_KUBELET_HEALTH
authentication:
  anonymous:
    enabled: false
  webhook:
    enabled: false
  x509:
    clientCAFile: $PKI/ca.crt
authorization:
  mode: AlwaysAllow
containerRuntimeEndpoint: unix://$CONTAINERD_SOCKET
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
failCgroupV1: false
enforceNodeAllocatable: []
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
podLogsDir: $RUN/pod-logs
volumePluginDir: $KUBELET/volume-plugins
resolvConf: $KUBELET/resolv.conf
clusterDNS: ["$NODE_IP"]
clusterDomain: cluster.local
imageGCHighThresholdPercent: 100
evictionHard:
  memory.available: 50Mi
  nodefs.available: "0%"
  nodefs.inodesFree: "0%"
  imagefs.available: "0%"
  imagefs.inodesFree: "0%"
syncFrequency: 10s
configMapAndSecretChangeDetectionStrategy: Watch
maxPods: 60
kubeAPIQPS: 100
kubeAPIBurst: 200
registryPullQPS: 0
eventRecordQPS: 50
YAML
}

node_status() {
  local name
  for name in "${NODE_COMPONENTS[@]}"; do component_line "$name"; done
  if running kube-apiserver && running kubelet; then
    kc get pods --all-namespaces --no-headers 2>/dev/null |
      awk '{ printf "%-24s %-9s ready %s, restarts %s\n", "pod " $1 "/" $2, $4, $3, $5 }' || true
  fi
}

# --- down --------------------------------------------------------------------------------------------------------

node_was_up() { [[ -d $BEFORE || -d /sys/class/net/$BRIDGE ]]; }

node_down() {
  node_was_up || return 0
  need_root
  say "taking the node level down"
  # The kubelet first, or it would start again what is stopped below; then the containers, with containerd gone, in the
  # same way as after a run that was killed: there is one way to clean up, and it is always the one that is tested.
  stop kubelet
  stop coredns
  stop kube-scheduler
  stop containerd
  node_clean
  if running kube-apiserver; then kc delete node "$NODE_NAME" --ignore-not-found >/dev/null 2>&1 || true; fi
}

# Removes everything a node of this instance can leave on the machine. Whatever it touches carries the instance's name
# or lies below its run directory.
node_clean() {
  node_was_up || return 0
  local sockets
  sockets=$(shim_sockets)
  kill_pods
  kill_shims
  unmount_all
  # shellcheck disable=SC2086
  rm -f $sockets
  remove_cgroups
  if [[ -d /sys/class/net/$BRIDGE ]]; then ip link delete "$BRIDGE"; fi
  remove_host_ports
  remove_links_to_logs
  remove_cni_results
  rm -rf --one-file-system "$CONTAINERD" "$RUN/cni" "$KUBELET" "$RUN/pod-logs"
  restore_sysctls
  remove_new_directories
  rm -rf "$BEFORE"
}

# The CNI library notes for each sandbox what it did, outside the run directory: under the bridge's name, and for the
# loopback device under a name that all instances share, so that the sandbox's id must tell whose it is.
remove_cni_results() {
  local file id
  for file in /var/lib/cni/results/"$BRIDGE"-*-eth0; do
    [[ -f $file ]] || continue
    id=${file#/var/lib/cni/results/"$BRIDGE"-}
    rm -f "$file" "/var/lib/cni/results/cni-loopback-${id%-eth0}-lo"
  done
}

# Every process in the instance's cgroups is a process of one of its pods.
kill_pods() {
  local tries pids
  for ((tries = 0; tries < 50; tries++)); do
    pids=$(pod_processes)
    [[ -n $pids ]] || return 0
    # shellcheck disable=SC2086
    kill -KILL $pids 2>/dev/null || true
    sleep 0.1
  done
  die "processes of pods that cannot be killed: $pids"
}

pod_processes() {
  local tree
  while read -r tree; do
    [[ -d $tree/$CGROUP ]] || continue
    find "$tree/$CGROUP" -name cgroup.procs -exec cat {} + 2>/dev/null || true
  done < <(cgroup_trees) | sort -un
}

# The shims outlive a containerd that was killed. They are known by the socket of this instance on their command line.
kill_shims() {
  local tries pids
  for ((tries = 0; tries < 50; tries++)); do
    pids=$(shim_processes)
    [[ -n $pids ]] || return 0
    # shellcheck disable=SC2086
    kill -KILL $pids 2>/dev/null || true
    sleep 0.1
  done
  die "containerd shims that cannot be killed: $pids"
}

shim_processes() {
  local file
  for file in /proc/[0-9]*/cmdline; do
    tr '\0' ' ' 2>/dev/null <"$file" | grep -q "containerd-shim.* -address $CONTAINERD_SOCKET " || continue
    file=${file#/proc/}
    printf '%s\n' "${file%/cmdline}"
  done
}

# containerd keeps the shims' sockets outside its directories; each task's directory says where.
shim_sockets() {
  local file
  for file in "$CONTAINERD"/state/io.containerd.runtime.v2.task/k8s.io/*/address; do
    [[ -f $file ]] && sed 's|^unix://||' "$file" && echo
  done
  return 0
}

# The last mounted first. A mount point with a space is written with \040 in /proc/self/mounts.
unmount_all() {
  local tries point left
  for ((tries = 0; tries < 20; tries++)); do
    left=$(awk -v run="$RUN/" 'index($2, run) == 1 { print $2 }' /proc/self/mounts | tac)
    [[ -n $left ]] || return 0
    while read -r point; do
      point=$(printf '%b' "$point")
      umount "$point" 2>/dev/null || { ((tries > 10)) && umount --lazy "$point" 2>/dev/null; } || true
    done <<<"$left"
    sleep 0.1
  done
  die "cannot unmount: $left"
}

remove_cgroups() {
  local tree
  while read -r tree; do
    [[ -d $tree/$CGROUP ]] || continue
    wait_for 5 "$tree/$CGROUP is removed" remove_cgroup_tree "$tree/$CGROUP" || true
  done < <(cgroup_trees)
}

# A cgroup's directory holds files that cannot be deleted; rmdir of the directory takes them along.
remove_cgroup_tree() {
  find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
  [[ ! -d $1 ]]
}

# The portmap plugin's rules of pods that were killed, and its chains when they were not there before.
remove_host_ports() {
  local chain rule
  iptables-save -t nat 2>/dev/null | grep -q "CNI-.*$BRIDGE" || [[ -f $BEFORE/chains ]] || return 0
  while read -r rule; do
    # shellcheck disable=SC2086
    eval "iptables -t nat -D ${rule#-A }" 2>/dev/null || true
    chain=$(grep -o 'CNI-DN-[0-9a-f]*' <<<"$rule" | head -n 1) || continue
    iptables -t nat -F "$chain" 2>/dev/null || true
    iptables -t nat -X "$chain" 2>/dev/null || true
  done < <(iptables-save -t nat 2>/dev/null | grep -- "--comment.*\"$BRIDGE\\\\\\?\"" || true)
  for chain in CNI-HOSTPORT-DNAT CNI-HOSTPORT-SETMARK CNI-HOSTPORT-MASQ; do
    grep -qx ":$chain" "$BEFORE/chains" 2>/dev/null && continue
    remove_chain "$chain"
  done
}

# Removes a chain that holds no pod's rules any more, and the rules that lead to it.
remove_chain() {
  local rules rule
  rules=$(iptables-save -t nat 2>/dev/null) || return 0
  grep -q "^:$1 " <<<"$rules" || return 0
  grep -q "^-A $1 .*CNI-DN-" <<<"$rules" && return 0
  while read -r rule; do
    eval "iptables -t nat -D ${rule#-A }" 2>/dev/null || true
  done < <(grep -- "-j $1\$" <<<"$rules" || true)
  iptables -t nat -F "$1" 2>/dev/null || true
  iptables -t nat -X "$1" 2>/dev/null || true
}

remove_links_to_logs() {
  local link
  for link in /var/log/containers/*.log; do
    if [[ -L $link && $(readlink "$link") == "$RUN"/* ]]; then rm -f "$link"; fi
  done
}

restore_sysctls() {
  local file key
  for file in "$BEFORE"/*.*; do
    [[ -f $file ]] || continue
    key=$(basename "$file")
    cmp -s "$file" "/proc/sys/${key//.//}" || cat "$file" >"/proc/sys/${key//.//}" 2>/dev/null || true
  done
}

# Directories that containerd, the CNI plugins and the kubelet made outside the run directory, when they are empty. The
# kubelet leaves the socket for device plugins behind; a connection tells whether it is another kubelet's.
remove_new_directories() {
  local directory socket=/var/lib/kubelet/device-plugins/kubelet.sock
  while read -r directory; do
    if [[ $directory == /var/lib/kubelet && -S $socket ]] && ! grep -q " $socket\$" /proc/net/unix; then
      rm -f "$socket"
    fi
    [[ -d $directory ]] && find "$directory" -depth -type d -empty -delete 2>/dev/null
  done < <(cat "$BEFORE/absent" 2>/dev/null || true)
  return 0
}
