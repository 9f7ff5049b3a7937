# Building what the bench runs, into the cache. Sourced by bench.sh.
# shellcheck shell=bash

ARTIFACTS_API=(etcd kube-apiserver kube-controller-manager kubectl)
ARTIFACTS_NODE=(kube-scheduler kubelet coredns pause-image java-layer)
for version in "${ALLUXIO_VERSIONS[@]}"; do ARTIFACTS_NODE+=("alluxio-jars-$version"); done
ARTIFACTS_NODE+=(alluxio-image)
unset version

build() {
  local level wanted name pending=()
  level=$(level_argument "$@")
  wanted=("${ARTIFACTS_API[@]}")
  [[ $level == node ]] && wanted+=("${ARTIFACTS_NODE[@]}")

  mkdir -p "$BIN" "$IMAGES" "$BENCH_DIR/stamps" "$BENCH_DIR/locks" "$BENCH_DIR/jars" "$BENCH_DIR/build-logs"
  exec 8>"$BENCH_DIR/locks/build"
  if ! flock -n 8; then
    say "another build is going on: waiting for it"
    flock 8
  fi
  for name in "${wanted[@]}"; do is_built "$name" || pending+=("$name"); done
  if [[ ${#pending[@]} == 0 ]]; then
    say "everything of the $level level is built"
    return 0
  fi
  check_build_tools "$level"

  local index=0 start
  start=$(now)
  for name in "${pending[@]}"; do
    index=$((index + 1))
    build_one "$name" "$index/${#pending[@]}"
  done
  say "the $level level is built ($(($(now) - start)) s)"
}

check_build_tools() {
  local lacking
  lacking=$(missing "$1")
  [[ -z $lacking ]] && return 0
  # The report goes to stderr: building has nothing to say on stdout.
  doctor "$1" >&2 || true
  die "cannot build the $1 level on this machine"
}

# --- one artifact ------------------------------------------------------------------------------------------------

# Where an artifact ends up.
output_of() {
  case $1 in
    pause-image) printf '%s' "$IMAGES/pause.tar" ;;
    java-layer) printf '%s' "$BENCH_DIR/layers/java.tar" ;;
    alluxio-jars-*) printf '%s' "$BENCH_DIR/jars/${1#alluxio-jars-}" ;;
    alluxio-image) printf '%s' "$IMAGES/alluxio.tar" ;;
    *) printf '%s' "$BIN/$1" ;;
  esac
}

# What an artifact is made from: when its hash changes, the artifact is built again.
inputs_of() {
  declare -f make_artifact
  case $1 in
    etcd) cat "$BENCH_HOME"/go/etcd/go.{mod,sum} ;;
    kube*)
      cat "$BENCH_HOME"/go/kubernetes/go.{mod,sum}
      kubernetes_ldflags
      ;;
    coredns) cat "$BENCH_HOME"/go/coredns/{go.mod,go.sum,main.go} ;;
    pause-image)
      declare -f make_pause_image pack_layer
      cat "$BENCH_HOME"/go/pause/{go.mod,main.go}
      ;;
    java-layer) declare -f make_java_layer ;;
    alluxio-jars-*)
      declare -f make_alluxio_jars
      cat "$BENCH_HOME/alluxio/pom.xml"
      ;;
    alluxio-image)
      local version
      declare -f make_alluxio_images pack_layer
      cat "$BENCH_HOME"/alluxio/{entry.sh,entrypoint.sh,log4j.properties}
      hash_of java-layer
      for version in "${ALLUXIO_VERSIONS[@]}"; do hash_of "alluxio-jars-$version"; done
      ;;
  esac 2>/dev/null
}

stamp_of() { printf '%s' "$BENCH_DIR/stamps/$1"; }
hash_of() { inputs_of "$1" | sha256sum | cut -d' ' -f1; }

is_built() {
  [[ -e $(output_of "$1") && -f $(stamp_of "$1") && $(cat "$(stamp_of "$1")") == "$(hash_of "$1")" ]]
}

# build_one NAME N/M: makes the artifact beside its place and moves it there, so that an interrupted build leaves the
# earlier artifact, or none, but never a part of one.
build_one() {
  local name=$1 count=$2 output temporary log start last child status=0
  output=$(output_of "$name")
  temporary=$output.building
  log=$BENCH_DIR/build-logs/$name.log
  start=$(now)
  last=$start
  mkdir -p "$(dirname "$output")"
  rm -rf "$temporary"
  say "building $name ... ($count)"
  make_artifact "$name" "$temporary" >"$log" 2>&1 </dev/null &
  child=$!
  # shellcheck disable=SC2064
  trap "kill_tree $child; rm -rf '$temporary'; exit 130" INT TERM
  while kill -0 "$child" 2>/dev/null; do
    sleep 0.5
    if (($(now) - last >= 20)); then
      last=$(now)
      say "building $name ... ($count, $((last - start)) s)"
    fi
  done
  wait "$child" || status=$?
  trap - INT TERM
  if [[ $status != 0 ]]; then
    tail -n 25 "$log" >&2
    rm -rf "$temporary"
    die "building $name failed; the whole log is $log"
  fi
  rm -rf "$output"
  mv "$temporary" "$output"
  hash_of "$name" >"$(stamp_of "$name")"
  say "built $name ($count, $(($(now) - start)) s)"
}

# Ends a process and its descendants, deepest first: the compiler runs below the shell that the build started.
kill_tree() {
  local child
  while read -r child; do kill_tree "$child"; done < <(cat "/proc/$1/task/"*/children 2>/dev/null | tr ' ' '\n' | grep .)
  kill -TERM "$1" 2>/dev/null || true
}

make_artifact() {
  local name=$1 output=$2
  case $name in
    etcd) go_build etcd go.etcd.io/etcd/server/v3 "$output" "-s -w" ;;
    kube*) go_build kubernetes "k8s.io/kubernetes/cmd/$name" "$output" "$(kubernetes_ldflags)" ;;
    coredns) go_build coredns . "$output" "-s -w" ;;
    pause-image) make_pause_image "$output" ;;
    java-layer) make_java_layer "$output" ;;
    alluxio-jars-*) make_alluxio_jars "${name#alluxio-jars-}" "$output" ;;
    alluxio-image) make_alluxio_images "$output" ;;
  esac
}

# The modules carry no version of their own; without one the apiserver reports v0.0.0 and clients misjudge it.
kubernetes_ldflags() {
  local package=k8s.io/component-base/version minor=${KUBERNETES_VERSION#v1.}
  printf '%s' "-s -w -X $package.gitVersion=$KUBERNETES_VERSION -X $package.gitMajor=1" \
    " -X $package.gitMinor=${minor%%.*} -X $package.gitTreeState=clean"
}

# go_build MODULE PACKAGE OUTPUT LDFLAGS. -mod=readonly: what is built is what go.mod and go.sum say.
go_build() {
  (
    cd "$BENCH_HOME/go/$1" || exit 1
    GOTOOLCHAIN=local GOFLAGS='-mod=readonly -buildvcs=false' GOWORK=off CGO_ENABLED=0 \
      go build -trimpath -ldflags="$4" -o "$3" "$2"
  )
}

# Of the two bindings of the logging interface that Alluxio's dependencies bring, the image needs one.
make_alluxio_jars() {
  mvn -q -B -ntp -f "$BENCH_HOME/alluxio/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DexcludeArtifactIds=log4j-slf4j-impl \
    "-Dalluxio.version=$1" "-DoutputDirectory=$2"
  # All six parts must be of the version asked for: a version that was published only in part must not pass.
  local part
  for part in core-server-{master,worker,proxy} job-server shell underfs-local; do
    [[ -f $2/alluxio-$part-$1.jar ]] || {
      echo "alluxio-$part $1 is missing"
      return 1
    }
  done
}
