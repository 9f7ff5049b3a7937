# The api level: etcd, kube-apiserver, kube-controller-manager. Sourced by bench.sh.
# shellcheck shell=bash

API_COMPONENTS=(etcd kube-apiserver kube-controller-manager)

api_up() {
  local program
  for program in "${API_COMPONENTS[@]}" kubectl; do
    [[ -x $BIN/$program ]] || die "$program is not built yet: run 'bench.sh build api'"
  done
  # With neither etcd nor an apiserver alive, whatever the run directory holds was left by a run that was killed:
  # a fresh start, with an empty etcd, is what `up` promises.
  if ! running etcd && ! running kube-apiserver && [[ -f $RUN/.ratchet-bench ]]; then
    say "clearing what an earlier run left in $RUN"
    node_down
    api_down
    remove_run_directory
  fi
  make_run_directory
  make_credentials
  start_etcd
  start_apiserver
  start_controller_manager
  api_ready
}

# --- credentials -------------------------------------------------------------------------------------------------

random_token() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# Test credentials: a CA of this instance, the apiserver's certificate, the client certificate it shows to the kubelet,
# the key that signs service account tokens, and one token per user.
make_credentials() {
  [[ -f $PKI/done ]] && return 0
  mkdir -p "$PKI"
  chmod 700 "$PKI"
  new_key "$PKI/ca.key"
  openssl req -x509 -new -key "$PKI/ca.key" -sha256 -days 3650 -subj "/CN=ratchet-bench" -out "$PKI/ca.crt" 2>/dev/null
  signed_certificate apiserver "/CN=kube-apiserver" \
    "subjectAltName=IP:127.0.0.1,IP:$NODE_IP,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
  signed_certificate kubelet-client "/O=system:masters/CN=kube-apiserver-kubelet-client" "extendedKeyUsage=clientAuth"
  # RSA, because it is what every version and every client library of service account tokens accepts.
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$PKI/service-account.key" 2>/dev/null
  openssl pkey -in "$PKI/service-account.key" -pubout -out "$PKI/service-account.pub" 2>/dev/null

  local user group token
  : >"$PKI/tokens.csv"
  for user in admin alice bob; do
    group=
    [[ $user == admin ]] && group=system:masters
    token=$(random_token)
    printf '%s,%s,%s-uid,"%s"\n' "$token" "$user" "$user" "$group" >>"$PKI/tokens.csv"
    write_kubeconfig "$user" "$token" "$RUN/$user.kubeconfig"
  done
  chmod 600 "$PKI"/*.key "$PKI/tokens.csv"
  touch "$PKI/done"
}

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1" 2>/dev/null; }

# signed_certificate NAME SUBJECT EXTENSION
signed_certificate() {
  new_key "$PKI/$1.key"
  openssl req -new -key "$PKI/$1.key" -subj "$2" -out "$PKI/$1.csr" 2>/dev/null
  openssl x509 -req -in "$PKI/$1.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -sha256 -days 3650 \
    -extfile <(printf '%s\n' "$3") -out "$PKI/$1.crt" 2>/dev/null
}

# write_kubeconfig USER TOKEN FILE
write_kubeconfig() {
  cat >"$3.new" <<KUBECONFIG
apiVersion: v1
kind: Config
current-context: bench
clusters:
- name: bench
  cluster:
    server: https://127.0.0.1:$PORT_APISERVER
    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
users:
- name: $1
  user:
    token: $2
contexts:
- name: bench
  context:
    cluster: bench
    user: $1
    namespace: default
KUBECONFIG
  chmod 600 "$3.new"
  mv "$3.new" "$3"
}

# --- programs ----------------------------------------------------------------------------------------------------

start_etcd() {
  running etcd && return 0
  need_free_port "$PORT_ETCD" etcd
  need_free_port "$PORT_ETCD_PEER" "etcd's peers"
  # --unsafe-no-fsync: the data is worth nothing after the test, and every write would otherwise wait for the disk.
  launch etcd "$BIN/etcd" --name=bench --data-dir="$RUN/etcd" --log-level=warn --unsafe-no-fsync \
    --listen-client-urls="http://127.0.0.1:$PORT_ETCD" --advertise-client-urls="http://127.0.0.1:$PORT_ETCD" \
    --listen-peer-urls="http://127.0.0.1:$PORT_ETCD_PEER" \
    --initial-advertise-peer-urls="http://127.0.0.1:$PORT_ETCD_PEER" \
    --initial-cluster="bench=http://127.0.0.1:$PORT_ETCD_PEER"
  await etcd 30 "its client port is open" port_open "$PORT_ETCD"
}

start_apiserver() {
  running kube-apiserver && return 0
  need_free_port "$PORT_APISERVER" kube-apiserver
  # --endpoint-reconciler-type=none: the only address is loopback, which is not allowed in Endpoints.
  # --kubelet-preferred-address-types: the node's name does not resolve, so logs and exec need its address.
  launch kube-apiserver "$BIN/kube-apiserver" \
    --etcd-servers="http://127.0.0.1:$PORT_ETCD" \
    --bind-address=127.0.0.1 --secure-port="$PORT_APISERVER" \
    --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --cert-dir="$RUN/apiserver" \
    --client-ca-file="$PKI/ca.crt" --token-auth-file="$PKI/tokens.csv" --authorization-mode=RBAC \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$PKI/service-account.pub" \
    --service-account-signing-key-file="$PKI/service-account.key" \
    --service-cluster-ip-range="$SERVICE_CIDR" --endpoint-reconciler-type=none --allow-privileged=true \
    --kubelet-preferred-address-types=InternalIP \
    --kubelet-client-certificate="$PKI/kubelet-client.crt" --kubelet-client-key="$PKI/kubelet-client.key"
}

start_controller_manager() {
  running kube-controller-manager && return 0
  await kube-apiserver 60 "it answers /readyz" kc get --raw /readyz
  need_free_port "$PORT_CONTROLLER_MANAGER" kube-controller-manager
  launch kube-controller-manager "$BIN/kube-controller-manager" \
    --kubeconfig="$RUN/admin.kubeconfig" --leader-elect=false \
    --bind-address=127.0.0.1 --secure-port="$PORT_CONTROLLER_MANAGER" --cert-dir="$RUN/controller-manager" \
    --root-ca-file="$PKI/ca.crt" --service-account-private-key-file="$PKI/service-account.key" \
    --flex-volume-plugin-dir="$RUN/controller-manager/volume-plugins" --kube-api-qps=100 --kube-api-burst=200
}

# The default namespace's service account is made by the controller manager: once it is there, tests can create pods.
api_ready() {
  await kube-apiserver 60 "it answers /readyz" kc get --raw /readyz
  await kube-controller-manager 60 "the default service account exists" \
    kc -n default get serviceaccount default -o name
  say "the api level is up: KUBECONFIG=$RUN/admin.kubeconfig"
}

api_status() {
  local name
  for name in "${API_COMPONENTS[@]}"; do component_line "$name"; done
}

api_down() {
  stop kube-controller-manager
  # The apiserver waits for open watches of test clients for up to a minute; nothing of it is worth waiting for.
  stop kube-apiserver 5
  stop etcd 5
}
