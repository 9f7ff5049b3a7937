#!/bin/bash
# The entry point of the bench's Alluxio images.
#   alluxio master | worker | job-master | job-worker    runs a server in the foreground; a master's journal is formatted
#                                                        if it never was
#   alluxio serve master | worker | ... | proxy          the same, and nothing is formatted (for /entrypoint.sh)
#   alluxio formatJournal                                formats a master's journal, whatever is in it
#   alluxio fs ARGS... | fsadmin ARGS...                 the command lines
# ALLUXIO_JAVA_OPTS is added to every Java command line, ALLUXIO_MASTER_JAVA_OPTS and so on to that of the one server,
# ALLUXIO_HEAP sets the heap of a server.
set -eu

home=/opt/alluxio
journal=/journal

# The interpreter and C1 only, and one collector thread: on a small machine the servers' start is what costs.
java_options=(
  -XX:+UseSerialGC -XX:TieredStopAtLevel=1
  --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED
  -Djava.net.preferIPv4Stack=true
  # A pod that comes back has another address: do not remember the old one, nor that there was none. The third is read
  # by gRPC, which has a cache of its own.
  -Dsun.net.inetaddr.ttl=1 -Dsun.net.inetaddr.negative.ttl=0 -Dnetworkaddress.cache.ttl=0
  "-Dalluxio.home=$home" "-Dalluxio.conf.dir=$home/conf" "-Dalluxio.logs.dir=$home/logs"
)

# run_java LOGGER HEAP [OPTION...] CLASS [ARG...]: the last -Xmx is the one that counts, so the default comes first.
run_java() {
  local logger=$1 heap=$2
  shift 2
  # shellcheck disable=SC2086
  exec java "${java_options[@]}" "-Dratchet.bench.logger=$logger" "-Xmx$heap" ${ALLUXIO_JAVA_OPTS:-} \
    -cp "$home/conf:$home/etc:$home/lib-version/*:$home/lib/*" "$@"
}

# serve SERVER [ARG...]
serve() {
  local server=${1:-} heap options class
  case $server in
    master) heap=384m options=${ALLUXIO_MASTER_JAVA_OPTS:-} class=alluxio.master.AlluxioMaster ;;
    worker) heap=320m options=${ALLUXIO_WORKER_JAVA_OPTS:-} class=alluxio.worker.AlluxioWorker ;;
    job-master) heap=256m options=${ALLUXIO_JOB_MASTER_JAVA_OPTS:-} class=alluxio.master.AlluxioJobMaster ;;
    job-worker) heap=256m options=${ALLUXIO_JOB_WORKER_JAVA_OPTS:-} class=alluxio.worker.AlluxioJobWorker ;;
    proxy) heap=256m options=${ALLUXIO_PROXY_JAVA_OPTS:-} class=alluxio.proxy.AlluxioProxy ;;
    *)
      echo "unknown role: $server" >&2
      exit 2
      ;;
  esac
  shift
  # shellcheck disable=SC2086
  run_java INFO "${ALLUXIO_HEAP:-$heap}" $options "$class" "$@"
}

format() { run_java WARN 128m alluxio.cli.Format master; }

# A journal is formatted once in its life: the marker goes with it to the next container and the next pod.
format_once() {
  [[ -f $journal/.formatted ]] && return 0
  (format)
  touch "$journal/.formatted"
}

role=${1:?a server, formatJournal, fs or fsadmin}
shift
case $role in
  formatJournal) format ;;
  fs) run_java WARN 128m alluxio.cli.fs.FileSystemShell "$@" ;;
  fsadmin) run_java WARN 128m alluxio.cli.fsadmin.FileSystemAdminShell "$@" ;;
  serve) serve "$@" ;;
  master)
    format_once
    serve master "$@"
    ;;
  *) serve "$role" "$@" ;;
esac
