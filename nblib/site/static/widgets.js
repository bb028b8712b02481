// Shows each widget of the page in the state that was saved. A model without a kernel answers what it is asked with that.

function bytes(text) {
  const raw = atob(text);
  return new DataView(Uint8Array.from(raw, (letter) => letter.charCodeAt(0)).buffer);
}

function entry(owner, key) { // its own one, never what every object inherits
  if (!Object.hasOwn(owner, key)) throw new Error(`no ${key} in it`);
  return owner[key];
}

function savedModel({ state, buffers }) {
  for (const { path, data } of buffers) {
    const last = path.at(-1), owner = path.slice(0, -1).reduce(entry, state);
    if (last !== "__proto__") owner[last] = bytes(data);
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

for (const figure of document.querySelectorAll("figure.widget")) {
  const stage = figure.querySelector(".stage");
  try {
    const model = savedModel(JSON.parse(figure.querySelector("script").textContent));
    modules[figure.dataset.module].render({ model, el: stage });
    figure.dataset.ready = "1";
  } catch (error) {
    stage.textContent = `This widget's saved state cannot be shown (${error}).`;
  }
}
