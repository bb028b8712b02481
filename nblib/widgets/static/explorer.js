// Draws what AttentionExplorer sends: a picture that is clicked and brushed, and a map over it for each query.

const COLOURS = ["#56b4e9", "#e69f00"]; // of the two queries (Okabe and Ito)
const SIDE = 480; // pixels of a canvas, about
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const HELP = ["Click: a pixel. Drag: a region. With Shift: query 2.",
  "Keys: arrows move, Enter pixel or disc, Space other query, Delete removes query 2."];
const STYLE = `
.nblib-explorer { padding: 4px; font: 17px/1.4 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #222); }
.nblib-explorer [hidden] { display: none; }
.nblib-explorer .bar { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; margin: 4px 0 8px; }
.nblib-explorer label { display: flex; gap: 8px; align-items: center; white-space: nowrap; }
.nblib-explorer output { min-width: 2.6em; font-variant-numeric: tabular-nums; }
.nblib-explorer select, .nblib-explorer button { font: inherit; padding: 3px 14px; border: 2px solid #0072b2;
  border-radius: 6px; background: transparent; color: inherit; cursor: pointer; }
.nblib-explorer option { color: black; background: white; }
.nblib-explorer input { width: 96px; accent-color: #0072b2; }
.nblib-explorer button[aria-pressed="true"] { color: black; background: var(--own); border-color: var(--own); font-weight: 600; }
.nblib-explorer button[aria-pressed="false"] { border-color: var(--own); }
.nblib-explorer button.export { background: #0072b2; color: white; margin-left: auto; }
.nblib-explorer button:disabled { border-color: currentColor; opacity: 0.45; cursor: default; }
.nblib-explorer :focus-visible { outline: 3px solid #d55e00; outline-offset: 2px; }
.nblib-explorer .line { margin: 0 0 8px; font-weight: 600; font-variant-numeric: tabular-nums; }
.nblib-explorer .trouble { margin: 0 0 8px; padding: 8px 12px; border-left: 6px solid #d55e00; white-space: pre-wrap; }
.nblib-explorer .panels { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; }
.nblib-explorer figure { flex: 1 1 240px; max-width: 400px; min-width: 0; margin: 0; }
.nblib-explorer canvas { display: block; width: 100%; box-sizing: border-box; }
.nblib-explorer .area { border: 4px solid transparent; cursor: crosshair; touch-action: none; user-select: none; }
.nblib-explorer .view .area { border-color: var(--own); }
.nblib-explorer .scale { position: relative; margin: 6px 0 2px; }
.nblib-explorer .scale canvas { height: 14px; }
.nblib-explorer .scale i { position: absolute; top: -3px; height: 20px; width: 3px; margin-left: -1px; background: currentColor; }
.nblib-explorer .ends { display: flex; justify-content: space-between; font-variant-numeric: tabular-nums; }
.nblib-explorer figcaption { font-variant-numeric: tabular-nums; }
.nblib-explorer figcaption b, .nblib-explorer figcaption span { display: block; }
.nblib-explorer .help span { display: block; margin-top: 5px; line-height: 1.3; font-size: 16px; }
.nblib-explorer .said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
`;

function html(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function slider(name, attributes) {
  const input = html("input", { type: "range", ...attributes });
  const output = html("output", {});
  return { input, output, label: html("label", {}, name, input, output) };
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function bytes(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

// The value of a grid between the centres of its cells, at `place` cells from its edge.
function between(length, place) {
  const at = clamp(place - 0.5, 0, length - 1), low = Math.floor(at);
  return [low, Math.min(low + 1, length - 1), at - low];
}

// Pixels of a disc, and of a line of discs, counted row by row.
function stroke(found, [r0, c0], [r1, c1], radius, [height, width]) {
  const steps = Math.max(1, Math.abs(r1 - r0), Math.abs(c1 - c0));
  for (let k = 0; k <= steps; k++) {
    const row = Math.round(r0 + ((r1 - r0) * k) / steps), column = Math.round(c0 + ((c1 - c0) * k) / steps);
    for (let r = Math.max(0, row - radius); r <= Math.min(height - 1, row + radius); r++)
      for (let c = Math.max(0, column - radius); c <= Math.min(width - 1, column + radius); c++)
        if ((r - row) ** 2 + (c - column) ** 2 <= radius * radius + 0.25) found.add(r * width + c);
  }
  return found;
}

// A query some pixels further; one that would leave the picture stays.
function moved(query, down, across, [height, width]) {
  const inside = (row, column) => row >= 0 && row < height && column >= 0 && column < width;
  if (!query.region) {
    return { ...query, row: clamp(query.row + down, 0, height - 1), column: clamp(query.column + across, 0, width - 1) };
  }
  const places = query.region.map((pixel) => [Math.floor(pixel / width) + down, (pixel % width) + across]);
  if (!places.every(([row, column]) => inside(row, column))) return query;
  const row = clamp(query.row + down, 0, height - 1), column = clamp(query.column + across, 0, width - 1);
  return { row, column, region: places.map(([r, c]) => r * width + c) };
}

function mark(context, query, colour, number, [height, width], [rows, columns], scale) {
  const line = new Path2D(), down = (height / rows) * scale, across = (width / columns) * scale;
  let x = (Math.floor(((query.column + 0.5) * columns) / width) + 0.5) * across;
  let y = (Math.floor(((query.row + 0.5) * rows) / height) + 0.5) * down;
  if (query.region) {
    const pixels = new Set(query.region);
    x = y = 0;
    for (const pixel of pixels) {
      const r = Math.floor(pixel / width), c = pixel % width;
      x += ((c + 0.5) * scale) / pixels.size;
      y += ((r + 0.5) * scale) / pixels.size;
      const edges = [
        [r === 0 || !pixels.has(pixel - width), c, r, c + 1, r], [r === height - 1 || !pixels.has(pixel + width), c, r + 1, c + 1, r + 1],
        [c === 0 || !pixels.has(pixel - 1), c, r, c, r + 1], [c === width - 1 || !pixels.has(pixel + 1), c + 1, r, c + 1, r + 1],
      ];
      for (const [rim, x0, y0, x1, y1] of edges) {
        if (!rim) continue;
        line.moveTo(x0 * scale, y0 * scale);
        line.lineTo(x1 * scale, y1 * scale);
      }
    }
    y += 10;
  } else {
    line.rect(x - across / 2, y - down / 2, across, down);
    line.moveTo(x + 26, y);
    line.arc(x, y, 26, 0, 7);
    y += y > 80 ? -34 : 62; // the number above the ring, or below it at the upper edge
  }
  context.lineCap = context.lineJoin = "round";
  context.font = "bold 30px system-ui, sans-serif";
  context.textAlign = "center";
  for (const [size, tone] of [[8, "black"], [4, colour]]) {
    context.lineWidth = size;
    context.strokeStyle = tone;
    context.stroke(line);
    if (size === 8) context.strokeText(number, x, y);
  }
  context.fillStyle = colour;
  context.fillText(number, x, y);
}

export default {
  render({ model, el }) {
    const self = Math.random().toString(36).slice(2);
    const choice = html("select", { "aria-label": "network and layer" });
    const step = slider("step", { min: 0, "aria-label": "training step" });
    const picture = slider("picture", { min: 0, "aria-label": "picture" });
    const brush = slider("brush", { min: 0, max: 12, value: 3, "aria-label": "radius of the brush in pixels" });
    const strength = slider("overlay", { min: 0, max: 100, "aria-label": "strength of the overlay in percent" });
    const which = COLOURS.map((colour, k) =>
      html("button", { type: "button", "aria-pressed": String(!k), style: `--own: ${colour}` }, `Query ${k + 1}`));
    const remove = html("button", { type: "button", class: "remove" }, "Remove 2");
    const save = html("button", { type: "button", class: "export" }, "Export PNG");
    const line = html("p", { class: "line" });
    const said = html("p", { class: "said", role: "status" });
    const trouble = html("p", { class: "trouble", role: "alert", hidden: "" });
    const area = html("canvas", { class: "area", tabindex: "0", role: "application", "aria-roledescription": "picture with queries" });
    const views = COLOURS.map((colour) => {
      const map = html("canvas", { class: "area", role: "img" }), bar = html("canvas", { width: 256, height: 1 });
      const uniform = html("i", {}), ends = html("div", { class: "ends" }), caption = html("figcaption", {});
      const scale = html("div", { class: "scale" }, bar, uniform);
      const figure = html("figure", { class: "view", style: `--own: ${colour}`, hidden: "" }, map, scale, ends, caption);
      return { figure, map, bar, uniform, ends, caption };
    });
    const help = [...HELP, "Tick on a scale: uniform attention."].map((text) => html("span", {}, text));
    const panel = html("figure", {}, area, html("figcaption", { class: "help" }, ...help));
    const root = html(
      "div",
      { class: "nblib-explorer", role: "group", "aria-label": "attention explorer" },
      html("style", {}, STYLE),
      html("div", { class: "bar" }, choice, step.label, picture.label, save),
      html("div", { class: "bar" }, ...which, remove, brush.label, strength.label),
      line, said, trouble,
      html("div", { class: "panels" }, panel, ...views.map((view) => view.figure)),
    );
    // JupyterLab's shortcuts would take arrows and Enter away; it asks the element itself before those around it.
    for (const node of [root, ...root.querySelectorAll("select, input, button, canvas")]) {
      node.setAttribute("data-lm-suppress-shortcuts", "true");
    }
    const pixels = { canvas: document.createElement("canvas"), gray: null, of: null };
    let want, active = 0, asking = false, again = false, painting = null, drawn = 0;

    // One question at a time: while it is on its way only the latest change is kept.
    function ask(change) {
      Object.assign(want, change);
      if (asking) again = true;
      else send();
      drawArea();
    }

    function send() {
      asking = true;
      again = false;
      model.send({ do: "show", ...want });
    }

    function query(k, asked) {
      const queries = want.queries.slice();
      queries[k] = asked;
      ask({ queries });
    }

    function choose(k) {
      active = k;
      which.forEach((button, i) => button.setAttribute("aria-pressed", String(i === k)));
      if (k < want.queries.length) return drawArea();
      const { row, column } = want.queries[0];
      query(k, { row, column: model.get("size")[1] - 1 - column, region: null }); // the mirrored place
    }

    function forget() {
      choose(0);
      ask({ queries: want.queries.slice(0, 1) });
    }

    function pixelAt(event, canvas) {
      const box = canvas.getBoundingClientRect(), edge = canvas.clientLeft;
      const [height, width] = model.get("size");
      const across = (event.clientX - box.left - edge) / canvas.clientWidth, down = (event.clientY - box.top - edge) / canvas.clientHeight;
      return [clamp(Math.floor(down * height), 0, height - 1), clamp(Math.floor(across * width), 0, width - 1)];
    }

    function listen(canvas, own) {
      canvas.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        canvas.setPointerCapture(event.pointerId);
        const at = pixelAt(event, canvas), k = own ?? (event.shiftKey ? 1 : active);
        painting = { k, at, region: null };
        query(k, { row: at[0], column: at[1], region: null });
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!painting) return;
        const at = pixelAt(event, canvas), radius = Number(brush.input.value);
        if (at[0] === painting.at[0] && at[1] === painting.at[1]) return;
        painting.region = stroke(painting.region ?? new Set(), painting.at, at, radius, model.get("size"));
        painting.at = at;
        query(painting.k, { row: at[0], column: at[1], region: [...painting.region].sort((a, b) => a - b) });
      });
      for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (painting = null));
    }

    function pressed(event) {
      const now = want.queries[active], size = model.get("size"), grid = model.get("grid");
      const far = event.shiftKey ? 4 : 1, arrow = ARROWS[event.key];
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      if (arrow) {
        const [down, across] = arrow.map((sign, k) => sign * far * Math.max(1, Math.round(size[k] / grid[k])));
        query(active, moved(now, down, across, size));
      } else if (event.key === "Enter") {
        const { row, column } = now, radius = Number(brush.input.value);
        const disc = now.region ? null : [...stroke(new Set(), [row, column], [row, column], radius, size)];
        query(active, { row, column, region: disc });
      } else if (event.key === " ") choose(1 - active);
      else if (event.key === "Delete" || event.key === "Backspace") forget();
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    // Pixels of the picture, read from its PNG when that changes.
    async function decode() {
      const png = model.get("png");
      if (pixels.of === png) return;
      const bitmap = await createImageBitmap(new Blob([png], { type: "image/png" }));
      const canvas = document.createElement("canvas");
      [canvas.height, canvas.width] = [bitmap.height, bitmap.width];
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(bitmap, 0, 0);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      const gray = new Float32Array(canvas.width * canvas.height);
      for (let k = 0; k < gray.length; k++) gray[k] = 0.299 * data[4 * k] + 0.587 * data[4 * k + 1] + 0.114 * data[4 * k + 2];
      Object.assign(pixels, { canvas, gray, of: png });
    }

    function sized(canvas) {
      const [height, width] = model.get("size"), scale = Math.max(1, Math.round(SIDE / Math.max(height, width)));
      if (canvas.width !== width * scale || canvas.height !== height * scale) {
        [canvas.width, canvas.height] = [width * scale, height * scale];
      }
      return { scale, context: canvas.getContext("2d") };
    }

    function drawArea() {
      const { scale, context } = sized(area), { canvas } = pixels;
      context.imageSmoothingEnabled = false;
      context.drawImage(canvas, 0, 0, canvas.width * scale, canvas.height * scale);
      const order = want.queries.map((_, k) => k).sort((a, b) => (a === active) - (b === active));
      for (const k of order) mark(context, want.queries[k], COLOURS[k], k + 1, model.get("size"), model.get("grid"), scale);
    }

    function drawMap(canvas, weights, peak, asked, k) {
      const [height, width] = model.get("size"), [rows, columns] = model.get("map_size");
      const { scale, context } = sized(canvas), table = bytes(model.get("colours")), share = model.get("strength");
      const image = context.createImageData(width * scale, height * scale);
      for (let y = 0, at = 0; y < image.height; y++) {
        const [top, bottom, down] = between(rows, ((y + 0.5) * rows) / image.height);
        for (let x = 0; x < image.width; x++, at += 4) {
          const [left, right, across] = between(columns, ((x + 0.5) * columns) / image.width);
          const upper = weights[top * columns + left] * (1 - across) + weights[top * columns + right] * across;
          const lower = weights[bottom * columns + left] * (1 - across) + weights[bottom * columns + right] * across;
          const level = Math.min(255, Math.floor((256 * (upper * (1 - down) + lower * down)) / peak));
          const gray = pixels.gray[Math.floor(y / scale) * width + Math.floor(x / scale)] * (1 - share);
          for (let c = 0; c < 3; c++) image.data[at + c] = gray + share * table[3 * level + c];
          image.data[at + 3] = 255;
        }
      }
      context.putImageData(image, 0, 0);
      mark(context, asked, COLOURS[k], k + 1, model.get("size"), model.get("grid"), scale);
    }

    function drawViews() {
      const [rows, columns] = model.get("map_size"), sent = model.get("maps"), told = model.get("told");
      views.forEach((view, k) => {
        view.figure.hidden = k >= told.length;
        if (view.figure.hidden) return;
        const from = sent.byteOffset + 4 * k * rows * columns, [title, ...measures] = told[k];
        const own = new Float32Array(sent.buffer.slice(from, from + 4 * rows * columns)), peak = Math.max(...own);
        drawMap(view.map, own, peak, model.get("queries")[k], k);
        view.uniform.style.left = `${100 / peak}%`;
        view.ends.replaceChildren(html("span", {}, "0"), html("span", {}, `${peak.toFixed(1)} × uniform`));
        view.caption.replaceChildren(html("b", {}, title), ...measures.map((text) => html("span", {}, text)));
        view.map.setAttribute("aria-label", `map of ${title}: ${measures.join(", ")}, largest weight ${peak.toFixed(1)} times uniform`);
      });
    }

    function drawScales() {
      const table = bytes(model.get("colours")), image = new ImageData(256, 1);
      for (let k = 0; k < 256; k++) image.data.set([table[3 * k], table[3 * k + 1], table[3 * k + 2], 255], 4 * k);
      for (const view of views) view.bar.getContext("2d").putImageData(image, 0, 0);
    }

    function drawControls() {
      const { steps } = model.get("choices")[model.get("choice")];
      choice.value = model.get("choice");
      step.label.hidden = steps.length < 2;
      step.input.max = steps.length - 1;
      step.input.value = steps.indexOf(want.step);
      step.output.textContent = want.step.toLocaleString("en");
      picture.label.hidden = model.get("pictures") < 2;
      picture.input.max = model.get("pictures") - 1;
      picture.input.value = want.picture;
      picture.output.textContent = want.picture + 1;
      remove.disabled = want.queries.length < 2;
      line.textContent = model.get("line");
      trouble.textContent = model.get("trouble");
      trouble.hidden = !trouble.textContent;
    }

    function drawStrength() {
      strength.input.value = Math.round(100 * model.get("strength"));
      strength.output.textContent = `${strength.input.value} %`;
      brush.output.textContent = `${brush.input.value} px`;
    }

    async function draw() {
      const turn = ++drawn, version = model.get("version");
      asking = false;
      if (again) send();
      else want = Object.fromEntries(["choice", "step", "picture", "queries"].map((name) => [name, model.get(name)]));
      await decode();
      if (turn !== drawn) return; // a later one is on its way
      if (active >= want.queries.length) choose(0);
      drawControls();
      drawStrength();
      drawArea();
      drawViews();
      const told = model.get("told").map((texts) => texts.join(", ")).join("; ");
      area.setAttribute("aria-label", `${model.get("line")}. ${told}. ${HELP[1]}`);
      said.textContent = told;
      root.dataset.version = version;
      root.dataset.ready = "1";
    }

    function download(message, buffers) {
      if (message.do !== "download" || message.view !== self) return;
      const url = URL.createObjectURL(new Blob([buffers[0]], { type: "image/png" }));
      html("a", { href: url, download: "attention.png" }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    }

    function restrengthen() {
      drawStrength();
      drawViews();
    }

    model.get("choices").forEach(({ name }, k) => choice.append(html("option", { value: k }, name)));
    choice.addEventListener("change", () => ask({ choice: Number(choice.value) }));
    step.input.addEventListener("input", () => {
      const { steps } = model.get("choices")[model.get("choice")];
      ask({ step: steps[step.input.value] });
      step.output.textContent = want.step.toLocaleString("en");
    });
    picture.input.addEventListener("input", () => {
      ask({ picture: Number(picture.input.value) });
      picture.output.textContent = want.picture + 1;
    });
    strength.input.addEventListener("input", () => {
      model.set("strength", strength.input.value / 100);
      model.save_changes();
    });
    brush.input.addEventListener("input", drawStrength);
    which.forEach((button, k) => button.addEventListener("click", () => choose(k)));
    remove.addEventListener("click", forget);
    save.addEventListener("click", () => model.send({ do: "export", view: self }));
    area.addEventListener("keydown", pressed);
    listen(area);
    views.forEach((view, k) => listen(view.map, k));
    model.on("change:version", draw); // one message brings everything, the version last
    model.on("change:strength", restrengthen);
    model.on("msg:custom", download);
    el.append(root);
    drawScales();
    draw();
    return () => {
      model.off("change:version", draw);
      model.off("change:strength", restrengthen);
      model.off("msg:custom", download);
    };
  },
};
