// Draws what TrainingMonitor sends: curves as SVG, samples as PNG, two buttons.

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]; // Okabe and Ito
const DASHES = ["", "10 6", "3 5", "14 5 3 5"];
const BOX = { width: 720, height: 400, left: 76, right: 160, top: 16, bottom: 62 };
const LETTER = 11.5; // width of one in a name, about
const SAID = {
  ready: "not started", running: "training …", stopping: "stopping after this step …",
  stopped: "stopped", finished: "finished", failed: "ended by an error",
};
const STYLE = `
.nblib-monitor { font: 18px/1.4 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #222); }
.nblib-monitor .bar { display: flex; flex-wrap: wrap; gap: 12px; align-items: center; margin: 4px 0 8px; }
.nblib-monitor button { font: inherit; padding: 4px 20px; border: 2px solid #0072b2; border-radius: 6px;
  background: #0072b2; color: white; cursor: pointer; }
.nblib-monitor button:disabled { background: transparent; color: inherit; border-color: currentColor; opacity: 0.45;
  cursor: default; }
.nblib-monitor button:focus-visible { outline: 3px solid #e69f00; outline-offset: 2px; }
.nblib-monitor .state { font-weight: 600; margin: 0; }
.nblib-monitor .line { margin: 0; font-variant-numeric: tabular-nums; }
.nblib-monitor .trouble { margin: 0 0 8px; padding: 8px 12px; border-left: 6px solid #d55e00; white-space: pre-wrap; }
.nblib-monitor .panels { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; }
.nblib-monitor svg { flex: 1 1 420px; min-width: 0; max-width: 820px; }
.nblib-monitor figure { flex: 0 1 360px; min-width: 0; margin: 0; }
.nblib-monitor figure img { width: 100%; display: block; box-sizing: border-box; border: 1px solid #8888; }
.nblib-monitor figcaption { text-align: center; }
`;

function html(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function svg(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// About `count` round numbers from `low` to `high`.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return found;
}

function short(value) {
  return Math.abs(value) >= 10000 ? value.toLocaleString("en") : String(Number(value.toPrecision(3)));
}

function range(values) {
  const low = Math.min(...values), high = Math.max(...values);
  const margin = 0.06 * (high - low) || 0.5;
  return [low >= 0 && low < margin * 4 ? 0 : low - margin, high + margin];
}

function drawCurves(curves) {
  const { width, height, left, top, bottom } = BOX;
  const names = Object.keys(curves.series), ends = names.map((name) => `${name} ${short(curves.series[name].at(-1))}`);
  const right = Math.max(BOX.right, 24 + LETTER * Math.max(0, ...ends.map((end) => end.length))); // room for the names
  const said = ends.join(", ");
  const label = names.length ? `curves up to step ${curves.steps.at(-1)}: ${said}` : "curves, none yet";
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  const last = Math.max(1, curves.steps.at(-1) ?? 1);
  const [low, high] = names.length ? range(names.flatMap((name) => curves.series[name])) : [0, 1];
  const x = (step) => left + (step / last) * (width - left - right);
  const y = (value) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom);
  const text = { "font-size": 18, fill: "currentColor" };
  for (const tick of ticks(low, high, 5)) {
    root.append(svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), stroke: "currentColor", opacity: 0.18 }));
    root.append(svg("text", { ...text, x: left - 10, y: y(tick) + 6, "text-anchor": "end" }, short(tick)));
  }
  for (const tick of ticks(0, last, 4)) {
    root.append(svg("text", { ...text, x: x(tick), y: height - bottom + 24, "text-anchor": "middle" }, short(tick)));
  }
  const base = { stroke: "currentColor", "stroke-width": 1.5 };
  root.append(svg("line", { ...base, x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  root.append(svg("text", { ...text, x: (left + width - right) / 2, y: height - 10, "text-anchor": "middle" }, "step"));
  drawLines(root, curves, names, x, y, right);
  return root;
}

// Lines with their names at the end, moved apart where they would overlap.
function drawLines(root, curves, names, x, y, right) {
  const ends = names.map((name, k) => ({ name, k, at: y(curves.series[name].at(-1)) })).sort((a, b) => a.at - b.at);
  ends.forEach((end, place) => {
    if (place) end.at = Math.max(end.at, ends[place - 1].at + 24);
  });
  for (let floor = BOX.height - BOX.bottom, place = ends.length - 1; place >= 0; place--, floor -= 24) {
    ends[place].at = Math.min(ends[place].at, floor);
  }
  for (const { name, k, at } of ends) {
    const colour = COLOURS[k % COLOURS.length];
    const points = curves.steps.map((step, i) => `${x(step).toFixed(1)},${y(curves.series[name][i]).toFixed(1)}`);
    const look = { fill: "none", stroke: colour, "stroke-width": 3.5, "stroke-linejoin": "round" };
    root.append(svg("polyline", { ...look, "stroke-dasharray": DASHES[k % DASHES.length], points: points.join(" ") }));
    const place = { x: BOX.width - right + 10, y: at + 6, fill: colour, "font-size": 18, "font-weight": 600 };
    root.append(svg("text", place, `${name} ${short(curves.series[name].at(-1))}`));
  }
}

export default {
  render({ model, el }) {
    const stop = html("button", { type: "button", class: "stop" }, "Stop");
    const resume = html("button", { type: "button", class: "resume" }, "Resume");
    const state = html("p", { class: "state", role: "status" });
    const line = html("p", { class: "line" });
    const trouble = html("p", { class: "trouble", role: "alert", hidden: "" });
    const curves = html("div", { style: "display: contents" });
    const image = html("img", { alt: "" });
    const caption = html("figcaption", {});
    const figure = html("figure", { hidden: "" }, image, caption);
    const root = html(
      "div",
      // JupyterLab's shortcuts would take Enter and the arrow keys away from the buttons.
      { class: "nblib-monitor", role: "group", "aria-label": "training monitor", "data-lm-suppress-shortcuts": "true" },
      html("style", {}, STYLE),
      html("div", { class: "bar" }, stop, resume, state, line),
      trouble,
      html("div", { class: "panels" }, curves, figure),
    );
    let url = "";

    function show(picture) {
      const before = url;
      url = URL.createObjectURL(new Blob([picture], { type: "image/png" }));
      image.onload = () => before && URL.revokeObjectURL(before);
      image.src = url;
    }

    function draw() {
      const status = model.get("status");
      stop.disabled = status !== "running";
      resume.disabled = status !== "stopped" && status !== "failed";
      if (state.textContent !== SAID[status]) state.textContent = SAID[status]; // read aloud only when it changes
      line.textContent = model.get("line");
      trouble.textContent = model.get("trouble");
      trouble.hidden = !trouble.textContent;
      curves.replaceChildren(drawCurves(model.get("curves")));
      figure.hidden = !model.get("picture").byteLength;
      if (!figure.hidden && model.get("caption") !== caption.textContent) {
        caption.textContent = image.alt = model.get("caption");
        show(model.get("picture"));
      }
      root.dataset.status = status;
      root.dataset.version = model.get("version");
      root.dataset.ready = "1";
    }

    stop.addEventListener("click", () => model.send({ do: "stop" }));
    resume.addEventListener("click", () => model.send({ do: "resume" }));
    model.on("change:version", draw); // one message brings everything, the version last
    el.append(root);
    draw();
    return () => {
      model.off("change:version", draw);
      if (url) URL.revokeObjectURL(url);
    };
  },
};
