#!/usr/bin/env bash
# Build the pinned tools of tools.tsv into .tools/bin from their Go modules; say what built, how long it took and
# what did not. Each tool has a module of its own (tools/<name>/go.mod, go.sum), so versions never mix, and builds
# with -mod=readonly: go.sum decides what is compiled, and a build never changes it.
#
#   tools/build.sh                 every tool
#   tools/build.sh opa conftest    these
#   tools/build.sh --resolve opa   resolve go.mod and go.sum anew for the version in tools.tsv, then build
#
# A tool whose go.mod and go.sum did not change since it was built is left alone. A failure is reported, the others
# go on, and the exit code is 1. TOOLS_JOBS (default 2) is how many packages compile at once.
set -uo pipefail
cd "$(dirname "$0")" || exit 2
out=$(cd .. && pwd)/.tools
mkdir -p "$out/bin" "$out/log"
resolve=no
if [ "${1:-}" = --resolve ]; then resolve=yes; shift; fi
for wanted in "$@"; do
  cut -f1 tools.tsv | grep -qx -- "$wanted" || { echo "make tools: no tool named $wanted in tools/tools.tsv" >&2; exit 2; }
done
if ! command -v go >/dev/null; then
  echo "make tools: no Go toolchain here; install Go 1.26 or newer" >&2
  exit 2
fi

# What a binary was built from; a change of it builds anew.
identity() { { go env GOVERSION GOOS GOARCH; cat "$1/go.mod" "$1/go.sum"; } | sha256sum | cut -c1-16; }

resolve_module() { # name module version package
  cd "$1" 2>/dev/null || { mkdir -p "$1" && cd "$1" || return 1; }
  [ -f go.mod ] || go mod init "maestro-conductor.example/tools/$1" || return 1
  go get -tool "$4@$3"
}

build() { # name package
  cd "$1" || return 1
  CGO_ENABLED=0 go build -mod=readonly -p "${TOOLS_JOBS:-2}" -trimpath -buildvcs=false -ldflags='-s -w' \
    -o "$out/bin/.$1.new" "$2" && mv "$out/bin/.$1.new" "$out/bin/$1"
}

status=0
printf '%-15s %-10s %-8s %s\n' tool version seconds result
while IFS=$'\t' read -r name module version package _; do
  case "$name" in ''|\#*) continue ;; esac
  if [ $# -gt 0 ]; then case " $* " in *" $name "*) ;; *) continue ;; esac; fi
  log=$out/log/$name.log
  start=$(date +%s)
  result=
  if [ $resolve = yes ]; then
    (resolve_module "$name" "$module" "$version" "$package") >"$log" 2>&1 || result=failed
  fi
  if [ -z "$result" ] && ! grep -q "$module $version" "$name/go.mod" 2>/dev/null; then
    echo "tools/$name/go.mod does not name $module $version: run tools/build.sh --resolve $name" >"$log"
    result=failed
  fi
  if [ -z "$result" ]; then
    built=$(identity "$name")
    if [ -x "$out/bin/$name" ] && [ "$(cat "$out/bin/.$name.built" 2>/dev/null)" = "$built" ]; then
      result="built before"
    elif (build "$name" "$package") >"$log" 2>&1; then
      echo "$built" >"$out/bin/.$name.built"
      result=built
    else
      result=failed
    fi
  fi
  if [ "$result" = failed ]; then
    result="failed: $(tail -n 1 "$log" | cut -c1-200)"
    status=1
  fi
  printf '%-15s %-10s %-8s %s\n' "$name" "$version" $(($(date +%s) - start)) "$result"
done < tools.tsv
exit $status
