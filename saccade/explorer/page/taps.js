// The layers that a head of the model reads: the attention of the query in each, the mean over its heads.

import { paint } from "./colours.js";
import { $, element } from "./controls.js";
import { overHeads } from "./heads.js";
import { state } from "./state.js";

let builtTaps = "", tapMaps = [];

/** Build the row of maps where it is new. @param choose called with a layer */
export function buildTaps(stream, choose) {
  $("taps").hidden = !stream.taps.length;
  const key = tapsKey(stream);
  if (key === builtTaps) return;
  builtTaps = key;
  tapMaps = stream.taps.map((layer) => {
    const canvas = element("canvas", { "aria-hidden": "true" });
    canvas.style.aspectRatio = `${stream.grid[1]} / ${stream.grid[0]}`;
    const button = element("button", { type: "button", class: "map", "aria-label": `Layer ${layer + 1}, mean of its heads`, onclick: () => choose(layer) }, canvas, element("span", { class: "note" }, `layer ${layer + 1}`));
    return { layer, canvas, button };
  });
  $("tap-maps").replaceChildren(...tapMaps.map(({ button }) => button));
}

const tapsKey = ({ name, taps, grid }) => JSON.stringify([name, taps, grid]);

/** Paint the maps: values [rows * keys] of all heads of all layers for one query. */
export function paintTaps(stream, values) {
  if (tapsKey(stream) !== builtTaps) return;
  const keys = stream.prefix.length + stream.grid[0] * stream.grid[1], from = stream.prefix.length, starts = [];
  stream.layers.reduce((start, layer) => { starts.push(start); return start + layer.heads * keys; }, 0);
  for (const { layer, canvas, button } of tapMaps) {
    const { heads } = stream.layers[layer];
    const row = overHeads(values.subarray(starts[layer], starts[layer] + heads * keys), heads, "mean");
    paint(canvas, row, from, stream.grid, row.subarray(from).reduce((a, b) => Math.max(a, b), 0));
    button.toggleAttribute("data-selected", layer === state.layer && state.show === "mean");
    button.setAttribute("aria-pressed", String(layer === state.layer && state.show === "mean"));
  }
}
