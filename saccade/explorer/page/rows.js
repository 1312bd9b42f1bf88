// The row of the query over the image, and the maps of all heads for it.

import { markBoxes, suppressed, tokenOfBox } from "./boxes.js";
import { changeTool } from "./change.js";
import { $, notice } from "./controls.js";
import { overHeads, paintHeads } from "./heads.js";
import { newest } from "./numbers.js";
import { Pane, showLegend, showRelevance } from "./stage.js";
import { state } from "./state.js";
import { boxes, query, stream, view } from "./view.js";

export const pane = new Pane($("frame"));

/** Fetch and draw the row of the query, then the maps of all heads. */
export function refresh() {
  pane.drawMarks(stream(), state.show === "relevance" ? "mean" : query(), state.hide);
  if (view.beside.recording) view.beside.refresh(stream(), query());
  $("boxes").classList.toggle("through", stream().overGrid || changeTool() === "hide");
  markBoxes(boxes(), (box) => tokenOfBox(stream(), box, view.recording.view) === query(), state.nms ? suppressed(boxes()) : []);
  refreshRow();
  clearTimeout(refresh.timer);
  refresh.timer = setTimeout(refreshGrid, view.hovered === null ? 0 : 90);
}

/** The row on show: [keys]. Null when another run or class came in between. */
async function currentRow(current, token, at) {
  const { source } = view, { heads } = current.layers[state.layer];
  if (state.show === "relevance") {
    const { label } = state, values = await source.relevance(at, label);
    if (state.label !== label) return null;
    const row = new Float32Array(current.prefix.length + values.length);
    row.set(values, current.prefix.length);
    return row;
  }
  if (state.show === "rollout") return source.rollout(at, current, token);
  const rows = await source.layer(at, current, state.layer, token), keys = rows.length / heads;
  return state.show === "head" ? rows.subarray(state.head * keys, (state.head + 1) * keys) : overHeads(rows, heads, state.show);
}

const refreshRow = newest(async () => {
  const [current, token, at, { show }] = [stream(), query(), view.run, state];
  try {
    const row = await currentRow(current, token, at);
    if (row === null || at !== view.run || show !== state.show) return;
    pane.showRow(current, row);
    if (show === "relevance") showRelevance(current, row, state.label);
    else showLegend(current, row, token);
    document.body.dataset.loaded = "ready";
    $("frame").dataset.query = show === "relevance" ? `relevance ${state.label}` : token;
  } catch (error) {
    notice(error.message);
  }
});

const refreshGrid = newest(async () => {
  const [current, token, at] = [stream(), query(), view.run];
  try {
    const values = await view.source.grid(at, current, token);
    if (at === view.run) paintHeads(current, values);
  } catch (error) {
    notice(error.message);
  }
});
