// The whole matrix of one head over the tokens of texts: a row a query, a column a key.

import { paint } from "./colours.js";
import { $, notice } from "./controls.js";
import { overHeads } from "./heads.js";
import { newest } from "./numbers.js";
import { state } from "./state.js";

const LARGEST_MATRIX = 128; // tokens of an axis: more would be smaller than a letter
let drawnMatrix = null; // what was drawn: { left, top, cell, queries }

/** Whether a stream has a matrix that is drawn. */
export function hasAlignment(stream, boxes) {
  return !boxes && !stream.overImage && Math.max(stream.queries, stream.keyAxis.tokens.length) <= LARGEST_MATRIX && state.show !== "rollout";
}

/** Draw the matrix of the head on show, with the row of the query outlined. */
export const drawAlignment = newest(async (source, stream, run, query, boxes) => {
  const figure = $("alignment");
  figure.hidden = !hasAlignment(stream, boxes);
  if (figure.hidden) return;
  try {
    const whole = await source.whole(run, stream, state.layer), { heads } = stream.layers[state.layer];
    const size = whole.length / heads, { head, show } = state;
    const values = show === "head" ? whole.subarray(head * size, (head + 1) * size) : overHeads(whole, heads, show);
    drawMatrix($("matrix"), stream, values, query);
  } catch (error) {
    notice(error.message);
  }
});

function drawMatrix(canvas, stream, values, query) {
  const rows = stream.queries, columns = stream.keyAxis.tokens.length, scale = window.devicePixelRatio || 1;
  const width = canvas.parentElement.clientWidth, style = getComputedStyle(document.body);
  const context = canvas.getContext("2d"), font = `12px ${style.fontFamily}`;
  context.font = font;
  const longest = (texts) => Math.min(96, Math.max(...texts.map((text) => context.measureText(text).width)) + 8);
  const queries = stream.queryAxis.tokens, keys = stream.keyAxis.tokens, left = longest(queries), top = longest(keys);
  const cell = Math.max(4, Math.min(40, Math.floor((width - left) / columns), Math.max(14, Math.floor(560 / rows))));
  const [w, h] = [left + cell * columns + 1, top + cell * rows + 1];
  Object.assign(canvas, { width: Math.round(w * scale), height: Math.round(h * scale) });
  Object.assign(canvas.style, { width: `${w}px`, height: `${h}px` });
  context.scale(scale, scale);
  const picture = document.createElement("canvas");
  paint(picture, values, 0, [rows, columns], values.reduce((a, b) => Math.max(a, b), 0));
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, left, top, cell * columns, cell * rows);
  Object.assign(context, { font, fillStyle: style.color, textBaseline: "middle" });
  const every = Math.ceil(13 / cell); // names that fit
  queries.forEach((text, row) => { if (row % every === 0) context.fillText(text, 0, top + cell * (row + 0.5), left - 6); });
  keys.forEach((text, column) => {
    if (column % every) return;
    context.save();
    context.translate(left + cell * (column + 0.5), top - 6);
    context.rotate(-Math.PI / 2);
    context.fillText(text, 0, 0, top - 6);
    context.restore();
  });
  if (Number.isInteger(query)) {
    for (const [strokeStyle, lineWidth] of [["rgb(0 0 0 / 0.75)", 5], ["#fff", 2]]) {
      Object.assign(context, { strokeStyle, lineWidth });
      context.strokeRect(left + 2, top + cell * query + 2, cell * columns - 4, cell - 4);
    }
  }
  canvas.setAttribute("aria-label", `Attention of ${rows} tokens (${stream.queryAxis.name}, rows) to ${columns} tokens (${stream.keyAxis.name}, columns)`);
  drawnMatrix = { left, top, cell, rows };
}

/** Follow the pointer over the rows. @param on hover(query or null), choose(query) */
export function followAlignment(on) {
  const rowAt = (event) => {
    const box = $("matrix").getBoundingClientRect();
    const row = drawnMatrix ? Math.floor((event.clientY - box.top - drawnMatrix.top) / drawnMatrix.cell) : -1;
    return row >= 0 && row < drawnMatrix.rows ? row : null;
  };
  $("matrix").addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") on.hover(rowAt(event)); });
  $("matrix").addEventListener("pointerleave", () => on.hover(null));
  $("matrix").addEventListener("click", (event) => { const row = rowAt(event); if (row !== null) on.choose(row); });
}
