// The tab of positions: a place under the pointer, and how alike all the others are.

import { paint } from "./colours.js";
import { announce, element } from "./controls.js";
import { state, writeAddress } from "./state.js";
import { view } from "./view.js";

const TILED = 400; // places at most whose maps are all drawn
const level = (byte) => byte / 127.5 - 1;

function decoded(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

export async function showPositions(model) {
  const { sets } = await view.source.about(model, "positions");
  const sections = sets.map((set) => (set.unit === "tokens" ? ofText(set) : ofPatches(set)));
  if (sets.length > 1) sections.forEach(([first], i) => first.prepend(element("h3", {}, sets[i].unit === "tokens" ? "Text" : "Image")));
  return sections.flat();
}

/** Of a text: how alike each token's position is to each other's, as one matrix. */
function ofText({ kind, grid, every, cosine }) {
  const bytes = decoded(cosine), count = grid[1], low = bytes.reduce((least, byte) => Math.min(least, byte), 255);
  const map = element("canvas", { class: "map-large", "aria-hidden": "true" }), mark = element("i", { class: "place", "aria-hidden": "true" });
  const frame = element("div", { class: "map-frame of-text" }, map, mark), readout = element("p", { class: "readout", id: "token-readout" });
  const last = 1 + (count - 1) * every;
  const [first, second] = ["First token", "Second token"].map((name) => element("input", { type: "number", min: 1, max: last, step: every, "aria-label": name, oninput: () => show(...read(), true) }));
  const read = () => [first, second].map((field) => Math.min(Math.max(Math.round((field.value - 1) / every), 0), count - 1));
  frame.style.aspectRatio = "1";
  paint(map, Float32Array.from(bytes, (byte) => byte - low), 0, [count, count], 255 - low);

  function show(row, column, speak) {
    Object.assign(mark.style, { left: `${(100 * column) / count}%`, top: `${(100 * row) / count}%`, width: `${100 / count}%`, height: `${100 / count}%` });
    if (document.activeElement !== first) first.value = 1 + row * every;
    if (document.activeElement !== second) second.value = 1 + column * every;
    map.dataset.pair = `${row} ${column}`;
    readout.textContent = `Tokens ${1 + row * every} and ${1 + column * every}: cosine ${level(bytes[row * count + column]).toFixed(2).replace("-", "−")}.`;
    if (speak) announce(readout.textContent);
  }

  const follow = (event, speak) => {
    const box = frame.getBoundingClientRect(), at = (from, size, place) => Math.min(Math.max(Math.floor(((place - from) / size) * count), 0), count - 1);
    show(at(box.top, box.height, event.clientY), at(box.left, box.width, event.clientX), speak);
  };
  frame.addEventListener("pointermove", (event) => follow(event, false));
  frame.addEventListener("click", (event) => follow(event, true));
  show(0, Math.min(1, count - 1), false);
  const part = every > 1 ? ` Every ${every}th token is shown.` : "";
  return [element("section", {}, element("p", {}, `${kind[0].toUpperCase()}${kind.slice(1)} positions of ${last} tokens: a row and a column a token.${part} Point at a pair.`),
    frame, legend(low), readout, element("div", { class: "fields" }, element("label", { class: "field" }, "Token ", first), element("label", { class: "field" }, "and token ", second)))];
}

/** The scale of a map from its least cosine to 1. */
function legend(low) {
  const ramp = element("canvas", { class: "ramp", "aria-hidden": "true" });
  paint(ramp, Float32Array.from({ length: 256 }, (_, i) => i), 0, [1, 256], 255);
  return element("div", { class: "legend" }, ramp, element("div", { class: "ends" }, element("span", {}, `${level(low).toFixed(2).replace("-", "−")} (least alike)`), element("span", {}, "1 (the same)")));
}

/** Of an image: a place and how alike all others are, and the maps of all places. */
function ofPatches({ kind, grid, every, cosine }) {
  const bytes = decoded(cosine), [rows, columns] = grid, count = rows * columns;
  let low = 255;
  for (const byte of bytes) low = Math.min(low, byte);
  const shades = (place) => Float32Array.from({ length: count }, (_, i) => bytes[place * count + i] - low);
  const map = element("canvas", { class: "map-large", "aria-hidden": "true" }), mark = element("i", { class: "place", "aria-hidden": "true" });
  const [row, column] = ["Row", "Column"].map((name, axis) => element("input", { type: "number", min: 1, max: grid[axis], "aria-label": name, oninput: () => show(read(), true) }));
  const readout = element("p", { class: "readout", id: "position-readout" });
  const read = () => [row, column].reduce((place, field, axis) => place * grid[axis] + Math.min(Math.max(Math.round(field.value) - 1, 0), grid[axis] - 1), 0);
  const frame = element("div", { class: "map-frame" }, map, mark);
  frame.style.aspectRatio = `${columns} / ${rows}`;
  const picture = count <= TILED ? tiles(bytes, low, grid) : null;

  function show(place, keep) {
    const values = shades(place), [r, c] = [Math.floor(place / columns), place % columns];
    paint(map, values, 0, grid, 255 - low);
    Object.assign(mark.style, { left: `${(100 * c) / columns}%`, top: `${(100 * r) / rows}%`, width: `${100 / columns}%`, height: `${100 / rows}%` });
    if (picture) Object.assign(picture.mark.style, { left: `${(100 * c) / columns}%`, top: `${(100 * r) / rows}%`, width: `${100 / columns}%`, height: `${100 / rows}%` });
    if (document.activeElement !== row) row.value = r + 1;
    if (document.activeElement !== column) column.value = c + 1;
    let best = place === 0 ? 1 : 0;
    for (let i = 0; i < count; i++) if (i !== place && values[i] > values[best]) best = i;
    readout.textContent = count === 1 ? "The model has one position." : `Row ${r + 1}, column ${c + 1} is most like row ${Math.floor(best / columns) + 1}, column ${(best % columns) + 1}: cosine ${level(values[best] + low).toFixed(2)}.`;
    map.dataset.place = place;
    if (!keep) return;
    state.place = place;
    writeAddress();
    announce(readout.textContent);
  }

  const fixed = () => (Number.isInteger(state.place) && state.place < count ? state.place : Math.floor(rows / 2) * columns + Math.floor(columns / 2));
  const at = (box, event) => {
    const c = Math.floor(((event.clientX - box.left) / box.width) * columns), r = Math.floor(((event.clientY - box.top) / box.height) * rows);
    return r >= 0 && c >= 0 && r < rows && c < columns ? r * columns + c : null;
  };
  for (const target of [frame, picture?.frame].filter(Boolean)) {
    const place = (event) => at(target.getBoundingClientRect(), event);
    target.addEventListener("pointermove", (event) => { const over = place(event); if (over !== null) show(over, false); });
    target.addEventListener("pointerleave", () => show(fixed(), false));
    target.addEventListener("click", (event) => { const over = place(event); if (over !== null) show(over, true); });
  }
  show(fixed(), false);
  const part = every > 1 ? ` Every ${every}th place of the model is shown.` : "";
  return [
    element("section", {}, element("p", {}, `${kind[0].toUpperCase()}${kind.slice(1)} positions, ${rows} × ${columns}.${part} Point at a position; click to keep it.`),
      frame, legend(low),
      readout, element("div", { class: "fields" }, element("label", { class: "field" }, "Row ", row), element("label", { class: "field" }, "Column ", column))),
    ...(picture ? [element("section", {}, element("h3", {}, "All maps"), element("p", { class: "note" }, "Each small map is that of the position where it is drawn."), picture.frame)] : []),
  ];
}

/** Every place's map where the place is: one picture with a gap between the maps. */
function tiles(bytes, low, [rows, columns]) {
  const [height, width] = [rows * (rows + 1), columns * (columns + 1)], count = rows * columns;
  const values = new Float32Array(height * width);
  for (let place = 0; place < count; place++) {
    const [top, left] = [Math.floor(place / columns) * (rows + 1), (place % columns) * (columns + 1)];
    for (let i = 0; i < count; i++) values[(top + Math.floor(i / columns)) * width + left + (i % columns)] = bytes[place * count + i] - low;
  }
  const canvas = element("canvas", { class: "map-large", "aria-hidden": "true" }), mark = element("i", { class: "place", "aria-hidden": "true" });
  paint(canvas, values, 0, [height, width], 255 - low);
  const frame = element("div", { class: "map-frame" }, canvas, mark);
  frame.style.aspectRatio = `${columns} / ${rows}`;
  return { frame, mark };
}
