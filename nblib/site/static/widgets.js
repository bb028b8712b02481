// Shows each widget of the page in the state that was saved. A model without a kernel answers what it is asked with that.

const LIMIT = 20_000; // milliseconds that a widget may take to draw itself
const PNG_BEGINS = "\x89PNG", PNG_ENDS = "IEND\xAEB`\x82";

function bytes(text, path) {
  const raw = atob(text);
  if (raw.startsWith(PNG_BEGINS) && !raw.endsWith(PNG_ENDS)) throw new Error(`the picture ${path.join(" ")} is cut off`);
  return new DataView(Uint8Array.from(raw, (letter) => letter.charCodeAt(0)).buffer);
}

function entry(owner, key) { // its own one, never what every object inherits
  if (!Object.hasOwn(owner, key)) throw new Error(`no ${key} in it`);
  return owner[key];
}

function savedModel({ state, buffers }) {
  for (const { path, data } of buffers) {
    const last = path.at(-1), owner = path.slice(0, -1).reduce(entry, state);
    if (last !== "__proto__") owner[last] = bytes(data, path);
  }
  const saved = { ...state }, listeners = new Map();
  const tell = (event) => [...(listeners.get(event) ?? [])].forEach((listener) => listener());
  return {
    get: (name) => state[name],
    set(name, value) {
      state[name] = value;
      tell(`change:${name}`);
    },
    save_changes() {},
    send() {
      Object.assign(state, saved);
      setTimeout(() => tell("change:version"));
    },
    on(events, listener) {
      for (const event of events.split(" ")) listeners.set(event, [...(listeners.get(event) ?? []), listener]);
    },
    off(event, listener) {
      listeners.set(event, (listeners.get(event) ?? []).filter((known) => known !== listener));
    },
  };
}

function drawn(stage) { // resolves when the widget there says so
  return new Promise((resolve) => {
    const look = () => stage.querySelector("[data-ready='1']") && resolve();
    new MutationObserver(look).observe(stage, { attributes: true, childList: true, subtree: true });
    look();
  });
}

function failed(signal) { // rejects when a widget that is drawing itself fails, or takes too long
  return new Promise((_, reject) => {
    addEventListener("unhandledrejection", (event) => {
      event.preventDefault();
      reject(event.reason);
    }, { signal });
    const late = setTimeout(() => reject(new Error("it took too long")), LIMIT);
    signal.addEventListener("abort", () => clearTimeout(late));
  });
}

async function show(figure) {
  const stage = figure.querySelector(".stage"), watch = new AbortController();
  try {
    const model = savedModel(JSON.parse(figure.querySelector("script").textContent));
    const fails = failed(watch.signal);
    modules[figure.dataset.module].render({ model, el: stage });
    await Promise.race([drawn(stage), fails]);
    figure.dataset.ready = "1";
  } catch (error) {
    stage.textContent = `This widget's saved state cannot be shown (${error}).`;
  } finally {
    watch.abort();
  }
}

(async () => { // one after the other, so that it is known which of them failed
  for (const figure of document.querySelectorAll("figure.widget")) await show(figure);
})();
