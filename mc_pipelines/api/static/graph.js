"use strict";
// Reads only. The token stays in this page: it is sent as a bearer token and kept nowhere.
// Without Cytoscape.js (see `make page`) the picture is the one that the server draws.

const form = document.getElementById("ask");
const field = (name) => form.elements.namedItem(name);
const put = (id, text) => { document.getElementById(id).textContent = text; };
const SHAPES = { manifest: "cut-rectangle", package: "rectangle", execution: "ellipse", receipt: "hexagon", bundle: "pentagon" };
const FILLS = { manifest: "#fde68a", package: "#bfdbfe", execution: "#fecaca", receipt: "#bbf7d0", bundle: "#ddd6fe" };
const STYLE = [
  { selector: "node", style: { label: "data(label)", "font-size": 10, "text-wrap": "ellipsis", "text-max-width": 130,
    "text-valign": "bottom", width: 26, height: 26, "border-width": 1, "border-color": "#374151" } },
  ...Object.entries(SHAPES).map(([kind, shape]) => (
    { selector: `node.${kind}`, style: { shape, "background-color": FILLS[kind] } })),
  { selector: "node.stub", style: { "border-style": "dashed" } },
  { selector: "node.pruned", style: { "background-color": "#9ca3af" } },
  { selector: "node.root", style: { "border-width": 4 } },
  { selector: "edge", style: { width: 1.5, "curve-style": "bezier", "target-arrow-shape": "triangle", label: "data(type)",
    "font-size": 8, "text-rotation": "autorotate", "line-color": "#6b7280", "target-arrow-color": "#6b7280", "line-style": "dashed" } },
  { selector: "edge.verified", style: { "line-style": "solid", "line-color": "#15803d", "target-arrow-color": "#15803d" } },
];
let picture = null;

async function ask(question, parameters, accept) {
  const query = new URLSearchParams(parameters);
  for (const name of ["tenant", "purpose"]) {
    if (field(name).value) query.set(name, field(name).value);
  }
  const answer = await fetch(`/api/provenance/${question}?${query}`, {
    headers: { Authorization: `Bearer ${field("token").value}`, Accept: accept || "application/json" },
  });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({ title: answer.statusText }));
  throw new Error([problem.title, problem.detail, problem.mend].filter(Boolean).join(": "));
}

function list(elements) {
  const rows = document.getElementById("rows");
  for (const edge of elements.edges) {
    if (rows.querySelector(`tr[data-id="${CSS.escape(edge.data.id)}"]`)) continue;
    const row = rows.insertRow();
    row.dataset.id = edge.data.id;
    row.className = edge.classes.includes("verified") ? "verified" : "claimed";
    for (const text of [edge.data.source, `${edge.data.type} (${edge.data.status})`, edge.data.target]) {
      row.insertCell().textContent = text;
    }
  }
}

async function look(node, depth) {
  const answer = await ask("graph", { node, depth, direction: field("direction").value, limit: 300, format: "cytoscape" },
    "application/vnd.cytoscape.cyjs+json");
  const found = await answer.json();
  list(found.elements);
  if (picture) {
    const known = picture.elements().map((each) => each.id());
    const fresh = [...found.elements.nodes, ...found.elements.edges].filter((each) => !known.includes(each.data.id));
    picture.add(fresh);
    picture.layout({ name: "breadthfirst", directed: true, animate: false, spacingFactor: 1.1 }).run();
    document.body.dataset.nodes = picture.nodes().length;
    document.body.dataset.edges = picture.edges().length;
  }
  if (!found.data.complete) put("note", "Not complete: a cap, a fan-out or retention left something out.");
  return found;
}

async function draw(node) {
  const svg = await (await ask("graph", { node, depth: 2, direction: field("direction").value, limit: 200 }, "image/svg+xml")).blob();
  const image = document.createElement("img");
  image.alt = "the graph around the node";
  image.src = URL.createObjectURL(svg);
  document.getElementById("graph").replaceChildren(image);
}

async function show() {
  const node = field("node").value.trim();
  put("note", "");
  document.getElementById("rows").replaceChildren();
  document.body.dataset.state = "asking";
  try {
    if (window.cytoscape) {
      picture = window.cytoscape({ container: document.getElementById("graph"), style: STYLE, wheelSensitivity: 0.2 });
      picture.on("tap", "node", (event) => look(event.target.id(), 1).catch((error) => put("note", error.message)));
    } else {
      await draw(node);
    }
    const found = await look(node, 1);
    if (picture) picture.getElementById(found.data.root).addClass("root");
    const impact = await (await ask("impact", { node, limit: 1 })).json();
    const trust = await (await ask("explain", { bundle: node })).json();
    const badge = document.createElement("span");
    badge.className = `badge ${trust.result}`;
    badge.textContent = trust.result;
    badge.title = trust.reasons.join(" ");
    document.getElementById("says").replaceChildren(badge, ` ${impact.says}`);
    document.body.dataset.state = "shown";
  } catch (error) {
    put("note", error.message);
    document.body.dataset.state = "failed";
  }
}

form.addEventListener("submit", (event) => { event.preventDefault(); show(); });
// What stands behind # is not sent to the server: #node=…&tenant=…&token=…
const given = new URLSearchParams(window.location.hash.slice(1));
for (const [name, value] of given) {
  if (field(name)) field(name).value = value;
}
if (given.has("token")) window.history.replaceState(null, "", window.location.pathname);
if (given.has("node") && given.has("token")) show();
