# Container images without a registry: archives that `ctr image import` reads. Sourced by bench.sh.
# shellcheck shell=bash

digest_of() { sha256sum "$1" | cut -d' ' -f1; }

# pack_layer DIRECTORY FILE: the same content gives the same bytes, and so the same digest. Whatever root's umask, other
# users of the image can read it.
pack_layer() {
  tar --sort=name --mtime=@0 --mode=u=rwX,go=rX --numeric-owner --format=gnu -C "$1" -cf "$2" .
}

# image_config CONFIG_JSON LAYER...: prints an image configuration over these layers.
image_config() {
  local config=$1 layer separator=
  shift
  printf '{"architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":[' \
    "$(GOTOOLCHAIN=local go env GOARCH)" "$config"
  for layer in "$@"; do
    printf '%s"sha256:%s"' "$separator" "$(digest_of "$layer")"
    separator=,
  done
  printf ']}}\n'
}

# manifest_entry TAG CONFIG_FILE LAYER...: prints the image's entry in the archive's manifest.
manifest_entry() {
  local tag=$1 config=$2 layer separator=
  shift 2
  printf '{"Config":"%s","RepoTags":["%s"],"Layers":[' "$config" "$tag"
  for layer in "$@"; do
    printf '%s"%s"' "$separator" "$(basename "$layer")"
    separator=,
  done
  printf ']}'
}

make_pause_image() {
  local work=$1.work
  rm -rf "$work"
  mkdir -p "$work/rootfs" "$work/image"
  go_build pause . "$work/rootfs/pause" "-s -w"
  pack_layer "$work/rootfs" "$work/image/layer.tar"
  image_config '{"Entrypoint":["/pause"]}' "$work/image/layer.tar" >"$work/image/config.json"
  printf '[%s]\n' "$(manifest_entry "$PAUSE_IMAGE" config.json layer.tar)" >"$work/image/manifest.json"
  tar -C "$work/image" -cf "$1" manifest.json config.json layer.tar
  rm -rf "$work"
}

# A Debian root file system with a Java 17 runtime and a shell. The bench needs no manual pages, and of the runtime
# neither the symbols for compiling against older releases nor the archive for heaps above 32 GiB.
make_java_layer() {
  # The runtime's installation makes links in the directory of manual pages, which must therefore exist.
  # shellcheck disable=SC2016
  mmdebstrap --mode=root --variant=essential --format=tar --include=openjdk-17-jre-headless,procps \
    --setup-hook='mkdir -p "$1/usr/share/man/man1"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
    --customize-hook='rm -f "$1"/usr/lib/jvm/*/lib/ct.sym "$1"/usr/lib/jvm/*/lib/server/classes_nocoops.jsa' \
    bookworm "$1"
}

# One archive with an image for each version. The versions share the layer of the runtime and the layer of all jars that
# are the same in every version, which is nearly everything: importing a further version costs almost nothing.
make_alluxio_images() {
  local work=$1.work version jar entries=
  rm -rf "$work"
  mkdir -p "$work/image"
  ln "$(output_of java-layer)" "$work/image/java.tar"

  local first=${ALLUXIO_VERSIONS[0]} shared=$work/shared
  mkdir -p "$shared/opt/alluxio/lib"
  for jar in "$BENCH_DIR/jars/$first"/*.jar; do
    in_every_version "$jar" && cp "$jar" "$shared/opt/alluxio/lib/"
  done
  # The official image's entry point and user.
  install -m 755 "$BENCH_HOME/alluxio/entrypoint.sh" "$shared/entrypoint.sh"
  tar -C "$shared" -xf "$work/image/java.tar" ./etc/passwd ./etc/group
  echo 'alluxio:x:1000:1000::/opt/alluxio:/bin/sh' >>"$shared/etc/passwd"
  echo 'alluxio:x:1000:' >>"$shared/etc/group"
  pack_layer "$shared" "$work/image/shared.tar"

  for version in "${ALLUXIO_VERSIONS[@]}"; do
    local own=$work/$version
    mkdir -p "$own"/opt/alluxio/{lib-version,etc,conf,logs,bin}
    for jar in "$BENCH_DIR/jars/$version"/*.jar; do
      [[ -f $shared/opt/alluxio/lib/$(basename "$jar") ]] || cp "$jar" "$own/opt/alluxio/lib-version/"
    done
    install -m 755 "$BENCH_HOME/alluxio/entry.sh" "$own/opt/alluxio/bin/alluxio"
    cp "$BENCH_HOME/alluxio/log4j.properties" "$own/opt/alluxio/etc/"
    # That user's, as in the official image: the servers write below conf and logs, and beside them.
    chown -R 1000:1000 "$own/opt/alluxio"
    pack_layer "$own" "$work/image/alluxio-$version.tar"
    image_config '{"Entrypoint":["/opt/alluxio/bin/alluxio"],"WorkingDir":"/opt/alluxio","Env":["PATH=/opt/alluxio/bin:/usr/sbin:/usr/bin:/sbin:/bin","LANG=C.UTF-8"]}' \
      "$work/image"/{java,shared,"alluxio-$version"}.tar >"$work/image/config-$version.json"
    entries+=${entries:+,}$(manifest_entry "ratchet-bench/alluxio:$version" "config-$version.json" \
      java.tar shared.tar "alluxio-$version.tar")
  done
  printf '[%s]\n' "$entries" >"$work/image/manifest.json"
  (cd "$work/image" && tar -cf "$1" -- *.json *.tar)
  rm -rf "$work"
}

# Whether every version has this very jar.
in_every_version() {
  local version
  for version in "${ALLUXIO_VERSIONS[@]}"; do
    cmp -s "$1" "$BENCH_DIR/jars/$version/$(basename "$1")" || return 1
  done
}
