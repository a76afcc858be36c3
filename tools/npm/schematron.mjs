// usage: node schematron.mjs SCHEMA FILE...   One JSON line a file: the messages of its failed assertions.
import { readFileSync } from "node:fs";
import { Schema } from "node-schematron";

const [schemaPath, ...files] = process.argv.slice(2);
const schema = Schema.fromString(readFileSync(schemaPath, "utf8"));
for (const file of files) {
  const failed = schema.validateString(readFileSync(file, "utf8"));
  const messages = failed.map((one) => (one.message ?? "").replace(/\s+/g, " ").trim());
  console.log(JSON.stringify({ file, failed: messages }));
}
