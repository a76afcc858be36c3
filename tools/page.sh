#!/usr/bin/env bash
# Cytoscape.js from npm into the package, where the API serves it from; its licence stays with it. Nothing of it is
# committed, and without it the page shows the picture that the server draws.
set -euo pipefail
cd "$(dirname "$0")/.."
version=3.34.4
target=mc_pipelines/api/static/vendor
if [ "$(cat "$target/version" 2>/dev/null || true)" = "$version" ]; then exit 0; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --silent --no-fund --no-audit --no-save --ignore-scripts --prefix "$work" "cytoscape@$version" >/dev/null
mkdir -p "$target"
cp "$work/node_modules/cytoscape/dist/cytoscape.min.js" "$target/cytoscape.min.js"
cp "$work/node_modules/cytoscape/LICENSE" "$target/cytoscape.LICENSE"
echo "$version" > "$target/version"
