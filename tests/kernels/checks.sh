#!/bin/sh
# What is checked on another kernel, inside the virtual machine: every hook has a rung, what the agent exports is what the
# kernel and the servers say themselves, nothing stays loaded. One line per check; `done` at the end.
exporter=http://127.0.0.1:8888/metrics
# A report every 5 s; the emulated machine is slow.
patience=90

pass() { echo "PASS $*"; }
fail() {
  echo "FAIL $*"
  failed=1
}
# same WHAT OURS THEIRS
same() { if [ -n "$2" ] && [ "$2" = "$3" ]; then pass "$1: $2"; else fail "$1: $2 against $3"; fi; }
# at_least WHAT OURS FLOOR
at_least() { if [ "${2:-0}" -ge "$3" ]; then pass "$1: $2"; else fail "$1: ${2:-none}, expected at least $3"; fi; }

# until COMMAND...: whether it succeeds in time.
until_true() {
  for _ in $(seq $patience); do
    "$@" && return
    sleep 1
  done
  return 1
}

programs() { bpftool prog list | grep -c '^[0-9]'; }
maps() { bpftool map list | grep -c '^[0-9]'; }
links() { bpftool link list | grep -c '^[0-9]'; }
as_before() { [ "$(programs) $(maps) $(links)" = "$programs_before $maps_before $links_before" ]; }

# --- what was exported: each line of each report counts once ---

looked_at='cpu_idle_msec|mem_total_kB|tcp_link_(rx_bytes|tx_bytes|segs_in|snd_cwnd_max|sk_rcvbuf_max)|endpoint_tcp_accept_queue_limit'
looked_at="$looked_at|sli_(oldest_nsec|requests_total|errors_total|latency_nsec|proc_nsec_sum|sched_nsec_sum|send_nsec_count)"
looked_at="$looked_at|proc_(fd_count|preempted_ns|fsync_count)|block_requests|block_sync_count"

record() { # as long as the agent is not stopped; a report stands for 5 s and must not be missed
  while sleep 1 && [ ! -e /tmp/stopped ]; do
    wget -q -O - $exporter 2>/dev/null | grep -E "^gala_gopher_($looked_at)\\{"
  done | awk '!seen[$0]++ {
    # Line by line, for half a line would be another number.
    file = "/tmp/reports/" substr($0, 13, index($0, "{") - 13)
    print >> file
    close(file)
  }'
}

# lines METRIC LABEL...: its reports with all these labels: value and time.
lines() {
  local file=/tmp/reports/$1
  shift
  [ -e "$file" ] || return
  awk -v labels="$*" '
    BEGIN {
      n = split(labels, label, " ")
      for (i = 1; i <= n; i++) { sub("=", "=\"", label[i]); label[i] = "," label[i] "\"" }
    }
    {
      text = $0
      sub("{", ",", text)
      for (i = 1; i <= n; i++) if (!index(text, label[i])) next
      print $(NF-1), $NF
    }' "$file"
}

sum() { lines "$@" | awk '{s+=$1} END {printf "%.0f\n", s}'; }
# The newest report, its rows added up.
last() { lines "$@" | sort -k2n | awk '$2!=t {s=0; t=$2} {s+=$1} END {printf "%.0f\n", s}'; }
seen() { [ -n "$(lines "$@")" ]; }
reaches() { # FLOOR METRIC LABEL...
  local floor=$1
  shift
  [ "$(sum "$@")" -ge "$floor" ]
}
totals() { # FLOOR METRIC LABEL...: as `reaches`, of a number that grows for ever
  local floor=$1
  shift
  [ "$(last "$@")" -ge "$floor" ]
}

start_agent() {
  rm -rf /tmp/reports /tmp/stopped
  mkdir /tmp/reports
  # Emulation makes everything dear: the limits of its own cost are not what is checked here.
  gala agent --budget-cpu 100 --budget-memory 1GiB --interval 5 --data /tmp/data > /tmp/agent.log 2>&1 &
  agent=$!
  record &
  recorder=$!
  # One of its own connections tells that the slowest probe is ready.
  until_true seen tcp_link_rx_bytes || fail "the agent exports no connection: $(tail -n 1 /tmp/agent.log)"
}

stop_agent() {
  touch /tmp/stopped
  wait $recorder
  kill $agent
  if until_true sh -c "! kill -0 $agent 2>/dev/null"; then
    wait $agent
    same "exit status after SIGTERM" $? 0
  else
    fail "the agent did not end after SIGTERM"
    kill -9 $agent
  fi
  # The kernel frees programs a moment after their last reference.
  until_true as_before
  same "BPF programs left, as before" "$(programs)" "$programs_before"
  same "BPF maps left, as before" "$(maps)" "$maps_before"
  same "BPF links left, as before" "$(links)" "$links_before"
}

# --- hooks ---

check_hooks() { # PROBE...
  local probe rungs off
  gala doctor | awk '/^probe +hook/ {hooks=1; next} hooks && NF' > /tmp/hooks
  for probe in "$@"; do
    rungs=$(awk -v p=$probe '$1==p {printf " %s=%s", $2, $4 ($3=="degraded" ? "(degraded)" : "")}' /tmp/hooks)
    off=$(awk -v p=$probe '$1==p && $3=="off"' /tmp/hooks)
    if [ -z "$rungs" ] || [ -n "$off" ]; then fail "hooks of $probe are off: $off"; else pass "hooks of $probe:$rungs"; fi
  done
}

# --- cpu, mem ---

check_host() {
  until_true seen mem_total_kB
  until_true seen cpu_idle_msec cpu=0
  same "memory, against /proc/meminfo" "$(last mem_total_kB)" "$(awk '/MemTotal/ {print $2}' /proc/meminfo)"
  at_least "reports of a CPU's idle time" "$(lines cpu_idle_msec cpu=0 | wc -l)" 1
}

# --- one connection with both ends known ---

check_connection() {
  local server client rows
  mkfifo /tmp/from_server /tmp/from_client
  # Open at both ends, so that nobody waits for the other and nothing ends before its time.
  exec 3<> /tmp/from_server 4<> /tmp/from_client
  nc -l -p 7000 <&3 > /dev/null &
  server=$!
  until_true sh -c "ss -ltnH | grep -q :7000"
  nc 127.0.0.1 7000 <&4 > /dev/null &
  client=$!
  head -c 100000 /dev/zero >&4
  rows="tgid=$server comm=nc role=server client_ip=127.0.0.1 server_ip=127.0.0.1 server_port=7000"
  # shellcheck disable=SC2086
  until_true reaches 100000 tcp_link_rx_bytes $rows
  ss -tinmH state established "( sport = :7000 )" > /tmp/ss
  theirs() { tr ' ' '\n' < /tmp/ss | sed -n "s/^$1://p"; }
  # shellcheck disable=SC2086
  {
    same "bytes of a connection at its server, against ss" "$(sum tcp_link_rx_bytes $rows)" "$(theirs bytes_received)"
    # Those of the handshake came before it was a connection.
    same "segments, against ss" "$(($(sum tcp_link_segs_in $rows) + 2))" "$(theirs segs_in)"
    same "congestion window, against ss" "$(lines tcp_link_snd_cwnd_max $rows | awk '{print $1}' | sort -n | tail -n 1)" "$(theirs cwnd)"
    same "receive buffer, against ss" "$(lines tcp_link_sk_rcvbuf_max $rows | awk '{print $1}' | sort -n | tail -n 1)" \
      "$(sed -n 's/.*skmem:([^)]*,\{0,1\}rb\([0-9]*\).*/\1/p' /tmp/ss)"
  }
  until_true reaches 100000 tcp_link_tx_bytes "tgid=$client" role=client server_port=7000
  same "its client" "$(sum tcp_link_tx_bytes "tgid=$client" role=client server_port=7000)" 100000
  kill $client $server
  wait $client $server 2>/dev/null
  exec 3>&- 4>&-
}

# --- Redis ---

executed() { redis-cli info commandstats | tr -d '\r' | sed -n "s/^cmdstat_$1:calls=\([0-9]*\),.*/\1/p"; }

# Clients of their own that wait in the kernel for an answer: the reading of others must be seen all the same.
start_waiting() {
  waiting=
  for _ in 1 2 3 4; do
    redis-cli blpop nothing 0 > /dev/null 2>&1 &
    waiting="$waiting $!"
  done
  until_true sh -c "redis-cli info clients | grep -q blocked_clients:4" || fail "four clients that wait do not"
}

# shellcheck disable=SC2086
end_waiting() {
  kill $waiting
  wait $waiting 2>/dev/null
}

answers_seen() { redis-cli ping > /dev/null 2>&1 && seen sli_requests_total method=PING; }

check_redis() {
  local of_redis
  redis-server --save '' --enable-protected-configs yes --loglevel warning > /tmp/redis.log 2>&1 &
  redis=$!
  of_redis="tgid=$redis server_port=6379"
  # Counted from here on.
  until_true answers_seen
  start_waiting
  redis-benchmark -q -c 5 -n 300 -t get,set > /dev/null 2>&1
  redis-benchmark -q -c 2 -n 320 -P 16 -t lpush > /dev/null 2>&1
  redis-cli set text 1 > /dev/null
  redis-cli lpush text 1 > /dev/null
  end_waiting
  # shellcheck disable=SC2086
  {
    for command in get set lpush; do
      method=$(echo $command | tr a-z A-Z)
      until_true totals "$(executed $command)" sli_requests_total method=$method $of_redis
      same "requests of $method, against Redis" "$(last sli_requests_total method=$method $of_redis)" "$(executed $command)"
    done
    same "errors of LPUSH" "$(last sli_errors_total method=LPUSH $of_redis)" 1
    same "timed requests of GET" "$(last sli_latency_nsec method=GET le=+Inf $of_redis)" "$(executed get)"
    at_least "processing of GET, ns each" "$(($(last sli_proc_nsec_sum method=GET $of_redis) / $(executed get)))" 1000
    until_true totals 1 sli_send_nsec_count method=GET $of_redis
    at_least "sending of GET, acknowledged" "$(last sli_send_nsec_count method=GET $of_redis)" 1
    until_true seen endpoint_tcp_accept_queue_limit $of_redis server_ip=0.0.0.0
    same "limit of the accept queue, against ss" "$(last endpoint_tcp_accept_queue_limit $of_redis server_ip=0.0.0.0)" \
      "$(ss -4ltnH '( sport = :6379 )' | awk '{print $3}')"
  }
}

# Values that come in several packets and are read in several calls.
check_long_values() {
  redis-benchmark -q -c 2 -n 20 -d 100000 -t set > /dev/null 2>&1
  until_true totals "$(executed set)" sli_requests_total method=SET "tgid=$redis"
  same "requests of SET, long values among them" "$(last sli_requests_total method=SET "tgid=$redis")" "$(executed set)"
}

# Slow on purpose, so that the stages are told apart.
check_stages() {
  redis-cli eval "local t=redis.call('time') repeat local n=redis.call('time') until (n[1]-t[1])*1000000+n[2]-t[2] > 300000" 0 > /dev/null
  if until_true totals 300000000 sli_proc_nsec_sum method=EVAL "tgid=$redis"; then
    local processing waiting
    processing=$(last sli_proc_nsec_sum method=EVAL "tgid=$redis")
    waiting=$(last sli_sched_nsec_sum method=EVAL "tgid=$redis")
    if [ "$waiting" -lt "$processing" ]; then pass "a slow command: $processing ns processing, $waiting ns before"; else
      fail "a slow command: $processing ns processing, but $waiting ns before"
    fi
  else
    fail "a slow command of 300 ms: $(last sli_proc_nsec_sum method=EVAL "tgid=$redis") ns processing"
  fi
}

# Where the reading is followed, nobody knows what a command is called that was never read.
unaccepted_waits() {
  totals 100000000 sli_oldest_nsec method=TYPE "tgid=$redis" || totals 100000000 sli_oldest_nsec "method=?" "tgid=$redis"
}

# A server that is stopped answers nothing; how long its client waits shows all the same, and that of one who comes later.
check_stopped() {
  local client later
  mkfifo /tmp/to_redis /tmp/later
  exec 5<> /tmp/to_redis 6<> /tmp/later
  nc 127.0.0.1 6379 <&5 > /tmp/from_redis &
  client=$!
  printf '*2\r\n$3\r\nGET\r\n$4\r\ntext\r\n' >&5
  until_true test -s /tmp/from_redis
  kill -STOP $redis
  printf '*2\r\n$3\r\nGET\r\n$4\r\ntext\r\n' >&5
  if until_true totals 100000000 sli_oldest_nsec method=GET "tgid=$redis"; then
    pass "a request without an answer: $(last sli_oldest_nsec method=GET "tgid=$redis") ns old"
  else
    fail "a request without an answer: $(last sli_oldest_nsec method=GET "tgid=$redis") ns old"
  fi
  nc 127.0.0.1 6379 <&6 > /dev/null &
  later=$!
  printf '*2\r\n$4\r\nTYPE\r\n$4\r\ntext\r\n' >&6
  if until_true unaccepted_waits; then pass "a request on a connection that nobody accepted"; else
    fail "a request on a connection that nobody accepted does not show: $(lines sli_oldest_nsec "tgid=$redis" | tail -n 3)"
  fi
  kill -CONT $redis
  kill $client $later
  wait $client $later 2>/dev/null
  exec 5>&- 6>&-
  rm -f /tmp/to_redis /tmp/from_redis /tmp/later
}

end_redis() {
  kill $redis
  wait $redis 2>/dev/null
  umount /mnt 2>/dev/null
}

# --- processes ---

check_processes() {
  at_least "series exported" "$(wget -q -O - $exporter | grep -c '^gala_gopher_')" 500
  at_least "open files of redis-server, against /proc" "$(last proc_fd_count "tgid=$redis")" "$(ls /proc/$redis/fd | wc -l)"
  local hog victim
  for name in hog victim; do
    printf '#!/bin/sh\nwhile :; do :; done\n' > /tmp/$name
    chmod +x /tmp/$name
  done
  /tmp/hog &
  hog=$!
  /tmp/victim &
  victim=$!
  if until_true reaches 1000000000 proc_preempted_ns "tgid=$victim" "by_tgid=$hog"; then
    pass "who ran while a process waited: $(sum proc_preempted_ns "tgid=$victim" "by_tgid=$hog") ns by name and process"
  else
    fail "two processes share a CPU, but their waiting is $(sum proc_preempted_ns "tgid=$victim" "by_tgid=$hog") ns"
  fi
  kill $hog $victim
  wait $hog $victim 2>/dev/null
}

# --- block device ---

# Nothing is written to it before the agent runs.
written() { awk '{print $5}' /sys/block/vda/stat; }
writes_agree() { [ "$(sum block_requests blk_name=vda op=write)" = "$(written)" ]; }

check_disk() {
  mount -t ext4 /dev/vda /mnt || { fail "the disk cannot be mounted"; return; }
  local before
  before=$(written)
  dd if=/dev/zero of=/mnt/file bs=4096 count=100 oflag=direct conv=fsync 2>/dev/null
  at_least "writes of a disk by its own count" $(($(written) - before)) 100
  # The file system may write some more by itself.
  until_true writes_agree
  same "writes of a disk, against its own count" "$(sum block_requests blk_name=vda op=write)" "$(written)"
  redis-cli config set dir /mnt > /dev/null
  redis-cli config set appendfsync always > /dev/null
  redis-cli config set appendonly yes > /dev/null
  until_true sh -c "redis-cli info persistence | grep -q aof_rewrite_in_progress:0"
  redis-benchmark -q -c 1 -n 50 -t set > /dev/null 2>&1
  until_true reaches 50 proc_fsync_count "tgid=$redis"
  at_least "calls of fsync while Redis appends 50 times" "$(sum proc_fsync_count "tgid=$redis")" 50
  until_true reaches 50 block_sync_count blk_name=vda
  at_least "syncs of the disk meanwhile" "$(sum block_sync_count blk_name=vda)" 50
}

programs_before=$(programs) maps_before=$(maps) links_before=$(links)
check_hooks tcp socket io proc ksli
start_agent
check_host
check_connection
check_redis
check_long_values
check_stages
check_stopped
check_processes
check_disk
end_redis
stop_agent

# The rung below that, by kprobes, as kernels of other architectures need it.
export GALA_WITHOUT_RUNGS=fexit
check_hooks ksli
start_agent
check_redis
check_long_values
check_stopped
end_redis
stop_agent
[ -z "${failed:-}" ] || sed 's/^/agent: /' /tmp/agent.log
echo done
