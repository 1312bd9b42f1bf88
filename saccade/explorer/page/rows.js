// The row of the query over the image, and the maps of all heads for it.

import { drawAlignment } from "./alignment.js";
import { markBoxes, suppressed, tokenOfBox } from "./boxes.js";
import { changeTool } from "./change.js";
import { isCompetition, paintCompetition } from "./competition.js";
import { $, notice } from "./controls.js";
import { overHeads, paintHeads } from "./heads.js";
import { relevanceOf } from "./labels.js";
import { newest } from "./numbers.js";
import { markPlace } from "./pixelmap.js";
import { Pane, placeOf, showLegend, showRelevance } from "./stage.js";
import { state } from "./state.js";
import { paintTaps } from "./taps.js";
import { clearTokens, markTokens, paintTokens } from "./tokens.js";
import { boxes, currentModel, hasBoxes, imageStream, query, runOf, stream, view } from "./view.js";

export const pane = new Pane($("frame"));

/** Mark the query on the image, if it is a patch, and the hidden patches. */
export function markImage() {
  const token = !stream().overImage ? null : state.show === "relevance" ? "mean" : query();
  pane.drawMarks(imageStream(), token, currentModel().readsTexts ? [] : state.hide);
}

/** Fetch and draw the row of the query, then the maps of all heads. */
export function refresh() {
  const current = stream(), { readsTexts, masksTokens } = currentModel();
  markImage();
  markTokens(query(), !readsTexts ? null : masksTokens ? "masked" : "hidden");
  if (view.recording.pixelMap) markPlace(view.recording, current, current.overGrid ? placeOf(current, query()) : null);
  document.body.dataset.keys = current.overImage ? "image" : "tokens";
  drawAlignment(view.source, current, runOf(current), query(), hasBoxes());
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
    const { label } = state, values = await relevanceOf(at, label);
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
  const current = stream(), [token, at, { show }] = [query(), runOf(current), state];
  try {
    const row = await currentRow(current, token, at);
    if (row === null || at !== runOf(stream()) || show !== state.show) return;
    pane.showRow(current, row);
    if (current.overImage) clearTokens();
    else paintTokens(row);
    paintCompetition(boxes(), isCompetition(current, hasBoxes()) ? row : null);
    if (show === "relevance") showRelevance(current, row, state.label, currentModel().readsLabels ? "cosine" : "class");
    else showLegend(current, row, token, isCompetition(current, hasBoxes()) ? boxes() : null);
    document.body.dataset.loaded = "ready";
    $("frame").dataset.query = show === "relevance" ? `relevance ${state.label}` : token;
  } catch (error) {
    notice(error.message);
  }
});

const refreshGrid = newest(async () => {
  const current = stream(), [token, at] = [query(), runOf(current)];
  try {
    const values = await view.source.grid(at, current, token);
    if (at !== runOf(stream()) || current !== stream()) return;
    paintHeads(current, values);
    paintTaps(current, values);
  } catch (error) {
    notice(error.message);
  }
});
