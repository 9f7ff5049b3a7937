# Starting, finding and stopping the programs of the bench. Sourced by bench.sh.
# shellcheck shell=bash

# A pid file holds the pid, the process's start time and the machine's boot id. The three together name one process for
# good: a recycled pid has another start time, and after a reboot nothing matches.
boot_id() { cat /proc/sys/kernel/random/boot_id; }

# Field 22 of /proc/PID/stat, counted after the command name, which may itself contain spaces and parentheses.
start_time() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # shellcheck disable=SC2086
  set -- ${stat##*) }
  [[ $1 != Z ]] || return 1
  printf '%s' "${20}"
}

# own_pid NAME: prints the pid when the recorded process still runs.
own_pid() {
  local file=$PIDS/$1 pid started boot command
  [[ -f $file ]] || return 1
  { read -r pid started boot; read -r command; } <"$file"
  [[ $boot == "$(boot_id)" && $(start_time "$pid") == "$started" ]] || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$command" || return 1
  printf '%s' "$pid"
}

running() { own_pid "$1" >/dev/null; }

# launch NAME PROGRAM ARGS...: starts a program in the background in a session of its own and records it.
launch() {
  local name=$1 pid
  shift
  mkdir -p "$LOGS" "$PIDS"
  printf '%s starting\n' "--- $(date -Is)" >>"$LOGS/$name.log"
  # 9 is the lock of this command, which the program must not go on holding.
  setsid "$@" </dev/null >>"$LOGS/$name.log" 2>&1 9>&- &
  pid=$!
  disown "$pid"
  # The pid is the shell's until exec: the command line recorded is that of the program.
  local tries
  for ((tries = 0; tries < 50; tries++)); do
    if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$1" && [[ $(readlink "/proc/$pid/exe") == "$(readlink -f "$1")" ]]; then break; fi
    [[ -d /proc/$pid ]] || break
    sleep 0.02
  done
  if ! printf '%s %s %s\n%s\n' "$pid" "$(start_time "$pid")" "$(boot_id)" "$1" >"$PIDS/$name.new"; then :; fi
  mv "$PIDS/$name.new" "$PIDS/$name"
}

# await NAME SECONDS WHAT COMMAND...: like wait_for, but ends at once when the program has died, and shows its log.
await() {
  local name=$1 limit=$2 what=$3 start
  shift 3
  start=$(now)
  until "$@" >/dev/null 2>&1; do
    if ! running "$name"; then
      log_tail "$name"
      die "$name has stopped instead of becoming ready ($what)"
    fi
    if (($(now) - start >= limit)); then
      log_tail "$name"
      die "$name: $what: not so after $limit s"
    fi
    sleep 0.1
  done
}

# stop NAME [SECONDS]: TERM, and KILL if it does not go in time. Only the recorded process is ever signalled.
stop() {
  local name=$1 limit=${2:-15} pid start
  if pid=$(own_pid "$name"); then
    kill -TERM "$pid" 2>/dev/null || true
    start=$(now)
    while running "$name"; do
      if (($(now) - start >= limit)); then
        say "$name does not stop: killing it"
        kill -KILL "$pid" 2>/dev/null || true
        sleep 0.2
        break
      fi
      sleep 0.1
    done
  fi
  rm -f "$PIDS/$name"
}

port_open() { (exec 3<>"/dev/tcp/${2:-127.0.0.1}/$1") 2>/dev/null; }

# need_free_port PORT WHAT [ADDRESS]
need_free_port() {
  if port_open "$1" "${3:-127.0.0.1}"; then
    die "port $1 for $2 is taken by another program: set RATCHET_BENCH_PORT_BASE (now $PORT_BASE)"
  fi
}

component_line() {
  local name=$1 pid
  if pid=$(own_pid "$name"); then
    printf '%-24s running   pid %s\n' "$name" "$pid"
  else
    printf '%-24s stopped\n' "$name"
  fi
}
