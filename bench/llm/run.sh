#!/usr/bin/env bash
# The gateway to language models beside others: installs the peers that can be installed under target/peers, builds, runs, prints the tables.
#   bench/llm/run.sh [--quick | --full | --check] [--tables calls,idle,engine] [--shapes "16 callers",…] [--rounds N] [--alone] [--out FILE]
# --quick (default): everything in two rounds. --full: five rounds. --check: kandle and the provider alone, below a minute, fails
# under a bar. KANDLE_BIN names a build of the program to measure; without it a release is built, which takes five minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

depth=quick
is_alone=
arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --quick | --full | --check) depth="${1#--}" ;;
    *)
      [ "$1" != --alone ] || is_alone=1
      arguments+=("$1")
      ;;
  esac
  shift
done

target="${CARGO_TARGET_DIR:-target}"
peers="$target/peers"
sources=bench/llm/peers
mkdir -p "$peers/log"

# A peer that cannot be installed is left out; what went wrong is in its log.
install() {
  local name="$1"
  shift
  [ -x "$peers/$name/bin/python" ] || python3 -m venv "$peers/$name" || return
  if ! "$peers/$name/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: "$@" \
    >"$peers/log/install-$name.log" 2>&1; then
    echo "$name cannot be installed: see $peers/log/install-$name.log" >&2
  fi
}

if [ "$depth" != check ] && [ -z "$is_alone" ]; then
  echo "installing peers" >&2
  install tensorzero 'tensorzero==2026.6.0'
  install litellm 'litellm[proxy]==1.100.1'
fi

echo "building" >&2
kandle="${KANDLE_BIN:-}"
# The program takes what begins with KANDLE_ for its settings.
unset KANDLE_BIN
if [ -z "$kandle" ]; then
  cargo build --quiet --release -p kandle
  kandle="$target/release/kandle"
fi
cargo build --quiet --release -p bench-llm --bin gateway

# A thousand streams are two thousand files in a gateway.
ulimit -n "$(ulimit -Hn)"
# In a session of its own it may put itself before other work; when it ends, the kernel ends its servers.
setsid "$target/release/gateway" run --depth "$depth" --kandle "$kandle" --peers "$peers" --sources "$sources" "${arguments[@]}" &
bench=$!
trap 'kill "$bench" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
wait "$bench"
