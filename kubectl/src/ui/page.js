"use strict";
// Puts each part that has changed into its place, and says aloud which nodes have another state.
const said = document.getElementById("said");
const states = () => new Map([...document.querySelectorAll("[data-node]")].map(e => [e.dataset.node, e.dataset.state]));
const known = new Map();
function put(id, html) {
  const place = document.getElementById(id);
  if (!place || known.get(id) === html) return;
  known.set(id, html);
  const open = [...place.querySelectorAll("details")].map(d => d.open);
  const href = place.contains(document.activeElement) && document.activeElement.getAttribute("href");
  place.innerHTML = html;
  place.querySelectorAll("details").forEach((d, i) => { if (open[i] !== undefined) d.open = open[i]; });
  if (href) [...place.querySelectorAll("a")].find(a => a.getAttribute("href") === href)?.focus();
}
const source = new EventSource(document.currentScript.dataset.live);
source.onmessage = event => {
  const before = states();
  document.body.dataset.liveSeen = "";
  for (const [id, html] of Object.entries(JSON.parse(event.data))) put(id, html);
  const news = [...states()].filter(([node, state]) => before.has(node) && before.get(node) !== state);
  if (news.length) said.textContent = news.map(([node, state]) => node + " is " + state).join(", ");
  document.body.classList.remove("lost");
};
source.onerror = () => document.body.classList.add("lost");
