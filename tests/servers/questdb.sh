#!/usr/bin/env bash
# A real QuestDB on private ports of the loopback, for tests.
#
#   questdb.sh start DIR HTTP_PORT PG_PORT    starts it with its data below DIR and waits until it answers
#   questdb.sh stop DIR                       ends that server and no other
#
# DIR/questdb.pid holds its process id, DIR/questdb.out what it prints. Needs Java 17; Maven fetches the server once.
set -euo pipefail

version=9.3.4
jar=${M2_REPO:-$HOME/.m2/repository}/org/questdb/questdb/$version/questdb-$version.jar
fail() { echo "questdb.sh: $*" >&2; exit 1; }

fetch() {
    [ -s "$jar" ] && return
    command -v mvn >/dev/null || fail "mvn is missing: install maven, or put the server at $jar"
    mvn -q org.apache.maven.plugins:maven-dependency-plugin:3.6.1:get \
        -Dartifact=org.questdb:questdb:$version -Dtransitive=false
    [ -s "$jar" ] || fail "Maven did not leave $jar"
}

alive() { # whether the process of the pid file still is the server of this folder: pids are used again
    [ -s "$dir/questdb.pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$(cat "$dir/questdb.pid")/cmdline" | grep -qF -- "-d $dir"
}

start() {
    local http=$1 pg=$2
    command -v java >/dev/null || fail "java is missing: install a Java 17 runtime"
    fetch
    mkdir -p "$dir"
    if alive; then fail "already running in $dir as $(cat "$dir/questdb.pid")"; fi
    # One worker each: a test server shares its machine. QDB_ variables override server.conf.
    env QDB_HTTP_BIND_TO=127.0.0.1:"$http" QDB_PG_NET_BIND_TO=127.0.0.1:"$pg" QDB_LINE_TCP_ENABLED=false \
        QDB_HTTP_MIN_ENABLED=false QDB_TELEMETRY_ENABLED=false QDB_SHARED_WORKER_COUNT=1 QDB_CAIRO_COMMIT_MODE=sync \
        java -Xms64m -Xmx768m -p "$jar" -m io.questdb/io.questdb.ServerMain -d "$dir" </dev/null >"$dir/questdb.out" 2>&1 &
    echo $! >"$dir/questdb.pid"
    for _ in $(seq 300); do
        if curl -fsS -o /dev/null --max-time 2 "http://127.0.0.1:$http/exec?query=select%201" 2>/dev/null; then return; fi
        alive || { tail -n 20 "$dir/questdb.out" >&2; fail "the server ended: see $dir/questdb.out"; }
        sleep 0.2
    done
    fail "the server does not answer on port $http: see $dir/questdb.out"
}

stop() {
    alive || { rm -f "$dir/questdb.pid"; return 0; }
    local pid
    pid=$(cat "$dir/questdb.pid")
    kill "$pid"
    for _ in $(seq 150); do
        alive || { rm -f "$dir/questdb.pid"; return 0; }
        sleep 0.2
    done
    fail "process $pid does not end"
}

[ $# -ge 2 ] || fail "usage: questdb.sh start DIR HTTP_PORT PG_PORT | stop DIR"
mkdir -p "$2"
dir=$(cd "$2" && pwd)
case $1 in
start) [ $# -eq 4 ] || fail "start needs DIR HTTP_PORT PG_PORT"; start "$3" "$4" ;;
stop) stop ;;
*) fail "start or stop, not $1" ;;
esac
