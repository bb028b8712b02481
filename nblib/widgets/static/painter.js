// Draws what MaskPainter sends: a picture to paint a hole into, and a tile for each inpainter that fills it.

const SIDE = 480; // pixels of the canvas, about
const PART = 2 ** 20; // bytes of a message
const TOOLS = [["brush", "B"], ["eraser", "E"], ["rectangle", "R"]];
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const HELP = ["Drag to paint; with Shift the brush erases. Drop a photo here to fill your own.",
  "Keys: arrows move the pen, Enter or Space puts it down and lifts it, Escape gives up, B E R tool, − + radius, " +
  "Page Up and Down picture, Delete clears, Ctrl+Z undoes, Ctrl+Shift+Z redoes."];
const STYLE = `
.nblib-painter { padding: 4px; font: 17px/1.4 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #222); }
.nblib-painter [hidden] { display: none !important; }
.nblib-painter .bar { display: flex; flex-wrap: wrap; gap: 8px 18px; align-items: center; margin: 4px 0 8px; }
.nblib-painter .some { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; }
.nblib-painter label { display: flex; gap: 8px; align-items: center; white-space: nowrap; }
.nblib-painter output { min-width: 2.8em; }
.nblib-painter output, .nblib-painter .which { font-variant-numeric: tabular-nums; }
.nblib-painter select, .nblib-painter button { font: inherit; padding: 3px 12px; border: 2px solid #0072b2;
  border-radius: 6px; background: transparent; color: inherit; cursor: pointer; }
.nblib-painter option { color: black; background: white; }
.nblib-painter input[type="range"] { width: 110px; accent-color: #0072b2; }
.nblib-painter button[aria-pressed="true"], .nblib-painter button.main { background: #0072b2; color: white; }
.nblib-painter button:disabled { border-color: currentColor; background: transparent; color: inherit; opacity: 0.45; cursor: default; }
.nblib-painter :focus-visible { outline: 3px solid #d55e00; outline-offset: 2px; }
.nblib-painter .line { margin: 0 0 8px; font-weight: 600; font-variant-numeric: tabular-nums; }
.nblib-painter .trouble { margin: 0 0 8px; padding: 8px 12px; border-left: 6px solid #d55e00; white-space: pre-wrap; overflow-wrap: anywhere; }
.nblib-painter .panels { display: flex; flex-wrap: wrap; gap: 20px; align-items: flex-start; }
.nblib-painter figure { margin: 0; min-width: 0; }
.nblib-painter .easel { flex: 1 1 300px; max-width: 420px; }
.nblib-painter .area { display: block; width: 100%; box-sizing: border-box; cursor: none; touch-action: none; user-select: none; }
.nblib-painter .help { margin: 6px 0 0; font-size: 15px; line-height: 1.35; }
.nblib-painter .help span { display: block; margin-bottom: 4px; }
.nblib-painter .results { flex: 2 1 420px; min-width: 0; }
.nblib-painter .results .slow { margin-bottom: 12px; }
.nblib-painter .tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px 12px; }
.nblib-painter .tile { max-width: 240px; }
.nblib-painter .tile canvas { display: block; width: 100%; image-rendering: pixelated; }
.nblib-painter .tile .blank { display: grid; place-content: center; aspect-ratio: 1; box-sizing: border-box; padding: 8px; overflow: auto;
  border: 2px dashed color-mix(in srgb, currentColor 45%, transparent); text-align: center; font-size: 15px; line-height: 1.3; overflow-wrap: anywhere; }
.nblib-painter .tile[data-status="failed"] .blank { border: 3px solid #d55e00; font-size: 13px; }
.nblib-painter .tile:is([data-status="queued"], [data-status="running"], [data-status="unasked"]) canvas { opacity: 0.45; filter: grayscale(1); }
.nblib-painter figcaption b, .nblib-painter figcaption span { display: block; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.nblib-painter figcaption span { font-size: 15px; }
.nblib-painter.dropping { outline: 3px dashed #0072b2; }
.nblib-painter .said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
`;

function html(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const button = (text, attributes = {}) => html("button", { type: "button", ...attributes }, text);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const hundredths = (value) => Math.round(100 * value) / 100;

// A hole, one byte a pixel, from one bit a pixel.
function unpacked(view, size) {
  const hole = new Uint8Array(size * size);
  if (8 * view.byteLength < hole.length) return hole;
  for (let k = 0; k < hole.length; k++) hole[k] = (view.getUint8(k >> 3) >> (7 - (k & 7))) & 1;
  return hole;
}

// The same pixels as nblib/strokes.py finds, in the same order of operations.
function applied(hole, { tool, radius, points }, size) {
  if (tool === "rectangle") {
    const [[r0, c0], [r1, c1]] = points.map((point) => point.map((value) => Math.floor(value + 0.5)));
    for (let r = Math.max(0, Math.min(r0, r1)); r <= Math.min(size - 1, Math.max(r0, r1)); r++)
      for (let c = Math.max(0, Math.min(c0, c1)); c <= Math.min(size - 1, Math.max(c0, c1)); c++) hole[r * size + c] = 1;
    return hole;
  }
  points.forEach(([row, column], k) => {
    const [y, x] = (points[k + 1] ?? points[k]).map((value, axis) => value - [row, column][axis]);
    const length = Math.max(y * y + x * x, 1e-12);
    const last = (from, by) => Math.min(size - 1, Math.ceil(Math.max(from, from + by) + radius));
    const first = (from, by) => Math.max(0, Math.floor(Math.min(from, from + by) - radius));
    for (let r = first(row, y); r <= last(row, y); r++)
      for (let c = first(column, x); c <= last(column, x); c++) {
        const down = r - row, across = c - column, along = clamp((down * y + across * x) / length, 0, 1);
        const offRow = down - along * y, offColumn = across - along * x;
        if (offRow * offRow + offColumn * offColumn <= radius * radius) hole[r * size + c] = tool === "eraser" ? 0 : 1;
      }
  });
  return hole;
}

// The edges between hole and known pixels.
function rim(hole, size, scale) {
  const line = new Path2D();
  const edge = (...ends) => {
    const [x0, y0, x1, y1] = ends.map((value) => value * scale);
    line.moveTo(x0, y0);
    line.lineTo(x1, y1);
  };
  for (let r = 0, k = 0; r < size; r++)
    for (let c = 0; c < size; c++, k++) {
      if (!hole[k]) continue;
      if (!r || !hole[k - size]) edge(c, r, c + 1, r);
      if (r === size - 1 || !hole[k + size]) edge(c, r + 1, c + 1, r + 1);
      if (!c || !hole[k - 1]) edge(c, r, c, r + 1);
      if (c === size - 1 || !hole[k + 1]) edge(c + 1, r, c + 1, r + 1);
    }
  return line;
}

function twoTone(context, path, wide, narrow, tone) {
  context.lineCap = context.lineJoin = "round";
  for (const [width, colour] of [[wide, "black"], [narrow, tone]]) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke(path);
  }
}

export default {
  render({ model, el }) {
    const self = Math.random().toString(36).slice(2), size = model.get("size");
    const scale = Math.max(1, Math.round(SIDE / size)), methods = model.get("methods");
    const tools = TOOLS.map(([tool, key]) =>
      button(tool[0].toUpperCase() + tool.slice(1), { "aria-pressed": String(tool === "brush"), "aria-keyshortcuts": key }));
    const radius = html("input", { type: "range", min: 1, max: Math.max(2, size >> 2), value: Math.max(1, size >> 4), step: 0.5,
      "aria-label": "radius of brush and eraser in pixels" });
    const radiusTold = html("output", {});
    const undo = button("Undo", { "aria-keyshortcuts": "Control+Z" });
    const redo = button("Redo", { "aria-keyshortcuts": "Control+Shift+Z" });
    const clear = button("Clear", { "aria-keyshortcuts": "Delete" });
    const random = button("Random hole");
    const protocol = html("select", { "aria-label": "how a random hole is drawn" }, ...model.get("protocols").map((name) => html("option", {}, name)));
    const previous = button("‹", { "aria-label": "previous picture", "aria-keyshortcuts": "PageUp" });
    const next = button("›", { "aria-label": "next picture", "aria-keyshortcuts": "PageDown" });
    const which = html("span", { class: "which" });
    const photo = button("Own photo …");
    const photoFile = html("input", { type: "file", accept: "image/jpeg,image/png,image/webp,image/bmp", hidden: "", "aria-label": "own photo" });
    const load = button("Load strokes …");
    const strokesFile = html("input", { type: "file", accept: "application/json,.json", hidden: "", "aria-label": "strokes" });
    const save = button("Save strokes");
    const exported = button("Export PNG");
    const slow = button("Fill with slow methods", { class: "slow main" });
    const line = html("p", { class: "line" });
    const said = html("p", { class: "said", role: "status" });
    const trouble = html("p", { class: "trouble", role: "alert", hidden: "" });
    const area = html("canvas", { class: "area", tabindex: "0", role: "application", "aria-roledescription": "picture to paint a hole into" });
    [area.width, area.height] = [size * scale, size * scale];
    const tiles = methods.map(({ name }) => {
      const canvas = html("canvas", { role: "img", width: size, height: size, hidden: "" }), blank = html("div", { class: "blank" });
      const told = html("span", {}), figure = html("figure", { class: "tile" }, canvas, blank, html("figcaption", {}, html("b", {}, name), told));
      return { name, figure, canvas, blank, told };
    });
    const some = (name, ...nodes) => html("div", { class: "some", role: "group", "aria-label": name }, ...nodes);
    const root = html(
      "div",
      { class: "nblib-painter", role: "group", "aria-label": "mask painter" },
      html("style", {}, STYLE),
      html("div", { class: "bar" }, some("pen", ...tools, html("label", {}, "radius", radius, radiusTold)), some("strokes so far", undo, redo, clear), some("random hole", random, protocol)),
      html("div", { class: "bar" }, some("pictures", previous, which, next), some("files", photo, load, save, exported), photoFile, strokesFile),
      line, said, trouble,
      html("div", { class: "panels" },
        html("figure", { class: "easel" }, area, html("figcaption", { class: "help" }, ...HELP.map((text) => html("span", {}, text)))),
        html("div", { class: "results" }, slow, html("div", { class: "tiles" }, ...tiles.map((tile) => tile.figure)))),
    );
    // JupyterLab's shortcuts would take arrows and Enter away; it asks the element itself before those around it.
    for (const node of [root, ...root.querySelectorAll("select, input, button, canvas")]) {
      node.setAttribute("data-lm-suppress-shortcuts", "true");
    }
    const kept = new Map(), veil = document.createElement("canvas"); // decoded pictures by slot; the hole
    [veil.width, veil.height] = [size, size];
    let tool = "brush", cursor = [(size - 1) / 2, (size - 1) / 2], over = false, complaint = "";
    let stroke = null, byKey = false; // what is being painted
    let hole = new Uint8Array(size * size), pending = [], number = 0; // strokes that Python has not confirmed
    let picture = null, drawing = false, again = false, uploads = 0;

    function send(wish, more = {}, buffers = []) {
      complaint = "";
      model.send({ do: wish, view: self, ...more }, undefined, buffers);
    }

    function choose(name) {
      tool = name;
      tools.forEach((node, k) => node.setAttribute("aria-pressed", String(TOOLS[k][0] === name)));
      drawArea();
    }

    function begin(at, erase) {
      const points = [at.map(hundredths)], own = erase && tool === "brush" ? "eraser" : tool;
      stroke = own === "rectangle" ? { tool: own, points: [...points, ...points] } : { tool: own, radius: Number(radius.value), points };
    }

    function extend(at) {
      const point = at.map(hundredths), [row, column] = stroke.points.at(-1);
      if (stroke.tool === "rectangle") stroke.points = [stroke.points[0], point];
      else if (Math.hypot(point[0] - row, point[1] - column) >= 0.25) stroke.points.push(point);
    }

    function finish() {
      if (!stroke) return;
      pending.push({ number: ++number, stroke });
      send("paint", { number, stroke });
      stroke = null;
      drawArea();
    }

    function turnTo(step) {
      const wanted = model.get("picture") + step;
      if (wanted >= 0 && wanted < model.get("pictures")) send("choose", { picture: wanted });
    }

    function placeOf(event) {
      const box = area.getBoundingClientRect();
      return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width].map((part) => clamp(part * size, -size, 2 * size) - 0.5);
    }

    area.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      area.setPointerCapture(event.pointerId);
      cursor = placeOf(event);
      byKey = false;
      begin(cursor, event.shiftKey);
      drawArea();
    });
    area.addEventListener("pointermove", (event) => {
      over = true;
      if (byKey && stroke) return;
      cursor = placeOf(event);
      if (stroke) extend(cursor);
      drawArea();
    });
    area.addEventListener("pointerup", () => byKey || finish());
    area.addEventListener("pointercancel", () => {
      stroke = null;
      drawArea();
    });
    area.addEventListener("pointerleave", () => {
      over = false;
      drawArea();
    });
    for (const change of ["focus", "blur"]) area.addEventListener(change, drawArea);

    function sayPen() {
      const [row, column] = cursor;
      said.textContent = `row ${row}, column ${column}, ${stroke ? "pen down" : "pen up"}`;
      drawArea();
    }

    function pen() {
      if (stroke) return finish();
      byKey = true;
      cursor = cursor.map((value) => clamp(Math.round(value), 0, size - 1));
      begin(cursor, false);
      sayPen();
    }

    function move([down, across], far) {
      cursor = [cursor[0] + down * far, cursor[1] + across * far].map((value) => clamp(Math.round(value), 0, size - 1));
      if (stroke) extend(cursor);
      sayPen();
    }

    function resize(by) {
      radius.value = Number(radius.value) + by;
      drawRadius();
    }

    // What a key does; undefined if nothing.
    function meaning(event) {
      const key = event.key.toLowerCase();
      if (event.altKey) return undefined;
      if (event.ctrlKey || event.metaKey) {
        return key === "y" || (key === "z" && event.shiftKey) ? () => send("redo") : key === "z" ? () => send("undo") : undefined;
      }
      const named = TOOLS.find(([, letter]) => letter.toLowerCase() === key);
      if (named) return () => choose(named[0]);
      if (ARROWS[event.key]) return () => move(ARROWS[event.key], event.shiftKey ? 4 : 1);
      if (key === "escape" && stroke) return () => { stroke = null; drawArea(); };
      return { enter: pen, " ": pen, delete: () => send("clear"), backspace: () => send("clear"), "+": () => resize(0.5), "=": () => resize(0.5),
        "-": () => resize(-0.5), pageup: () => turnTo(-1), pagedown: () => turnTo(1) }[key];
    }

    area.addEventListener("keydown", (event) => {
      const act = meaning(event);
      if (!act) return;
      if (!(event.repeat && act === pen)) act();
      event.preventDefault();
      event.stopPropagation();
    });

    // A file goes in parts: a server refuses messages of more than 10 MB.
    async function upload(file) {
      const kind = file.name.toLowerCase().endsWith(".json") ? "strokes" : "photo", most = model.get("limits")[kind];
      complaint = file.size > most ? `${file.name} has ${file.size.toLocaleString("en")} bytes; at most ${most.toLocaleString("en")} are read` : "";
      drawTrouble();
      if (complaint) return;
      const data = await file.arrayBuffer(), about = { upload: `${self}-${++uploads}`, kind, name: file.name };
      for (let part = 0, at = 0; part === 0 || at < data.byteLength; part++, at += PART) {
        send("upload", { ...about, part, last: at + PART >= data.byteLength }, [data.slice(at, at + PART)]);
      }
    }

    for (const [opener, input] of [[photo, photoFile], [load, strokesFile]]) {
      opener.addEventListener("click", () => input.click());
      input.addEventListener("change", () => {
        if (input.files.length) upload(input.files[0]);
        input.value = ""; // the same file may be chosen again
      });
    }
    const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      root.addEventListener(kind, (event) => {
        if (!carriesFile(event)) return;
        event.preventDefault();
        event.stopPropagation();
        root.classList.toggle("dropping", kind === "dragenter" || kind === "dragover");
        if (kind === "drop" && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
      });
    }

    function drawArea() {
      const context = area.getContext("2d"), shown = pending.reduce((held, { stroke: one }) => applied(held, one, size), hole.slice());
      if (stroke) applied(shown, stroke, size);
      const image = new ImageData(size, size);
      for (let k = 0; k < shown.length; k++) if (shown[k]) image.data.set([128, 128, 128, 217], 4 * k);
      veil.getContext("2d").putImageData(image, 0, 0);
      context.imageSmoothingEnabled = false;
      if (picture) context.drawImage(picture, 0, 0, area.width, area.height);
      context.drawImage(veil, 0, 0, area.width, area.height);
      twoTone(context, rim(shown, size, scale), 5, 2.5, "#f0e442");
      if (over || document.activeElement === area) drawCursor(context);
    }

    function drawCursor(context) {
      const path = new Path2D(), [y, x] = cursor.map((value) => (value + 0.5) * scale);
      const long = tool === "rectangle" ? 14 : 5;
      for (const [dx, dy] of [[long, 0], [0, long]]) {
        path.moveTo(x - dx, y - dy);
        path.lineTo(x + dx, y + dy);
      }
      if (tool !== "rectangle") {
        path.moveTo(x + radius.value * scale, y);
        path.arc(x, y, radius.value * scale, 0, 7);
      }
      twoTone(context, path, 4, 2, stroke ? "#56b4e9" : "white");
    }

    function drawTile({ name, figure, canvas, blank, told }, tile, bitmap) {
      figure.dataset.status = tile.status;
      canvas.hidden = !bitmap;
      blank.hidden = Boolean(bitmap);
      told.hidden = !bitmap;
      told.textContent = blank.textContent = tile.told;
      canvas.setAttribute("aria-label", `${name}: ${tile.told}`);
      if (!bitmap) return;
      const context = canvas.getContext("2d");
      context.drawImage(bitmap, 0, 0);
    }

    function drawRadius() {
      radiusTold.textContent = `${radius.value} px`;
      drawArea();
    }

    function drawTrouble() {
      trouble.textContent = [complaint, model.get("trouble")].filter(Boolean).join("\n");
      trouble.hidden = !trouble.textContent;
    }

    function drawControls(found) {
      undo.disabled = !model.get("undoable");
      redo.disabled = !model.get("redoable");
      clear.disabled = !unpacked(model.get("hole"), size).includes(1);
      which.textContent = `${model.get("picture") + 1} of ${model.get("pictures")}`;
      previous.disabled = model.get("picture") === 0;
      next.disabled = model.get("picture") === model.get("pictures") - 1;
      slow.hidden = !methods.some((method) => method.slow);
      slow.disabled = !found.some((tile) => tile.status === "unasked");
      line.textContent = model.get("line");
      area.setAttribute("aria-label", `${line.textContent}. ${HELP[1]}`);
      const busy = found.some((tile) => tile.status === "queued" || tile.status === "running");
      const ended = found.map((tile, k) => `${methods[k].name} ${tile.told}`);
      said.textContent = busy ? line.textContent : [line.textContent, ...(model.get("fillable") ? ended : [])].join(". ");
    }

    // A picture, decoded once.
    async function decoded(slot, png) {
      if (kept.get(slot)?.png !== png) {
        kept.set(slot, { png, bitmap: png.byteLength ? await createImageBitmap(new Blob([png], { type: "image/png" })) : null });
      }
      return kept.get(slot).bitmap;
    }

    async function drawState() {
      const version = model.get("version"), found = methods.map((_, k) => model.get(`tile_${k}`));
      const base = await decoded("picture", model.get("png"));
      const bitmaps = await Promise.all(found.map((tile, k) => decoded(k, tile.png)));
      picture = base;
      drawArea();
      drawControls(found);
      drawTrouble();
      tiles.forEach((tile, k) => drawTile(tile, found[k], bitmaps[k]));
      root.dataset.version = version;
      root.dataset.ready = "1";
    }

    // The hole at once, pictures as soon as they are decoded; a later state is drawn when this one is.
    async function draw() {
      const [view, confirmed] = model.get("heard");
      if (view === self) pending = pending.filter((one) => one.number > confirmed);
      hole = unpacked(model.get("hole"), size);
      again = true;
      if (drawing) return;
      drawing = true;
      try {
        while (again) {
          again = false;
          await drawState();
        }
      } finally {
        drawing = false;
      }
    }

    function download(message, buffers) {
      if (message.do !== "download" || message.view !== self) return;
      const url = URL.createObjectURL(new Blob([buffers[0]], { type: message.type }));
      html("a", { href: url, download: message.name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    }

    tools.forEach((node, k) => node.addEventListener("click", () => choose(TOOLS[k][0])));
    radius.addEventListener("input", drawRadius);
    previous.addEventListener("click", () => turnTo(-1));
    next.addEventListener("click", () => turnTo(1));
    random.addEventListener("click", () => send("random", { protocol: protocol.value }));
    for (const [node, wish] of [[undo, "undo"], [redo, "redo"], [clear, "clear"], [slow, "fill_slow"], [save, "save"], [exported, "export"]]) {
      node.addEventListener("click", () => send(wish));
    }
    model.on("change:version", draw); // one message brings everything, the version last
    model.on("msg:custom", download);
    el.append(root);
    drawRadius();
    draw();
    return () => {
      model.off("change:version", draw);
      model.off("msg:custom", download);
    };
  },
};
