// Looks for sections that hold all the words asked for; the page holds everything there is to search.

const INDEX = JSON.parse(document.getElementById("index").textContent)
  .map(([place, title, heading, text]) => ({ place, title, heading, text, low: text.toLowerCase(), head: heading.toLowerCase() }));
const SHOWN = 60, AROUND = 90; // results; letters before and after a word that was found
const field = document.getElementById("words"), list = document.getElementById("found"), said = document.getElementById("said");

function wordsOf(text) {
  return text.toLowerCase().split(/\s+/).filter(Boolean);
}

function found(words) {
  const scored = [];
  for (const entry of INDEX) {
    let score = 0;
    for (const word of words) {
      const inHead = entry.head.includes(word), inText = entry.low.includes(word);
      if (!inHead && !inText) { score = 0; break; }
      score += (inHead ? 10 : 0) + (entry.head === word ? 20 : 0) + Math.min(5, inText ? entry.low.split(word).length - 1 : 0);
    }
    if (score) scored.push([score, entry]);
  }
  return scored.sort((a, b) => b[0] - a[0]).map(([, entry]) => entry);
}

// The text around the first word that it holds, with all of them marked.
function excerpt(entry, words) {
  const at = Math.max(0, Math.min(...words.map((word) => entry.low.indexOf(word)).filter((place) => place >= 0)));
  const from = Number.isFinite(at) ? Math.max(0, at - AROUND) : 0;
  const text = entry.text.slice(from, from + 3 * AROUND), paragraph = document.createElement("p");
  const pattern = new RegExp(`(${words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})`, "gi");
  if (from > 0) paragraph.append("… ");
  text.split(pattern).forEach((piece, k) => {
    if (k % 2) paragraph.append(Object.assign(document.createElement("mark"), { textContent: piece }));
    else paragraph.append(piece);
  });
  if (from + 3 * AROUND < entry.text.length) paragraph.append(" …");
  return paragraph;
}

function show() {
  const words = wordsOf(field.value);
  list.replaceChildren();
  if (!words.length) {
    said.textContent = "";
    return;
  }
  const entries = found(words);
  const count = entries.length === 1 ? "1 place" : `${entries.length} places`;
  said.textContent = count + (entries.length > SHOWN ? `; the best ${SHOWN} are shown` : "");
  for (const entry of entries.slice(0, SHOWN)) {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = entry.place;
    link.textContent = entry.heading === entry.title ? entry.title : `${entry.title}: ${entry.heading}`;
    item.append(link, excerpt(entry, words));
    list.append(item);
  }
}

field.value = new URLSearchParams(location.search).get("q") ?? "";
field.addEventListener("input", show);
field.form.addEventListener("submit", (event) => {
  event.preventDefault();
  show();
});
show();
