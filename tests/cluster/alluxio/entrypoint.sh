#!/bin/sh
# The contract of the official image's /entrypoint.sh, as far as Ratchet's managed clusters use it: one server in the
# foreground. The official one formats unless it is told --no-format. No pod of Ratchet's may do that, so here it fails.
set -eu
case "$*" in
  'master-only --no-format') server=master ;;
  'worker-only --no-format') server=worker ;;
  job-master | job-worker | proxy) server=$1 ;;
  *)
    echo "'$*' is none of: master-only --no-format, worker-only --no-format, job-master, job-worker, proxy" >&2
    exit 1
    ;;
esac
# The official one keeps the ALLUXIO_*_JAVA_OPTS there: a pod whose conf directory is read-only does not start.
: >>/opt/alluxio/conf/alluxio-env.sh
exec /opt/alluxio/bin/alluxio serve "$server"
