// Draws what SearchPlayer sends: sprites of all moments of a search, gone through without asking the kernel.

const CONTEXT = "#0072b2", PRIOR = "#cc79a7", TOTAL = "#d55e00", PSNR = "#009e73"; // Okabe and Ito
const SIDE = 320; // pixels of a canvas, about
const CHART = { width: 310, height: 190, left: 50, right: 14, top: 12, bottom: 50 };
const PATIENCE = 5000; // milliseconds without an answer, until the reader is told
const SPEEDS = { slow: 2, normal: 5, fast: 15, "very fast": 40 }; // moments per second
const HELP = "Keys: Left and Right a moment back or on, Home first, End last, Space plays and pauses. Charts can be clicked.";
const STYLE = `
.nblib-player { padding: 4px; font: 17px/1.4 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--jp-ui-font-color1, #222); }
.nblib-player [hidden] { display: none !important; }
.nblib-player .bar { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; margin: 4px 0 8px; }
.nblib-player label { display: flex; gap: 8px; align-items: center; white-space: nowrap; }
.nblib-player .told { min-width: 1.4em; font-variant-numeric: tabular-nums; }
.nblib-player select, .nblib-player button { font: inherit; padding: 3px 14px; border: 2px solid #0072b2;
  border-radius: 6px; background: transparent; color: inherit; cursor: pointer; }
.nblib-player option { color: black; background: white; }
.nblib-player input { width: 110px; accent-color: #0072b2; }
.nblib-player .through { flex: 1 1 260px; }
.nblib-player .through input { flex: 1 1 120px; min-width: 80px; }
.nblib-player .through .told { min-width: 8.2em; }
.nblib-player button[aria-pressed="true"], .nblib-player button.play { background: #0072b2; color: white; }
.nblib-player button.play { min-width: 5.4em; font-weight: 600; }
.nblib-player button:disabled { border-color: currentColor; opacity: 0.45; cursor: default; }
.nblib-player :focus-visible { outline: 3px solid #d55e00; outline-offset: 2px; }
.nblib-player .line { margin: 0 0 8px; font-weight: 600; font-variant-numeric: tabular-nums; }
.nblib-player .trouble { margin: 0 0 8px; padding: 8px 12px; border-left: 6px solid #d55e00; white-space: pre-wrap; }
.nblib-player .stage { display: flex; flex-wrap: wrap; gap: 12px; margin-bottom: 8px; }
.nblib-player .stage figure { flex: 1 1 150px; max-width: 280px; min-width: 0; margin: 0; }
.nblib-player .stage canvas { display: block; width: 100%; }
.nblib-player figcaption { text-align: center; line-height: 1.3; margin-top: 4px; }
.nblib-player .scales { display: flex; flex-wrap: wrap; gap: 4px 28px; margin-bottom: 8px; }
.nblib-player .scales span { display: flex; gap: 8px; align-items: center; white-space: nowrap; }
.nblib-player .scales canvas { width: 120px; height: 14px; }
.nblib-player .charts { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: end; }
.nblib-player .charts figure { flex: 1 1 250px; max-width: 420px; min-width: 0; margin: 0; }
.nblib-player .charts svg { display: block; width: 100%; cursor: ew-resize; touch-action: pan-y; user-select: none; }
.nblib-player .values { display: flex; flex-wrap: wrap; gap: 0 14px; justify-content: start; margin-left: 12px; font-variant-numeric: tabular-nums; }
.nblib-player .values i { display: inline-block; width: 26px; margin-right: 8px; vertical-align: middle; border-top: 4px solid; }
.nblib-player .help { margin: 8px 0 0; line-height: 1.3; font-size: 16px; }
.nblib-player .said { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); }
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

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function bytes(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function floats(view) {
  return new Float32Array(bytes(view).slice().buffer); // a copy begins at a multiple of four bytes
}

// About `count` round numbers from `low` to `high`.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return found;
}

const short = (value) => String(Number(value.toPrecision(3)));

function range(values) {
  const low = Math.min(...values), high = Math.max(...values);
  const margin = 0.06 * (high - low) || 0.5;
  return [low >= 0 && low < margin * 4 ? 0 : low - margin, high + margin];
}

// Edges of the hole, as lines in pixels of the picture.
function outline(bits, [height, width]) {
  const line = new Path2D();
  const bit = (place) => ((bits[place >> 3] >> (7 - (place & 7))) & 1) === 1;
  const inside = (r, c) => r >= 0 && c >= 0 && r < height && c < width && bit(r * width + c);
  for (let r = 0; r <= height; r++) {
    for (let c = 0; c <= width; c++) {
      if (inside(r, c) !== inside(r - 1, c)) line.rect(c, r, 1, 0);
      if (inside(r, c) !== inside(r, c - 1)) line.rect(c, r, 0, 1);
    }
  }
  return { line, inside };
}

// Axes and lines of a chart, and the cursor that goes with the step.
function drawChart(root, last, lines, label) {
  const { width, height, left, right, top, bottom } = CHART;
  const [low, high] = range(lines.flatMap((line) => line.points.map(([, value]) => value)));
  const x = (step) => left + (step / Math.max(1, last)) * (width - left - right);
  const y = (value) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom);
  const text = { "font-size": 17, fill: "currentColor" };
  const parts = [];
  for (const tick of ticks(low, high, 4)) {
    parts.push(svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), stroke: "currentColor", opacity: 0.18 }));
    parts.push(svg("text", { ...text, x: left - 8, y: y(tick) + 6, "text-anchor": "end" }, short(tick)));
  }
  for (const tick of ticks(0, last, 4)) {
    parts.push(svg("text", { ...text, x: x(tick), y: height - bottom + 20, "text-anchor": "middle" }, short(tick)));
  }
  parts.push(svg("line", { x1: left, x2: width - right, y1: height - bottom, y2: height - bottom, stroke: "currentColor", "stroke-width": 1.5 }));
  parts.push(svg("text", { ...text, x: (left + width - right) / 2, y: height - 10, "text-anchor": "middle" }, "step"));
  for (const { points, colour, dash } of lines) {
    const look = colour ? { stroke: colour, "stroke-width": 3.5 } : { stroke: "currentColor", "stroke-width": 1.5, opacity: 0.35 };
    const places = points.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    parts.push(svg("polyline", { fill: "none", "stroke-linejoin": "round", "stroke-dasharray": dash ?? "", ...look, points: places }));
  }
  const cursor = svg("line", { class: "cursor", y1: top, y2: height - bottom, stroke: "currentColor", "stroke-width": 2.5 });
  const dots = lines.filter((line) => line.colour).map((line) => ({ line, dot: svg("circle", { r: 6, fill: line.colour, stroke: "white", "stroke-width": 1.5 }) }));
  root.replaceChildren(...parts, cursor, ...dots.map(({ dot }) => dot));
  root.setAttribute("aria-label", label);
  return (step) => {
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(step));
    for (const { line, dot } of dots) {
      const value = line.points.find(([place]) => place >= step)?.[1] ?? line.points.at(-1)[1];
      dot.setAttribute("cx", x(step));
      dot.setAttribute("cy", y(value));
    }
  };
}

export default {
  render({ model, el }) {
    const get = (name) => model.get(name);
    const image = html("input", { type: "range", min: 0, "aria-label": "image" }), imageTold = html("span", { class: "told" });
    const imageLabel = html("label", {}, "image", image, imageTold);
    const restart = html("select", { "aria-label": "start" });
    const apart = html("button", { type: "button", class: "difference" });
    const weigh = html("button", { type: "button", class: "weights" }, "Weights W");
    const play = html("button", { type: "button", class: "play" }, "Play");
    const back = html("button", { type: "button", "aria-label": "one moment back" }, "‹");
    const on = html("button", { type: "button", "aria-label": "one moment on" }, "›");
    const step = html("input", { type: "range", min: 0, "aria-label": "step" }), stepTold = html("span", { class: "told" });
    const speed = html("select", { "aria-label": "speed" });
    const line = html("p", { class: "line" });
    const said = html("p", { class: "said", role: "status" });
    const trouble = html("p", { class: "trouble", role: "alert", hidden: "" });
    const panels = Object.fromEntries(["known", "drawn", "completed", "truth"].map((name) => {
      const canvas = html("canvas", { class: name, role: "img" }), caption = html("figcaption", {});
      return [name, { canvas, caption, figure: html("figure", {}, canvas, caption) }];
    }));
    const stage = html("div", { class: "stage", tabindex: "0", role: "application", "aria-roledescription": "search player" },
      ...Object.values(panels).map(({ figure }) => figure));
    const scales = Object.fromEntries(["difference", "weights"].map((name) => {
      const bar = html("canvas", { width: 256, height: 1 }), before = html("span", {}), after = html("span", {});
      return [name, { bar, before, after, node: html("span", { hidden: "" }, before, bar, after) }];
    }));
    const charts = ["context", "prior", "psnr"].map((name) => {
      const values = html("figcaption", { class: "values" });
      const root = svg("svg", { class: name, viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img" });
      return { root, values, figure: html("figure", {}, values, root), place: () => {}, told: () => [] };
    });
    const root = html(
      "div",
      { class: "nblib-player", role: "group", "aria-label": "search player" },
      html("style", {}, STYLE),
      html("div", { class: "bar" }, imageLabel, restart, apart, weigh),
      trouble, line, said, stage,
      html("div", { class: "scales" }, scales.difference.node, scales.weights.node),
      html("div", { class: "bar" }, play, back, on, html("label", { class: "through" }, "step", step, stepTold), html("label", {}, "speed", speed)),
      html("div", { class: "charts" }, ...charts.map(({ figure }) => figure)),
      html("p", { class: "help" }, HELP, get("frozen").length > 1 ? " Gray curves: other starts." : ""),
    );
    // JupyterLab's shortcuts would take arrows and Space away; it asks the element itself before those around it.
    for (const node of [root, ...root.querySelectorAll("select, input, button, canvas, svg, .stage")]) {
      node.setAttribute("data-lm-suppress-shortcuts", "true");
    }
    const scratch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    let sprites = null, hole = null, curves = [], turn = 0, timer = null, asked = null, waiting = null;

    const moment = () => Math.max(0, get("at").indexOf(get("step")));
    const starts = () => get("frozen").length;

    function tell(name, value) {
      model.set(name, value); // draws, here and in other views
      if (!timer) model.save_changes(); // the kernel need not hear of each moment that is played
    }

    const go = (k) => tell("step", get("at")[clamp(k, 0, get("at").length - 1)]);

    function halt() {
      clearInterval(timer);
      timer = null;
      model.save_changes();
      drawMoment();
    }

    function start() {
      clearInterval(timer);
      timer = setInterval(() => {
        if (!root.isConnected || moment() >= get("at").length - 1) halt();
        else go(moment() + 1);
      }, 1000 / get("speed"));
      if (moment() === get("at").length - 1) go(0);
      drawMoment();
    }

    // Who takes the slider in hand does not want it to move on by itself.
    function seek(k) {
      if (timer) halt();
      go(k);
    }

    const toggle = () => (timer ? halt() : start());

    // One question at a time; without a kernel, nobody answers.
    function ask(wanted) {
      asked = wanted;
      image.value = wanted;
      imageTold.textContent = wanted + 1;
      if (!waiting) send();
    }

    function send() {
      waiting = setTimeout(() => {
        waiting = asked = null;
        trouble.textContent = `No answer from the kernel: it is busy, or this page has none. Image ${get("image") + 1} can be played all the same.`;
        trouble.hidden = false;
        drawControls();
      }, PATIENCE);
      model.send({ do: "show", image: asked });
      asked = null;
    }

    function pressed(event) {
      const { key, target } = event, [slider, button] = [target.type === "range", target.tagName === "BUTTON"];
      if (event.ctrlKey || event.altKey || event.metaKey || target.tagName === "SELECT") return;
      if (key === " " && !button) toggle();
      else if (slider) return;
      else if (key === "ArrowLeft") seek(moment() - 1);
      else if (key === "ArrowRight") seek(moment() + 1);
      else if (key === "Home") seek(0);
      else if (key === "End") seek(get("at").length - 1);
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    function scrub(chart) {
      let held = false;
      const follow = (event) => {
        const box = chart.root.getBoundingClientRect(), { width, left, right } = CHART, at = get("at");
        const share = (((event.clientX - box.left) / box.width) * width - left) / (width - left - right);
        const near = (k) => Math.abs(at[k] - share * last());
        seek(at.reduce((best, _, k) => (near(k) < near(best) ? k : best), 0));
      };
      chart.root.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        chart.root.setPointerCapture(event.pointerId);
        held = true;
        follow(event);
      });
      chart.root.addEventListener("pointermove", (event) => held && follow(event));
      for (const end of ["pointerup", "pointercancel"]) chart.root.addEventListener(end, () => (held = false));
    }

    const last = () => curves.length / (3 * starts()) - 1;
    // Losses of a start by step: 0 context, 1 prior, 2 their sum.
    const loss = (which, r) => curves.subarray((which * starts() + r) * (last() + 1), (which * starts() + r + 1) * (last() + 1));

    function psnr(r) {
      const length = get("at").length, values = floats(get("psnr"));
      return Array.from(values.subarray(r * length, (r + 1) * length));
    }

    async function decode() {
      const names = ["drawn", "completed", "stills"], sent = names.map(get);
      if (sprites && sprites.sent.every((png, k) => png === sent[k])) return sprites;
      const [drawn, completed, stills] = await Promise.all(sent.map((png) => createImageBitmap(new Blob([png], { type: "image/png" }))));
      return { sent, drawn, completed, stills };
    }

    // The pixels of one picture of a sprite.
    function pixels(bitmap, k, across) {
      const [height, width] = get("size");
      [scratch.canvas.width, scratch.canvas.height] = [width, height];
      scratch.drawImage(bitmap, (k % across) * width, Math.floor(k / across) * height, width, height, 0, 0, width, height);
      return scratch.getImageData(0, 0, width, height);
    }

    function difference(data, reference) {
      const table = bytes(get("colours")), [height, width] = get("size"), unknown = !get("truth");
      for (let k = 0, at = 0; k < height * width; k++, at += 4) {
        const sum = Math.abs(data[at] - reference[at]) + Math.abs(data[at + 1] - reference[at + 1]) + Math.abs(data[at + 2] - reference[at + 2]);
        const level = Math.min(255, Math.floor((256 * sum) / (3 * 255 * get("full"))));
        const gray = unknown && hole.inside(Math.floor(k / width), k % width);
        for (let c = 0; c < 3; c++) data[at + c] = gray ? 128 : table[3 * level + c];
      }
    }

    function show({ canvas, caption }, image, text, outlined) {
      const [height, width] = get("size"), scale = Math.max(1, Math.round(SIDE / Math.max(height, width)));
      if (canvas.width !== width * scale || canvas.height !== height * scale) [canvas.width, canvas.height] = [width * scale, height * scale];
      scratch.putImageData(image, 0, 0); // of this size since it was read
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(scratch.canvas, 0, 0, canvas.width, canvas.height);
      if (outlined) {
        context.save();
        context.scale(scale, scale);
        for (const [size, tone] of [[3, "black"], [1.5, "white"]]) {
          [context.lineWidth, context.strokeStyle] = [size / scale, tone];
          context.stroke(hole.line);
        }
        context.restore();
      }
      caption.textContent = text;
      canvas.setAttribute("aria-label", text);
    }

    function drawStills() {
      const length = get("truth") ? 3 : 2;
      const weighed = get("weights");
      show(panels.known, pixels(sprites.stills, weighed ? 1 : 0, length), weighed ? "W over what is known" : "known", false);
      panels.truth.figure.hidden = !get("truth");
      if (get("truth")) show(panels.truth, pixels(sprites.stills, 2, length), "truth", false);
      apart.textContent = get("truth") ? "Difference to the truth" : "Difference to the known";
      apart.setAttribute("aria-pressed", String(get("difference")));
      weigh.setAttribute("aria-pressed", String(weighed));
      scales.difference.node.hidden = !get("difference");
      scales.weights.node.hidden = !weighed;
      scales.difference.before.textContent = "difference 0";
      scales.difference.after.textContent = `${get("full")} or more`;
      scales.weights.before.textContent = "W 0";
      scales.weights.after.textContent = get("largest").toFixed(2);
    }

    function drawFrames() {
      const k = get("restart") * get("at").length + moment(), far = get("difference"), to = get("truth") ? "truth" : "known";
      const reference = far && pixels(sprites.stills, get("truth") ? 2 : 0, get("truth") ? 3 : 2).data;
      for (const [name, text] of [["drawn", "G(z)"], ["completed", "completion"]]) {
        const own = pixels(sprites[name], k, get("across")), compared = far && (get("truth") || name === "drawn");
        if (compared) difference(own.data, reference);
        show(panels[name], own, compared ? `|${text} − ${to}|` : text, name === "drawn" || compared);
      }
    }

    function drawCharts() {
      const r = get("restart"), steps = (values) => Array.from(values, (value, k) => [k, value]);
      const others = Array.from({ length: starts() }, (_, k) => k).filter((k) => k !== r);
      const [context, prior, total] = [0, 1, 2].map((which) => loss(which, r)), quality = psnr(r);
      const lines = [
        [...others.map((k) => ({ points: steps(loss(0, k)) })), { points: steps(context), colour: CONTEXT },
          ...(get("judged") ? [{ points: steps(total), colour: TOTAL, dash: "9 8" }] : [])],
        get("judged") ? [{ points: steps(prior), colour: PRIOR }] : [],
        quality.length ? [{ points: quality.map((value, k) => [get("at")[k], value]), colour: PSNR }] : [],
      ];
      const told = [
        (s) => [["context loss", context[s].toFixed(1), CONTEXT], ...(get("judged") ? [["weighted sum", total[s].toFixed(1), TOTAL, "dashed"]] : [])],
        (s) => [["prior loss", prior[s].toFixed(2), PRIOR]],
        () => [["PSNR in the hole", `${quality[moment()].toFixed(1)} dB`, PSNR]],
      ];
      const names = ["context loss and weighted sum", "prior loss", "PSNR in the hole in dB"];
      const ends = [context, prior, quality].map((values) => (values.length ? `from ${short(values[0])} to ${short(values.at(-1))}` : ""));
      charts.forEach((chart, k) => {
        chart.figure.hidden = !lines[k].length;
        if (chart.figure.hidden) return;
        if (k === 0) lines[0].push({ points: [[0, 0]] }); // its axis begins at 0
        chart.place = drawChart(chart.root, last(), lines[k], `curve of the ${names[k]}, ${ends[k]}`);
        chart.told = told[k];
      });
    }

    function words() {
      const r = get("restart"), s = get("step"), parts = [`image ${get("image") + 1} of ${get("images")}`];
      const losses = [];
      if (starts() > 1) parts.push(`start ${r + 1} of ${starts()}${r === get("kept") ? ", kept" : ""}`);
      const frozen = get("frozen")[r] <= s && get("frozen")[r] < last() ? " (frozen)" : "";
      parts.push(`step ${s} of ${last()}${frozen}`);
      losses.push(`context loss ${loss(0, r)[s].toFixed(1)}`);
      if (get("judged")) losses.push(`prior loss ${loss(1, r)[s].toFixed(2)}`, `sum ${loss(2, r)[s].toFixed(1)}`);
      if (get("truth")) losses.push(`${psnr(r)[moment()].toFixed(1)} dB in the hole`);
      return [parts, [...parts, ...losses]].map((words) => words.join(" · "));
    }

    function drawMoment() {
      if (!sprites) return;
      const now = moment(), [brief, text] = words();
      drawFrames();
      step.value = now;
      stepTold.textContent = `${get("step")} of ${last()}`;
      step.setAttribute("aria-valuetext", `step ${get("step")} of ${last()}`);
      back.disabled = now === 0;
      on.disabled = now === get("at").length - 1;
      play.textContent = timer ? "Pause" : "Play";
      line.textContent = brief; // the charts tell the rest; a second line now and then would move the pictures
      for (const chart of charts.filter(({ figure }) => !figure.hidden)) {
        chart.place(get("step"));
        const values = chart.told(get("step")).map(([name, value, colour, dash]) =>
          html("span", {}, html("i", { style: `border-color: ${colour}; border-top-style: ${dash ?? "solid"}` }), `${name} ${value}`));
        chart.values.replaceChildren(...values);
      }
      if (!timer) said.textContent = text; // who listens would hear nothing else while it plays
      stage.setAttribute("aria-label", `${timer ? "playing" : text}. ${HELP}`);
      root.dataset.step = get("step");
      root.dataset.playing = timer ? "1" : "0";
    }

    function drawControls() {
      imageLabel.hidden = get("images") < 2;
      image.max = get("images") - 1;
      image.value = get("image");
      imageTold.textContent = get("image") + 1;
      step.max = get("at").length - 1;
      restart.hidden = starts() < 2;
      restart.replaceChildren(...get("frozen").map((_, k) => html("option", { value: k }, `start ${k + 1}${k === get("kept") ? " (kept)" : ""}`)));
      restart.value = get("restart");
    }

    async function draw() {
      const own = ++turn, version = get("version");
      clearTimeout(waiting);
      waiting = null;
      trouble.textContent = get("trouble");
      trouble.hidden = !trouble.textContent;
      const decoded = await decode();
      if (own !== turn) return; // a later one is on its way
      sprites = decoded;
      curves = floats(get("curves"));
      hole = outline(bytes(get("hole")), get("size"));
      drawControls();
      drawStills();
      drawCharts();
      drawMoment();
      root.dataset.version = version;
      root.dataset.ready = "1";
      if (asked !== null) ask(asked);
    }

    function drawStart() {
      if (!sprites || get("restart") >= starts()) return; // a new image is on its way
      restart.value = get("restart");
      drawCharts();
      drawMoment();
    }

    function drawToggles() {
      if (!sprites) return;
      drawStills();
      drawFrames();
    }

    function drawSpeed() {
      speed.value = Object.keys(SPEEDS).find((name) => SPEEDS[name] === get("speed")) ?? "";
      if (timer) start();
    }

    function drawScales() {
      const table = bytes(get("colours")), colours = new ImageData(256, 1);
      for (let k = 0; k < 256; k++) colours.data.set([table[3 * k], table[3 * k + 1], table[3 * k + 2], 255], 4 * k);
      for (const { bar } of Object.values(scales)) bar.getContext("2d").putImageData(colours, 0, 0);
    }

    for (const name of Object.keys(SPEEDS)) speed.append(html("option", { value: name }, name));
    play.addEventListener("click", toggle);
    back.addEventListener("click", () => seek(moment() - 1));
    on.addEventListener("click", () => seek(moment() + 1));
    step.addEventListener("input", () => seek(Number(step.value)));
    image.addEventListener("input", () => ask(Number(image.value)));
    restart.addEventListener("change", () => tell("restart", Number(restart.value)));
    speed.addEventListener("change", () => tell("speed", SPEEDS[speed.value]));
    apart.addEventListener("click", () => tell("difference", !get("difference")));
    weigh.addEventListener("click", () => tell("weights", !get("weights")));
    root.addEventListener("keydown", pressed);
    charts.forEach(scrub);
    const heard = {
      "change:version": draw, // one message brings everything, the version last
      "change:step": drawMoment, "change:restart": drawStart, "change:speed": drawSpeed,
      "change:difference": drawToggles, "change:weights": drawToggles,
    };
    for (const [event, answer] of Object.entries(heard)) model.on(event, answer);
    el.append(root);
    drawScales();
    drawSpeed();
    draw();
    return () => {
      clearInterval(timer);
      clearTimeout(waiting);
      for (const [event, answer] of Object.entries(heard)) model.off(event, answer);
    };
  },
};
