#!/usr/bin/env bash
# Runs one command beside a real, single-node Apache Kafka, then stops that Kafka.
#
#   tests/kafka.sh -- cargo test --release conformance
#   tests/kafka.sh -- bash -c 'kcat -b "$WATERSHED_TEST_KAFKA" -L'
#   tests/kafka.sh            # no command: prints the address and serves until Ctrl-C
#
# The command sees WATERSHED_TEST_KAFKA=host:port, and its exit code is this script's. Kafka's jars come from
# Maven Central once and stay in the user's cache; data live in a temporary folder that is removed at the end.
# KAFKA_VERSION chooses another release; KAFKA_KEEP=1 keeps the folder, with Kafka's own log in it. KAFKA_SUPERVISE=1
# starts a Kafka that was killed again: the command finds its process id in the file WATERSHED_TEST_KAFKA_PID_FILE.
set -euo pipefail

version="${KAFKA_VERSION:-4.1.1}"
log4j_version="2.25.2"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/watershed/kafka-$version"

say() { echo "kafka.sh: $*" >&2; }

need_tools() {
  local missing=()
  command -v java >/dev/null || missing+=(default-jre-headless)
  command -v mvn >/dev/null || missing+=(maven)
  [ "${#missing[@]}" -eq 0 ] && return
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    say "installing ${missing[*]}"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
  else
    say "missing ${missing[*]}: install them (Java 17 or newer and Maven) and run this again"
    exit 69
  fi
}

# The folder appears under its final name only when it is whole, so that an interrupted download is no cache.
fetch_jars() {
  [ -d "$cache" ] && return
  need_tools
  say "fetching Apache Kafka $version into $cache"
  local work="$cache.$$"
  mkdir -p "$work"
  cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>watershed.tests</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$log4j_version</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>$log4j_version</version>
    </dependency>
  </dependencies>
</project>
POM
  if ! mvn -B -q -f "$work/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$work/jars" </dev/null >&2; then
    rm -rf "$work"
    say "Maven could not fetch Apache Kafka $version"
    exit 69
  fi
  mv -T "$work" "$cache" 2>/dev/null || rm -rf "$work" # another run was faster: its folder is as good
}

# A port that nobody answers on. Another process may still take it first: then Kafka ends and this script says so.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000)) # below the ports that systems give to clients
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

write_settings() {
  cat >"$work/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$work/data
num.partitions=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
message.max.bytes=67108864
replica.fetch.max.bytes=67108864
PROPERTIES
  cat >"$work/log4j2.properties" <<'PROPERTIES'
rootLogger.level=warn
rootLogger.appenderRefs=console
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c %m%n
PROPERTIES
}

start_kafka() {
  java -Dlog4j2.configurationFile="$work/log4j2.properties" -cp "$cache/jars/*" \
    kafka.tools.StorageTool format -t "$cluster_id" -c "$work/server.properties" --ignore-formatted \
    >>"$work/kafka.log" 2>&1 || { say "format failed:"; tail -n 20 "$work/kafka.log" >&2; exit 70; }
  keep_running &
  keeper_pid=$!
}

# One Kafka, whose process id is in kafka.pid; under supervision another one whenever it ends before its time.
keep_running() {
  while :; do
    java -Xms256m -Xmx512m -Dlog4j2.configurationFile="$work/log4j2.properties" -cp "$cache/jars/*" \
      kafka.Kafka "$work/server.properties" >>"$work/kafka.log" 2>&1 </dev/null &
    echo "$!" >"$work/kafka.pid"
    wait "$!" || true
    [ "${KAFKA_SUPERVISE:-0}" = 1 ] && [ ! -e "$work/stopping" ] || return 0
  done
}

stop_kafka() {
  touch "$work/stopping"
  if [ -n "${keeper_pid:-}" ] && kill -0 "$keeper_pid" 2>/dev/null; then
    local pid
    pid="$(cat "$work/kafka.pid")"
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
    wait "$keeper_pid" 2>/dev/null || true
  fi
  if [ "${KAFKA_KEEP:-0}" = 1 ]; then say "kept $work"; else rm -rf "$work"; fi
}

# Ready means: it answers an ApiVersions request without an error, not merely that the port is open.
answers() {
  (
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf '\0\0\0\12\0\22\0\0\0\0\0\1\377\377' >&3
    [ "$(timeout 2 head -c 10 <&3 | od -An -tx1 -j8 | tr -d ' \n')" = 0000 ]
  ) 2>/dev/null
}

wait_until_ready() {
  for _ in $(seq 240); do
    if ! kill -0 "$keeper_pid" 2>/dev/null; then
      say "Kafka ended before it was ready:"
      tail -n 20 "$work/kafka.log" >&2
      exit 70
    fi
    answers && return
    sleep 0.5
  done
  say "Kafka was not ready after 120 s:"
  tail -n 20 "$work/kafka.log" >&2
  exit 70
}

[ "${1:-}" = "--" ] && shift
fetch_jars
command -v java >/dev/null || need_tools
work="$(mktemp -d "${TMPDIR:-/tmp}/watershed-kafka.XXXXXX")"
trap stop_kafka EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
port="$(free_port)"
controller_port="$(free_port)"
while [ "$controller_port" = "$port" ]; do controller_port="$(free_port)"; done
cluster_id="d2F0ZXJzaGVkLXRlc3RzLQ"
write_settings
start_kafka
wait_until_ready
export WATERSHED_TEST_KAFKA="127.0.0.1:$port"
[ "${KAFKA_SUPERVISE:-0}" = 1 ] && export WATERSHED_TEST_KAFKA_PID_FILE="$work/kafka.pid"
say "Apache Kafka $version listens on $WATERSHED_TEST_KAFKA"
if [ "$#" -eq 0 ]; then
  echo "$WATERSHED_TEST_KAFKA"
  wait "$keeper_pid"
else
  "$@"
fi
