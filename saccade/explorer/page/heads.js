// All layers and heads at once: a column a layer, a row a head, the mean of the heads on top.

import { paint } from "./colours.js";
import { $, element } from "./controls.js";
import { state } from "./state.js";

let built = "", cells = [];

/** The mean or the maximum over the heads of one layer: [heads * keys] -> [keys]. */
export function overHeads(rows, heads, how) {
  const keys = rows.length / heads, out = new Float32Array(keys);
  for (let i = 0; i < keys; i++) {
    let value = rows[i];
    for (let head = 1; head < heads; head++) {
      const other = rows[head * keys + i];
      value = how === "max" ? Math.max(value, other) : value + other;
    }
    out[i] = how === "max" ? value : value / heads;
  }
  return out;
}

/**
 * Build the grid where its shape is new.
 * @param on head(layer, head), mean(layer), block(layer)
 */
export function buildHeads(stream, on) {
  const key = headsKey(stream);
  if (key === built) return;
  built = key;
  cells = [];
  const count = Math.max(...stream.layers.map((layer) => layer.heads));
  const ratio = stream.overImage ? `${stream.grid[1]} / ${stream.grid[0]}` : "3 / 2"; // of a text the row alone, stretched
  const rows = [element("div", { role: "row", class: "row" }, element("span", { role: "columnheader", class: "corner" }, "layer"),
    ...stream.layers.map(({ path }, layer) => element("span", { role: "columnheader" },
      element("button", { type: "button", class: "layer", title: path, "data-layer": layer, onclick: () => on.block(layer) }, String(layer + 1)))))];
  for (let head = -1; head < count; head++) {
    const name = head < 0 ? "mean" : String(head + 1);
    const row = element("div", { role: "row", class: head < 0 ? "row mean" : "row" }, element("span", { role: "rowheader" }, name));
    stream.layers.forEach(({ path, heads }, layer) => {
      const cell = element("span", { role: "gridcell" });
      if (head < heads) {
        const canvas = element("canvas", { "aria-hidden": "true" });
        canvas.style.aspectRatio = ratio;
        const label = head < 0 ? `Layer ${layer + 1}, mean of its heads` : `Layer ${layer + 1}, head ${head + 1}`;
        const button = element("button", { type: "button", class: "map", "aria-label": label, title: `${label} (${path})`, tabindex: "-1",
          onclick: () => (head < 0 ? on.mean(layer) : on.head(layer, head)) }, canvas);
        cells.push({ layer, head, button, canvas });
        cell.append(button);
      }
      row.append(cell);
    });
    rows.push(row);
  }
  const grid = element("div", { role: "grid", "aria-labelledby": "heads-title", class: "grid" }, ...rows);
  grid.style.setProperty("--layers", stream.layers.length);
  $("heads").replaceChildren(grid);
}

const headsKey = (stream) => JSON.stringify([stream.name, stream.layers.map((layer) => layer.heads), stream.grid]);

/** Paint every map for one query: values [rows * keys] of all heads of all layers. */
export function paintHeads(stream, values) {
  if (headsKey(stream) !== built) return; // another model was opened meanwhile
  const keys = stream.prefix.length + stream.grid[0] * stream.grid[1], from = stream.prefix.length;
  const starts = [];
  stream.layers.reduce((start, layer) => { starts.push(start); return start + layer.heads * keys; }, 0);
  let shared = 0;
  if (state.scale === "shared") for (let i = 0; i < values.length; i++) if (i % keys >= from) shared = Math.max(shared, values[i]);
  for (const { layer, head, canvas } of cells) {
    const { heads } = stream.layers[layer];
    const rows = values.subarray(starts[layer], starts[layer] + heads * keys);
    const row = head < 0 ? overHeads(rows, heads, "mean") : rows.subarray(head * keys, (head + 1) * keys);
    let max = shared;
    if (!shared) for (let i = from; i < keys; i++) max = Math.max(max, row[i]);
    paint(canvas, row, from, stream.grid, max);
  }
}

/** Mark what is selected and what is switched off. */
export function markHeads(stream) {
  const whole = state.show === "rollout" || state.show === "relevance"; // no layer alone
  const off = new Set(state.heads), isOff = (layer) => state.blocks.includes(stream.layers[layer].block);
  for (const { layer, head, button } of cells) {
    const selected = !whole && layer === state.layer && (head < 0 ? state.show === "mean" : state.show !== "mean" && head === state.head);
    button.toggleAttribute("data-selected", selected && !(state.show === "max" && head < 0));
    button.setAttribute("aria-pressed", String(selected));
    button.tabIndex = selected || (whole && layer === 0 && head === 0) ? 0 : -1;
    button.toggleAttribute("data-off", isOff(layer) || (head >= 0 && off.has(`${stream.layers[layer].index}.${head}`)));
  }
  for (const button of $("heads").querySelectorAll("button.layer")) {
    const layer = Number(button.dataset.layer);
    button.toggleAttribute("data-off", isOff(layer));
    button.toggleAttribute("data-selected", layer === state.layer && !whole);
  }
}

/** Keep the focus on the selected map when it was in the grid. */
export function focusSelected() {
  if ($("heads").contains(document.activeElement)) $("heads").querySelector("button.map[data-selected]")?.focus();
}
