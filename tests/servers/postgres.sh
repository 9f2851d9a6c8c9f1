#!/usr/bin/env bash
# A real PostgreSQL on a private port of the loopback, for tests.
#
#   postgres.sh start DIR PORT    starts it with its data in DIR and waits until it answers
#   postgres.sh stop DIR          ends that server and no other
#
# Prints nothing; its URL is postgres://kandle@127.0.0.1:PORT/postgres. Needs Debian's `postgresql`. The server does not run as
# root: root hands it to the user postgres, anybody else runs it as themselves.
set -euo pipefail

fail() { echo "postgres.sh: $*" >&2; exit 1; }

programs() {
    local newest
    newest=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
    if [ -n "$newest" ]; then echo "$newest"; return; fi
    command -v initdb >/dev/null || fail "initdb is missing: install postgresql"
    dirname "$(readlink -f "$(command -v initdb)")"
}

as_server() { # from a folder that the other user may enter
    if [ "$(id -u)" -ne 0 ]; then (cd "$dir" && "$@"); return; fi
    (cd "$dir" && setpriv --reuid=postgres --regid=postgres --init-groups "$@")
}

start() {
    local port=$1 bin
    bin=$(programs)
    if [ "$(id -u)" -eq 0 ]; then
        id postgres >/dev/null 2>&1 || fail "the user postgres is missing: install postgresql"
        chown postgres "$dir"
    fi
    chmod 700 "$dir"
    if [ ! -s "$dir/data/PG_VERSION" ]; then
        as_server "$bin/initdb" --pgdata="$dir/data" --username=kandle --auth=trust --encoding=UTF8 --no-instructions >"$dir/initdb.out" 2>&1 ||
            { tail -n 20 "$dir/initdb.out" >&2; fail "initdb failed"; }
    fi
    # Durable as in life: fsync stays on. Small, for a test server shares its machine.
    as_server "$bin/pg_ctl" start --silent --wait --pgdata="$dir/data" --log="$dir/data/server.log" --options="-c listen_addresses=127.0.0.1 \
        -c port=$port -c unix_socket_directories='' -c shared_buffers=32MB -c max_connections=60" </dev/null >/dev/null ||
        { tail -n 20 "$dir/data/server.log" >&2; fail "the server does not start on port $port"; }
}

stop() {
    [ -s "$dir/data/postmaster.pid" ] || return 0
    as_server "$(programs)/pg_ctl" stop --silent --wait --mode=fast --pgdata="$dir/data" >/dev/null
}

[ $# -ge 2 ] || fail "usage: postgres.sh start DIR PORT | stop DIR"
mkdir -p "$2"
dir=$(cd "$2" && pwd)
case $1 in
start) [ $# -eq 3 ] || fail "start needs DIR PORT"; start "$3" ;;
stop) stop ;;
*) fail "start or stop, not $1" ;;
esac
