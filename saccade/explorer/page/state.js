// What a view shows. All of it stands in the address behind "#", so that a link shows the same.

const DEFAULTS = {
  model: "0", image: "", text: "", stream: "", layer: -1, head: 0, show: "head", query: null, paint: "colour", opacity: 0.75, beside: "",
  tab: "", place: null, over: "image", measure: "here", scale: "own", labels: "", label: "", stage: 0, nms: "", hide: [], fill: "drop", heads: [], blocks: [], temperature: 1,
};
const CHANGES = ["hide", "fill", "heads", "blocks", "temperature"];
const LIMIT = 100; // steps of undo

export const state = structuredClone(DEFAULTS);
const past = [];

/** The labels that are typed for a model of images and texts. */
export const typedLabels = () => state.labels.split(",").map((label) => label.trim()).filter(Boolean);

/** "5-7,9" from [5, 6, 7, 9]. */
export function formatRanges(numbers) {
  const runs = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const run = runs.at(-1);
    if (run && number === run[1] + 1) run[1] = number; else runs.push([number, number]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}

function parseRanges(text) {
  const numbers = [];
  for (const part of text.split(",")) {
    const match = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(part);
    for (let i = match ? +match[1] : 1; i <= (match ? +(match[2] ?? match[1]) : 0); i++) numbers.push(i);
  }
  return [...new Set(numbers)];
}

const WRITE = { hide: formatRanges, blocks: formatRanges, heads: (heads) => heads.join(",") };
const READ = {
  hide: parseRanges, blocks: parseRanges, heads: (text) => text.split(",").filter((head) => /^\d+\.\d+$/.test(head)),
  place: Number, layer: Number, head: Number, stage: Number, opacity: Number, temperature: Number,
  query: (text) => (/^\d+$/.test(text) ? Number(text) : text),
};

const write = (key) => (WRITE[key] ?? String)(state[key]);
const isDefault = (key) => JSON.stringify(state[key]) === JSON.stringify(DEFAULTS[key]);

/** The parameters of a request for the changed run; "" for the model as it is. */
export function changeQuery() {
  const changed = CHANGES.filter((key) => !isDefault(key) && (key !== "fill" || state.hide.length));
  return changed.map((key) => `${key}=${encodeURIComponent(write(key))}`).join("&");
}

export function readAddress() {
  Object.assign(state, structuredClone(DEFAULTS));
  for (const [key, text] of new URLSearchParams(location.hash.slice(1))) {
    if (!(key in DEFAULTS)) continue;
    const value = READ[key] ? READ[key](text) : text;
    if (typeof value !== "number" || Number.isFinite(value)) state[key] = value;
  }
}

export function writeAddress() {
  const parts = Object.keys(DEFAULTS).filter((key) => !isDefault(key));
  const hash = parts.map((key) => `${key}=${encodeURIComponent(write(key)).replaceAll("%2C", ",")}`).join("&");
  if (location.protocol === "about:") return; // inside a notebook's frame, which has no address of its own
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname);
}

/** Change the run: `values` of the parameters of a change. The step can be undone. */
export function applyChange(values) {
  past.push(Object.fromEntries(CHANGES.map((key) => [key, state[key]])));
  if (past.length > LIMIT) past.shift();
  Object.assign(state, values);
}

export function undoChange() {
  if (past.length) Object.assign(state, past.pop());
}

export const canUndo = () => past.length > 0;
export const isChanged = () => changeQuery() !== "";

export function noChange() {
  return structuredClone(Object.fromEntries(CHANGES.map((key) => [key, DEFAULTS[key]])));
}

export function forgetSteps() {
  past.length = 0;
}
