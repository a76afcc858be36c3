#!/bin/sh
# Checks this disclosure pack with sha256sum and openssl only: file digests and the people's signatures.
# It does not recompute the figure; `mc pack verify` does.
#
# usage: sh verify.sh FOLDER_WITH_TRUSTED_KEYS   (PEM files that you got from somebody you trust, not from this pack)
set -eu
keys=${1:?give the folder with the public keys that you trust}
keys=$(cd "$keys" && pwd)
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sha256sum --quiet --check manifest-sha256.txt
sha256sum --quiet --check tagmanifest-sha256.txt
echo "files: as listed in the manifests"

envelope=data/envelope.json
sed 's/.*"payload":"\([^"]*\)".*/\1/' "$envelope" | openssl base64 -d -A > "$work/payload"
type=$(sed 's/.*"payloadType":"\([^"]*\)".*/\1/' "$envelope")
printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(wc -c < "$work/payload")" > "$work/pae"
cat "$work/payload" >> "$work/pae"

count=0
for signature in $(grep -o '"sig":"[^"]*"' "$envelope" | sed 's/"sig":"\([^"]*\)"/\1/'); do
  printf '%s' "$signature" | openssl base64 -d -A > "$work/sig"
  for key in "$keys"/*.pem; do
    if openssl dgst -sha256 -verify "$key" -signature "$work/sig" "$work/pae" > /dev/null 2>&1; then
      if ! grep -qxF "$(sha256sum < "$key")" "$work/seen" 2> /dev/null; then
        sha256sum < "$key" >> "$work/seen"
        count=$((count + 1))
        echo "signature: holds under $(basename "$key")"
      fi
      break
    fi
  done
done

note=$(sha256sum < data/note.unsigned.json | cut -d ' ' -f 1)
grep -qF "\"subject\":[{\"digest\":{\"sha256\":\"$note\"}" "$work/payload" || { echo "note: not the signed one"; exit 1; }
echo "note: the signed one"
[ "$count" -ge 2 ] || { echo "NOT VERIFIED: $count of 2 trusted keys have signed"; exit 1; }
echo "VERIFIED by $count different trusted keys"
