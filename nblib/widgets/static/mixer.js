// Draws what AttributeMixer sends: for each network a row of samples, and controls that ask for other ones.

const PATIENCE = 5000; // milliseconds without an answer, until the reader is told
const HELP = ["Keys: S samples again, F flips the label, H another rectangle, R raw or pasted, Page Up and Page Down the picture.",
  "L1: mean absolute difference to the truth in the hole. SD: standard deviation of a pixel over the samples; the lighter, the larger."];
const STYLE = `
.nblib-mixer { padding: 4px; font: 17px/1.4 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #222); }
.nblib-mixer [hidden] { display: none !important; }
.nblib-mixer .head { display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: flex-start; }
.nblib-mixer .stills { display: flex; flex-wrap: wrap; gap: 10px 12px; }
.nblib-mixer .stills figure { width: 130px; }
.nblib-mixer .controls { flex: 1 1 420px; min-width: 0; }
.nblib-mixer .bar { display: flex; flex-wrap: wrap; gap: 8px 22px; align-items: center; margin: 0 0 10px; }
.nblib-mixer .some { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; }
.nblib-mixer label { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; }
.nblib-mixer output, .nblib-mixer .which { font-variant-numeric: tabular-nums; }
.nblib-mixer .mixed output { min-width: 2.4em; }
.nblib-mixer .samples output { min-width: 1.3em; }
.nblib-mixer .temperature output { min-width: 7.4em; }
.nblib-mixer select, .nblib-mixer button { font: inherit; padding: 3px 12px; border: 2px solid #0072b2;
  border-radius: 6px; background: transparent; color: inherit; cursor: pointer; }
.nblib-mixer option { color: black; background: white; }
.nblib-mixer input[type="range"] { width: 120px; accent-color: #0072b2; }
.nblib-mixer label input[type="range"] { width: 84px; }
.nblib-mixer .switch { display: flex; }
.nblib-mixer .switch button:first-child { border-radius: 6px 0 0 6px; border-right: 0; }
.nblib-mixer .switch button:last-child { border-radius: 0 6px 6px 0; }
.nblib-mixer button[aria-pressed="true"], .nblib-mixer button.main { background: #0072b2; color: white; }
.nblib-mixer button:disabled { border-color: currentColor; background: transparent; color: inherit; opacity: 0.45; cursor: default; }
.nblib-mixer :focus-visible { outline: 3px solid #d55e00; outline-offset: 2px; }
.nblib-mixer .line { margin: 4px 0 8px; font-weight: 600; font-variant-numeric: tabular-nums; }
.nblib-mixer .trouble { margin: 0 0 8px; padding: 8px 12px; border-left: 6px solid #d55e00; white-space: pre-wrap; overflow-wrap: anywhere; }
.nblib-mixer .tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(118px, 1fr)); gap: 10px 12px; }
.nblib-mixer figure { margin: 0; min-width: 0; max-width: 170px; }
.nblib-mixer canvas { display: block; width: 100%; image-rendering: pixelated; }
.nblib-mixer figcaption { font-size: 15px; line-height: 1.3; margin-top: 3px; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.nblib-mixer figcaption b, .nblib-mixer figcaption span { display: block; }
.nblib-mixer .row { margin-top: 12px; padding-top: 8px; border-top: 2px solid color-mix(in srgb, currentColor 25%, transparent); }
.nblib-mixer .row p { margin: 0 0 6px; }
.nblib-mixer .row .told { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.nblib-mixer .row[data-status="failed"] .told { display: block; padding: 6px 10px; border-left: 6px solid #d55e00; }
.nblib-mixer .row .tiles, .nblib-mixer .row .told { transition: opacity 0.1s, filter 0.1s; }
.nblib-mixer .row:is([data-status="queued"], [data-status="running"]) :is(.tiles, .told) { opacity: 0.45; filter: grayscale(1);
  transition-delay: 0.3s; } /* quick answers do not flicker */
.nblib-mixer .help { margin: 10px 0 0; font-size: 15px; line-height: 1.35; }
.nblib-mixer .help span { display: block; }
.nblib-mixer .said { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); }
`;

function html(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const button = (text, attributes = {}) => html("button", { type: "button", ...attributes }, text);

// A picture with its name and what is told of it.
function tile() {
  const canvas = html("canvas", { role: "img" }), name = html("b", {}), told = html("span", {});
  return { canvas, name, told, figure: html("figure", {}, canvas, html("figcaption", {}, name, told)) };
}

function fill({ canvas, name, told }, size, bitmap, left, title, lines, owner) {
  if (canvas.width !== size || canvas.height !== size) [canvas.width, canvas.height] = [size, size];
  if (bitmap) canvas.getContext("2d").drawImage(bitmap, left, 0, size, size, 0, 0, size, size);
  name.textContent = title;
  told.replaceChildren(...lines.map((line) => html("span", {}, line)));
  canvas.setAttribute("aria-label", [[owner, title].filter(Boolean).join(", "), ...lines].join(": "));
}

const parts = (text) => text.split(" · ").filter(Boolean);

export default {
  render({ model, el }) {
    const self = Math.random().toString(36).slice(2), get = (name) => model.get(name), size = get("size");
    const previous = button("‹", { "aria-label": "previous picture", "aria-keyshortcuts": "PageUp" });
    const next = button("›", { "aria-label": "next picture", "aria-keyshortcuts": "PageDown" });
    const which = html("span", { class: "which" });
    const range = (label, max, step, min = 0) => html("input", { type: "range", min, max, step, "aria-label": label });
    const switches = get("labels").map(({ key, name }) => {
      const [no, yes] = ["no", "yes"].map((word) => button(word, { "aria-label": `${name}: ${word}` }));
      const slider = range(`${name}, mixed from no to yes`, 1, 0.05), value = html("output", {}), own = html("span", { class: "own" });
      const root = html("div", { class: "some mixed", role: "group", "aria-label": name }, name, html("span", { class: "switch" }, no, yes), slider, value, own);
      return { key, no, yes, slider, value, own, root };
    });
    const hole = html("select", { "aria-label": "hole" }, ...get("holes").map(({ key, name }) => html("option", { value: key }, name)));
    const elsewhere = button("Other rectangle", { "aria-keyshortcuts": "H" });
    const samples = range("samples", get("most").samples, 1, 1), samplesTold = html("output", {});
    const temperature = range("temperature", get("most").temperature, 0.1), temperatureTold = html("output", {});
    const again = button("Sample again", { class: "main", "aria-keyshortcuts": "S" });
    const raw = button("Raw output", { "aria-keyshortcuts": "R" });
    const exported = button("Export PNG");
    const line = html("p", { class: "line" });
    const said = html("p", { class: "said", role: "status" });
    const trouble = html("p", { class: "trouble", role: "alert", hidden: "" });
    const stills = html("div", { class: "stills" });
    const rows = get("networks").map(({ name, task }) => {
      const told = html("span", { class: "told" }), tiles = html("div", { class: "tiles" });
      const title = html("p", {}, html("b", {}, name), task === name ? " " : ` (${task}) `, told);
      return { name, told, tiles, drawn: [], root: html("div", { class: "row", role: "group", "aria-label": name }, title, tiles) };
    });
    const some = (name, ...nodes) => html("div", { class: "some", role: "group", "aria-label": name }, ...nodes);
    const root = html(
      "div",
      { class: "nblib-mixer", role: "group", "aria-label": "attribute mixer" },
      html("style", {}, STYLE),
      html("div", { class: "head" }, stills, html("div", { class: "controls" },
        html("div", { class: "bar" }, some("pictures", previous, which, next), again),
        ...switches.map((one) => html("div", { class: "bar" }, one.root)),
        html("div", { class: "bar" }, some("hole", html("label", {}, "hole", hole), elsewhere)),
        html("div", { class: "bar" }, html("label", { class: "samples" }, "samples", samples, samplesTold),
          html("label", { class: "temperature" }, "temperature", temperature, temperatureTold)),
        html("div", { class: "bar" }, raw, exported))),
      line, said, trouble, ...rows.map((row) => row.root),
      html("p", { class: "help" }, ...HELP.map((text) => html("span", {}, text))),
    );
    // JupyterLab's shortcuts would take letters and arrows away; it asks the element itself before those around it.
    for (const node of [root, ...root.querySelectorAll("select, input, button")]) {
      node.setAttribute("data-lm-suppress-shortcuts", "true");
    }
    const kept = new Map(); // decoded pictures by slot
    let wanted = {}, sent = {}, number = 0, waiting = null; // wishes that are not sent, and not heard
    let complaint = "", drawing = false, stale = false;

    // What a control shows: what is wished, though the kernel may not have heard of it.
    const wish = (name) => wanted[name] ?? sent[name] ?? get(name);
    const label = (key) => wanted[key] ?? sent[key] ?? get("labels").find((one) => one.key === key).value;

    // One wish at a time; what changes meanwhile goes together. Without a kernel, nobody answers.
    function ask(change) {
      wanted = { ...wanted, ...change };
      complaint = "";
      if (!waiting) send();
      drawControls();
    }

    function send() {
      [sent, wanted] = [wanted, {}];
      waiting = setTimeout(giveUp, PATIENCE);
      try {
        model.send({ do: "choose", view: self, number: ++number, wish: sent });
      } catch { // the kernel was shut down
        giveUp();
      }
    }

    function giveUp() {
      clearTimeout(waiting);
      complaint = "No answer from the kernel: it is busy, or this page has none. What was drawn before stays.";
      [waiting, sent, wanted] = [null, {}, {}];
      drawControls();
    }

    function heard() {
      const [view, confirmed] = get("heard");
      if (view !== self || confirmed < number) return;
      complaint = ""; // it may have come late
      if (!waiting) return;
      clearTimeout(waiting);
      [waiting, sent] = [null, {}];
      if (Object.keys(wanted).length) send();
    }

    function turnTo(step) {
      const picture = wish("picture") + step;
      if (picture >= 0 && picture < get("pictures")) ask({ picture });
    }

    function flip() {
      if (switches.length) ask({ [switches[0].key]: label(switches[0].key) < 0.5 ? 1 : 0 });
    }

    function toggle() {
      model.set("raw", !get("raw"));
      model.save_changes();
    }

    const sampleAgain = () => ask({ seed: "next" });
    const moveHole = () => get("placed") && ask({ hole_seed: "next" });

    function pressed(event) {
      const { key, target } = event;
      if (event.ctrlKey || event.altKey || event.metaKey || target.tagName === "SELECT") return;
      const turn = target.type === "range" ? {} : { pageup: () => turnTo(-1), pagedown: () => turnTo(1) };
      const act = { s: sampleAgain, f: flip, h: moveHole, r: toggle, ...turn }[key.toLowerCase()];
      if (!act) return;
      if (!event.repeat || turn[key.toLowerCase()]) act();
      event.preventDefault();
      event.stopPropagation();
    }

    function drawControls() {
      const picture = wish("picture"), degrees = wish("temperature");
      which.textContent = `picture ${picture + 1} of ${get("pictures")}`;
      previous.disabled = picture === 0;
      next.disabled = picture === get("pictures") - 1;
      switches.forEach(({ key, no, yes, slider, value, own }, k) => {
        const share = label(key), known = get("labels")[k].own;
        slider.value = share;
        value.textContent = share.toFixed(2);
        no.setAttribute("aria-pressed", String(share === 0));
        yes.setAttribute("aria-pressed", String(share === 1));
        own.textContent = known === null ? "" : `(its own: ${known ? "yes" : "no"})`;
      });
      hole.value = wish("hole");
      elsewhere.disabled = !get("placed");
      samples.value = wish("samples");
      samplesTold.textContent = wish("samples");
      temperature.value = degrees;
      temperatureTold.textContent = `${degrees.toFixed(1)}${{ 0: ", the mean", 1: ", as trained" }[degrees] ?? ""}`;
      raw.setAttribute("aria-pressed", String(get("raw")));
      trouble.textContent = [complaint, get("trouble")].filter(Boolean).join("\n");
      trouble.hidden = !trouble.textContent;
    }

    // A picture, decoded once.
    async function decoded(slot, png) {
      if (!kept.has(slot) || kept.get(slot).png !== png) {
        kept.set(slot, { png, bitmap: png?.byteLength ? await createImageBitmap(new Blob([png], { type: "image/png" })) : null });
      }
      return kept.get(slot).bitmap;
    }

    // Everything there is to draw, as it was at one moment.
    async function read() {
      const mode = get("raw") ? 1 : 0, [version, texts, found, given] = ["version", "line", "states", "stills"].map(get);
      const pictures = await Promise.all(given.map((still, k) => decoded(`still ${k}`, still.png)));
      const sheets = await Promise.all(rows.map(async (_, k) => {
        const row = get(`row_${k}`), names = ["seen", "samples", "spread"];
        const pngs = [row.seen, row.samples?.[mode], row.spread?.[mode]];
        return [row, ...(await Promise.all(pngs.map((png, j) => decoded(`${k} ${names[j]} ${j ? mode : ""}`, png))))];
      }));
      return { mode, version, texts, found, given, pictures, sheets };
    }

    // As many tiles as there are pictures.
    function fitted(place, drawn, count) {
      while (drawn.length < count) drawn.push(tile());
      drawn.length = count;
      place.replaceChildren(...drawn.map(({ figure }) => figure));
      return drawn;
    }

    function drawRow({ name, told, tiles, drawn, root: own }, [row, seen, sheet, spread], [status, words], mode) {
      own.dataset.status = status;
      own.setAttribute("aria-busy", String(status === "queued" || status === "running"));
      const summary = row.summary?.[mode];
      told.textContent = status === "failed" ? words : summary ? `· ${summary}` : `· ${words}`;
      const content = seen ? [[seen, 0, "what it sees", []]] : [];
      for (let k = 0; k < (row.count ?? 0); k++) content.push([sheet, k * size, `sample ${k + 1}`, parts(row.told[mode][k])]);
      if (spread) content.push([spread, 0, "spread", [row.spread_told[mode]]]);
      fitted(tiles, drawn, content.length).forEach((one, k) => fill(one, size, ...content[k], name));
    }

    const drawnStills = [];
    function show({ mode, version, texts, found, given, pictures, sheets }) {
      line.textContent = texts;
      fitted(stills, drawnStills, given.length).forEach((one, k) => fill(one, size, pictures[k], 0, given[k].name, parts(given[k].told), ""));
      rows.forEach((row, k) => drawRow(row, sheets[k], found[k], mode));
      const busy = found.some(([status]) => status === "queued" || status === "running");
      const ended = rows.map(({ name }, k) => `${name}: ${found[k][0] === "failed" ? found[k][1] : sheets[k][0].summary?.[mode]}`);
      if (!busy) said.textContent = [texts, ...ended].join(". "); // who listens is told once all have drawn
      root.dataset.version = version;
      root.dataset.raw = mode;
      root.dataset.ready = "1";
    }

    // Controls at once, pictures as soon as they are decoded; a later state is drawn when this one is.
    async function draw() {
      heard();
      drawControls();
      stale = true;
      if (drawing) return;
      drawing = true;
      try {
        while (stale) {
          stale = false;
          show(await read());
        }
      } catch (error) {
        complaint = `This page cannot draw it: ${error}`;
        drawControls();
        throw error;
      } finally {
        drawing = false;
      }
    }

    function download(message, buffers) {
      if (message.do !== "download" || message.view !== self) return;
      const url = URL.createObjectURL(new Blob([buffers[0]], { type: "image/png" }));
      html("a", { href: url, download: "mixed.png" }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    }

    previous.addEventListener("click", () => turnTo(-1));
    next.addEventListener("click", () => turnTo(1));
    for (const { key, no, yes, slider } of switches) {
      no.addEventListener("click", () => ask({ [key]: 0 }));
      yes.addEventListener("click", () => ask({ [key]: 1 }));
      slider.addEventListener("input", () => ask({ [key]: Number(slider.value) }));
    }
    hole.addEventListener("change", () => ask({ hole: hole.value }));
    elsewhere.addEventListener("click", moveHole);
    samples.addEventListener("input", () => ask({ samples: Number(samples.value) }));
    temperature.addEventListener("input", () => ask({ temperature: Number(temperature.value) }));
    again.addEventListener("click", sampleAgain);
    raw.addEventListener("click", toggle);
    exported.addEventListener("click", () => model.send({ do: "export", view: self }));
    root.addEventListener("keydown", pressed);
    model.on("change:version", draw); // one message brings everything, the version last
    model.on("change:raw", draw);
    model.on("msg:custom", download);
    el.append(root);
    draw();
    return () => {
      clearTimeout(waiting);
      model.off("change:version", draw);
      model.off("change:raw", draw);
      model.off("msg:custom", download);
    };
  },
};
