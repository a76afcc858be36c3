#!/usr/bin/env bash
# Build the pinned tools of tools.tsv into .tools/bin from their Go modules; say what built, how long it
# took and what did not. Each tool has a module of its own (tools/<name>/go.mod, go.sum): versions never mix.
# A tool that is built already is left alone; a failure is reported and the others go on.
set -uo pipefail
cd "$(dirname "$0")"
out=$(cd .. && pwd)/.tools
mkdir -p "$out/bin" "$out/log"
status=0
if ! command -v go >/dev/null; then
  echo "make tools: no Go toolchain here; install Go 1.26 or newer" >&2
  exit 2
fi
printf '%-10s %-10s %-8s %s\n' tool version seconds result
while IFS=$'\t' read -r name module version package _; do
  case "$name" in ''|\#*) continue ;; esac
  [ $# -gt 0 ] && case " $* " in *" $name "*) ;; *) continue ;; esac
  if [ -x "$out/bin/$name" ] && [ "$(cat "$out/bin/.$name.version" 2>/dev/null)" = "$version" ]; then
    printf '%-10s %-10s %-8s %s\n' "$name" "$version" 0 "built before"
    continue
  fi
  start=$(date +%s)
  mkdir -p "$name"
  if (
    cd "$name" || exit 1
    [ -f go.mod ] || go mod init "maestro-conductor.example/tools/$name"
    grep -q " $version" go.mod || go get -tool "$package@$version"
    CGO_ENABLED=0 go build -p "${TOOLS_JOBS:-2}" -trimpath -ldflags='-s -w' -o "$out/bin/$name" "$package"
  ) >"$out/log/$name.log" 2>&1; then
    echo "$version" > "$out/bin/.$name.version"
    result=built
  else
    result="failed: $(tail -n 1 "$out/log/$name.log" | cut -c1-200)"
    status=1
  fi
  printf '%-10s %-10s %-8s %s\n' "$name" "$version" $(($(date +%s) - start)) "$result"
done < tools.tsv
exit $status
