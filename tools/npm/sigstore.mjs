// usage: node sigstore.mjs NOTE.unsigned.json KEY.pem BUNDLE.json
// Verifies one person's bundle with @sigstore/verify and compares the statement's subject with the note, whose canonical
// form npm's `canonicalize` makes from the parsed JSON. Prints "verified"; exits 1 with the reason otherwise.
import { createHash, createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { bundleFromJSON } from "@sigstore/bundle";
import { toSignedEntity, toTrustMaterial, Verifier } from "@sigstore/verify";
import canonicalize from "canonicalize";

const [notePath, keyPath, bundlePath] = process.argv.slice(2);
const ALWAYS = () => true;
try {
  const note = readFileSync(notePath);
  const key = createPublicKey(readFileSync(keyPath));
  const bundle = bundleFromJSON(JSON.parse(readFileSync(bundlePath, "utf8")));
  const nobody = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
  const trust = toTrustMaterial(nobody, () => ({ publicKey: key, validFor: ALWAYS }));
  const limits = { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: 0 };
  new Verifier(trust, limits).verify(toSignedEntity(bundle, note));
  const canonical = Buffer.from(canonicalize(JSON.parse(note.toString("utf8"))), "utf8");
  if (!canonical.equals(note)) throw new Error("the note is not in its canonical form");
  const digest = createHash("sha256").update(note).digest("hex");
  const statement = JSON.parse(Buffer.from(bundle.content.dsseEnvelope.payload).toString("utf8"));
  if (!statement.subject.some((one) => one.digest.sha256 === digest)) throw new Error("another note was signed");
  console.log("verified");
} catch (error) {
  console.error(String(error.message ?? error));
  process.exit(1);
}
