#!/bin/bash
# The entry point of the bench's Alluxio images.
#   alluxio master | worker | job-master | job-worker    runs a server in the foreground
#   alluxio fs ARGS... | fsadmin ARGS...                 the command lines
# ALLUXIO_JAVA_OPTS is added to every Java command line, ALLUXIO_HEAP sets the heap of a server.
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

run_java() {
  local logger=$1
  shift
  # shellcheck disable=SC2086
  exec java "${java_options[@]}" "-Dratchet.bench.logger=$logger" ${ALLUXIO_JAVA_OPTS:-} \
    -cp "$home/conf:$home/etc:$home/lib-version/*:$home/lib/*" "$@"
}

# A journal is formatted once in its life: the marker goes with it to the next container and the next pod.
format_once() {
  [[ -f $journal/.formatted ]] && return 0
  (run_java WARN alluxio.cli.Format master)
  touch "$journal/.formatted"
}

role=${1:?master, worker, job-master, job-worker, fs or fsadmin}
shift
case $role in
  master)
    format_once
    run_java INFO "-Xmx${ALLUXIO_HEAP:-384m}" alluxio.master.AlluxioMaster "$@"
    ;;
  worker) run_java INFO "-Xmx${ALLUXIO_HEAP:-320m}" alluxio.worker.AlluxioWorker "$@" ;;
  job-master) run_java INFO "-Xmx${ALLUXIO_HEAP:-256m}" alluxio.master.AlluxioJobMaster "$@" ;;
  job-worker) run_java INFO "-Xmx${ALLUXIO_HEAP:-256m}" alluxio.worker.AlluxioJobWorker "$@" ;;
  fs) run_java WARN -Xmx128m alluxio.cli.fs.FileSystemShell "$@" ;;
  fsadmin) run_java WARN -Xmx128m alluxio.cli.fsadmin.FileSystemAdminShell "$@" ;;
  *)
    echo "unknown role: $role" >&2
    exit 2
    ;;
esac
