// Draws what AttributeMixer sends: for each network a row of samples, and controls that ask for other ones.

const PATIENCE = 5000; // milliseconds without an answer, until the reader is told
const ABSENT = "No answer from the kernel: it is busy, or this page has none. What was drawn before stays.";
const HELP = ["Keys: S samples again, F flips the label, H another rectangle, R raw or pasted, Page Up and Page Down the picture.",
  "L1: mean absolute difference to the truth, where something was drawn. SD: standard deviation of a pixel over the samples; the lighter, the larger."];
const STYLE = `
.nblib-mixer { padding: 4px; font: 17px/1.4 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #222);
  font-variant-numeric: tabular-nums; }
.nblib-mixer [hidden] { display: none !important; }
.nblib-mixer .head, .nblib-mixer .bar, .nblib-mixer .stills, .nblib-mixer label { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; }
.nblib-mixer .head { gap: 8px 24px; }
.nblib-mixer .head, .nblib-mixer .stills { align-items: flex-start; }
.nblib-mixer .bar > b { min-width: 5.5em; }
.nblib-mixer .controls { flex: 1 1 420px; min-width: 0; }
.nblib-mixer .bar { margin: 0 0 10px; }
.nblib-mixer output { min-width: 2.4em; }
.nblib-mixer select, .nblib-mixer button { font: inherit; padding: 3px 12px; border: 2px solid #0072b2;
  border-radius: 6px; background: transparent; color: inherit; cursor: pointer; }
.nblib-mixer option { color: black; background: white; }
.nblib-mixer input { width: 110px; accent-color: #0072b2; }
.nblib-mixer button[aria-pressed="true"], .nblib-mixer button.main { background: #0072b2; color: white; }
.nblib-mixer button:disabled { border-color: currentColor; opacity: 0.45; cursor: default; }
.nblib-mixer :focus-visible { outline: 3px solid #d55e00; outline-offset: 2px; }
.nblib-mixer .line { margin: 4px 0 8px; font-weight: 600; }
.nblib-mixer .trouble { margin: 0 0 8px; padding: 8px 12px; border-left: 6px solid #d55e00; white-space: pre-wrap; overflow-wrap: anywhere; }
.nblib-mixer figure { margin: 0; min-width: 0; width: 130px; }
.nblib-mixer .row figure { width: auto; max-width: 170px; }
.nblib-mixer img { display: block; width: 100%; image-rendering: pixelated; }
.nblib-mixer figcaption { font-size: 15px; line-height: 1.3; margin-top: 3px; overflow-wrap: anywhere; }
.nblib-mixer figcaption b, .nblib-mixer figcaption span, .nblib-mixer .help span { display: block; }
.nblib-mixer .row { margin-top: 12px; padding-top: 8px; border-top: 2px solid color-mix(in srgb, currentColor 25%, transparent); }
.nblib-mixer .row p { margin: 0 0 6px; }
.nblib-mixer .tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(118px, 1fr)); gap: 10px 12px; }
.nblib-mixer[aria-busy="true"] .tiles { opacity: 0.45; transition: opacity 0.1s 0.3s; } /* quick answers do not flicker */
.nblib-mixer .help { margin: 10px 0 0; font-size: 15px; line-height: 1.35; }
.nblib-mixer .said { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); }
`;

function html(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const button = (text, attributes = {}) => html("button", { type: "button", ...attributes }, text);
const bar = (name, ...nodes) => html("div", { class: "bar", role: "group", "aria-label": name }, ...nodes);

function slider(name, attributes) {
  const input = html("input", { type: "range", ...attributes }), output = html("output", {});
  return { input, output, label: html("label", {}, name, input, output) };
}

// As many tiles in a place as there are pictures, each with its name and what is told of it.
function tile(place, pictures, owner = "") {
  while (place.children.length > pictures.length) place.lastChild.remove();
  while (place.children.length < pictures.length) place.append(html("figure", {}, html("img", {}), html("figcaption", {})));
  pictures.forEach(([name, told, png], k) => {
    const [image, caption] = place.children[k].children, lines = told.split(" · ").filter(Boolean);
    caption.replaceChildren(html("b", {}, name), ...lines.map((line) => html("span", {}, line)));
    image.alt = [[owner, name].filter(Boolean).join(", "), ...lines].join(": ");
    if (image.png === png) return;
    image.png = png;
    const url = URL.createObjectURL(new Blob([png], { type: "image/png" }));
    image.onload = () => URL.revokeObjectURL(url);
    image.src = url;
  });
}

export default {
  render({ model, el }) {
    const self = Math.random().toString(36).slice(2), get = (name) => model.get(name), most = get("most");
    const previous = button("‹", { "aria-label": "previous picture", "aria-keyshortcuts": "PageUp" });
    const next = button("›", { "aria-label": "next picture", "aria-keyshortcuts": "PageDown" });
    const which = html("span", {});
    const switches = Object.entries(get("attributes")).map(([key, name]) => {
      const [no, yes] = ["no", "yes"].map((word) => button(word, { "aria-label": `${name}: ${word}` }));
      const input = html("input", { type: "range", max: 1, step: 0.05, "aria-label": `${name}, mixed from no to yes` });
      const output = html("output", {});
      return { key, no, yes, input, output, root: bar(name, html("b", {}, name), no, input, yes, output) };
    });
    const hole = html("select", {}, ...get("holes").map(({ key, name }) => html("option", { value: key }, name)));
    const elsewhere = button("Other rectangle", { "aria-keyshortcuts": "H" });
    const samples = slider("samples", { min: 1, max: most.samples });
    const temperature = slider("temperature", { min: 0, max: most.temperature, step: 0.1 });
    const again = button("Sample again", { class: "main", "aria-keyshortcuts": "S" });
    const raw = button("Raw output", { "aria-keyshortcuts": "R" });
    const exported = button("Export PNG");
    const line = html("p", { class: "line" }), said = html("p", { class: "said", role: "status" });
    const trouble = html("p", { class: "trouble", role: "alert", hidden: "" });
    const stills = html("div", { class: "stills" });
    const rows = get("networks").map(({ name, task }) => {
      const told = html("span", {}), tiles = html("div", { class: "tiles" });
      const title = html("p", {}, html("b", {}, name), task === name ? "" : ` (${task})`, told);
      return { name, told, tiles, root: html("div", { class: "row", role: "group", "aria-label": name }, title, tiles) };
    });
    const root = html("div", { class: "nblib-mixer", role: "group", "aria-label": "attribute mixer" },
      html("style", {}, STYLE),
      html("div", { class: "head" }, stills, html("div", { class: "controls" },
        bar("picture", previous, which, next, again),
        ...switches.map((one) => one.root),
        bar("hole", html("label", {}, "hole", hole), elsewhere),
        bar("samples", samples.label, temperature.label),
        bar("output", raw, exported))),
      line, said, trouble, ...rows.map((row) => row.root),
      html("p", { class: "help" }, ...HELP.map((text) => html("span", {}, text))));
    // JupyterLab's shortcuts would take letters and arrows away; it asks the element itself before those around it.
    for (const node of [root, ...root.querySelectorAll("select, input, button")]) {
      node.setAttribute("data-lm-suppress-shortcuts", "true");
    }
    let wanted = {}, sent = null, waiting = null, complaint = ""; // changes not sent yet, and on their way

    // What a control shows: what is wished, though the kernel may not have heard of it.
    const now = (name) => wanted[name] ?? sent?.[name] ?? get("labels")[name] ?? get(name);

    // One question at a time; what changes meanwhile goes together.
    function ask(change) {
      Object.assign(wanted, change);
      if (!sent) send();
      drawControls();
    }

    function send() {
      [sent, wanted] = [wanted, {}];
      waiting = setTimeout(() => settle(ABSENT), PATIENCE);
      model.send({ do: "choose", ...sent });
    }

    function settle(told) {
      clearTimeout(waiting);
      [sent, complaint] = [null, told];
      if (told) wanted = {};
      if (Object.keys(wanted).length) send();
      drawControls();
    }

    function turn(step) {
      const picture = now("picture") + step;
      if (picture >= 0 && picture < get("pictures")) ask({ picture });
    }

    const flip = () => switches.length && ask({ [switches[0].key]: now(switches[0].key) < 0.5 ? 1 : 0 });
    const placed = () => get("holes").find(({ key }) => key === now("hole")).placed;
    const move = () => placed() && ask({ hole_seed: now("hole_seed") + 1 });
    const resample = () => ask({ seed: now("seed") + 1 });
    const unpaste = () => ask({ raw: !now("raw") });

    function pressed(event) {
      const { key, target } = event, turns = target.type === "range" ? {} : { pageup: () => turn(-1), pagedown: () => turn(1) };
      const act = { s: resample, f: flip, h: move, r: unpaste, ...turns }[key.toLowerCase()];
      if (!act || event.ctrlKey || event.altKey || event.metaKey || target.tagName === "SELECT") return;
      if (!event.repeat || key.startsWith("Page")) act();
      event.preventDefault();
      event.stopPropagation();
    }

    function drawControls() {
      const picture = now("picture"), degrees = now("temperature");
      root.setAttribute("aria-busy", String(Boolean(sent)));
      which.textContent = `picture ${picture + 1} of ${get("pictures")}`;
      previous.disabled = picture === 0;
      next.disabled = picture === get("pictures") - 1;
      for (const { key, no, yes, input, output } of switches) {
        const share = now(key);
        input.value = share;
        output.textContent = share.toFixed(2);
        no.setAttribute("aria-pressed", String(share === 0));
        yes.setAttribute("aria-pressed", String(share === 1));
      }
      hole.value = now("hole");
      elsewhere.disabled = !placed();
      samples.input.value = samples.output.textContent = now("samples");
      temperature.input.value = degrees;
      temperature.output.textContent = `${degrees.toFixed(1)}${{ 0: ", the mean", 1: ", as trained" }[degrees] ?? ""}`;
      raw.setAttribute("aria-pressed", String(now("raw")));
      trouble.textContent = complaint || get("trouble");
      trouble.hidden = !trouble.textContent;
    }

    async function draw() {
      const version = get("version");
      delete root.dataset.ready;
      settle("");
      line.textContent = get("line");
      tile(stills, get("stills").map(({ name, told, png }) => [name, told, png]));
      const summaries = rows.map(({ name, told, tiles }, k) => {
        const row = get(`row_${k}`), spread = row.spread.byteLength ? [["spread", row.spread_told, row.spread]] : [];
        told.textContent = row.summary && ` · ${row.summary}`;
        const drawn = row.told.map((words, j) => [`sample ${j + 1}`, words, row.samples[j]]); // a saved page may hold older pictures too
        tile(tiles, [["what it sees", "", row.seen], ...drawn, ...spread], name);
        return `${name}: ${row.summary}`;
      });
      said.textContent = [get("line"), ...summaries].join(". ");
      await Promise.allSettled([...root.querySelectorAll("img")].map((image) => image.decode()));
      if (version !== get("version")) return; // a later one is on its way
      root.dataset.version = version;
      root.dataset.ready = "1";
    }

    function download(message, buffers) {
      if (message.do !== "download" || message.view !== self) return;
      const url = URL.createObjectURL(new Blob([buffers[0]], { type: "image/png" }));
      html("a", { href: url, download: "mixed.png" }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    }

    for (const [node, act] of [[previous, () => turn(-1)], [next, () => turn(1)], [elsewhere, move], [again, resample], [raw, unpaste]]) {
      node.addEventListener("click", act);
    }
    for (const { key, no, yes, input } of switches) {
      no.addEventListener("click", () => ask({ [key]: 0 }));
      yes.addEventListener("click", () => ask({ [key]: 1 }));
      input.addEventListener("input", () => ask({ [key]: Number(input.value) }));
    }
    hole.addEventListener("change", () => ask({ hole: hole.value }));
    for (const [name, { input }] of Object.entries({ samples, temperature })) {
      input.addEventListener("input", () => ask({ [name]: Number(input.value) }));
    }
    exported.addEventListener("click", () => model.send({ do: "export", view: self }));
    root.addEventListener("keydown", pressed);
    model.on("change:version", draw); // one message brings everything, the version last
    model.on("msg:custom", download);
    el.append(root);
    draw();
    return () => {
      clearTimeout(waiting);
      model.off("change:version", draw);
      model.off("msg:custom", download);
    };
  },
};
