# What the machine needs. Sourced by bench.sh.
# shellcheck shell=bash

# One line per tool: level, program (or file), Debian package, what it is for. Go is the only one that Debian's own
# package is too old for.
requirements() {
  cat <<'LIST'
api|go||builds etcd and Kubernetes (Go 1.26 or newer)
api|openssl|openssl|makes the instance's certificates
api|flock|util-linux|keeps two bench commands apart
api|sha256sum|coreutils|tells whether something must be built again
node|ip|iproute2|makes the pods' bridge
node|iptables-save|iptables|host ports of pods (the CNI portmap plugin)
node|containerd|containerd|runs the pods
node|ctr|containerd|imports the images
node|runc|runc|runs the containers
node|cni:bridge|containernetworking-plugins|gives pods their addresses
node|cni:host-local|containernetworking-plugins|gives pods their addresses
node|cni:tuning|containernetworking-plugins|sets how soon pods give up a dead address
node|cni:portmap|containernetworking-plugins|gives pods their host ports
node|mmdebstrap|mmdebstrap|builds the root file system of the Alluxio images
node|mvn|maven|fetches Alluxio's jars
node|java|openjdk-17-jdk-headless|runs Maven
node|tar|tar|packs the images
LIST
}

# Where the CNI plugins are: Debian's package has its own place, others use /opt/cni/bin.
cni_bin_dir() {
  local dir
  for dir in /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do
    if [[ -x $dir/host-local ]]; then
      printf '%s' "$dir"
      return 0
    fi
  done
  return 1
}

have() {
  case $1 in
    cni:*) [[ -x $(cni_bin_dir || true)/${1#cni:} ]] ;;
    go) go_is_new_enough ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

go_is_new_enough() {
  local version
  version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return 1
  [[ $version =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 26))
}

# missing LEVEL: prints the requirements that are not met.
missing() {
  local level tool package purpose
  while IFS='|' read -r level tool package purpose; do
    [[ $level == api || $1 == node ]] || continue
    have "$tool" || printf '%s|%s|%s\n' "$tool" "$package" "$purpose"
  done < <(requirements)
}

doctor() {
  local level tool package purpose how bad=0
  level=$(level_argument "$@")
  while IFS='|' read -r tool package purpose; do
    how="install the Debian package $package (bench.sh install)"
    [[ -n $package ]] || how="install Go 1.26 or newer and put it on the PATH"
    printf 'missing %-16s %s: %s\n' "${tool#cni:}" "$purpose" "$how"
    bad=1
  done < <(missing "$level")
  if [[ $level == node ]]; then
    if [[ $(id -u) != 0 ]]; then
      printf 'missing %-16s the node level mounts file systems and makes network devices: run as root\n' root
      bad=1
    fi
    if ! grep -qw overlay /proc/filesystems; then
      printf 'missing %-16s the containers'\'' file systems: a kernel with overlayfs\n' overlay
      bad=1
    fi
  fi
  if [[ $bad == 0 ]]; then say "nothing is missing for the $level level"; fi
  return "$bad"
}

install_packages() {
  local packages
  mapfile -t packages < <(missing node | cut -d'|' -f2 | grep . | sort -u)
  if ! have go; then say "Go 1.26 or newer is missing and not installed here: put it on the PATH"; fi
  if [[ ${#packages[@]} == 0 ]]; then
    say "every Debian package is there"
    return 0
  fi
  [[ $(id -u) == 0 ]] || die "installing packages needs root: ${packages[*]}"
  say "installing ${packages[*]}"
  DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
}
