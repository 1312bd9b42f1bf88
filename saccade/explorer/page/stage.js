// The image, the attention over it, and the pointer.

import { paint, paintRamp } from "./colours.js";
import { $, announce } from "./controls.js";
import { largest, percent, total } from "./numbers.js";
import { state } from "./state.js";

const frame = $("frame"), overlay = $("overlay"), marks = $("marks");

/** What a token is called: a prefix token's name, or the place of its patch. */
export function tokenName(stream, query) {
  if (query === "mean") return "mean of all patches";
  if (!stream.overGrid) return `query ${query}`;
  if (query < stream.prefix.length) return stream.prefix[query];
  const [row, column] = placeOf(stream, query);
  return `patch row ${row + 1}, column ${column + 1}`;
}

/** (row, column) of a token that is a patch, null for others. */
export function placeOf(stream, token) {
  const patch = token - stream.prefix.length;
  return Number.isInteger(patch) && patch >= 0 ? [Math.floor(patch / stream.grid[1]), patch % stream.grid[1]] : null;
}

export function showState(name, title = "", text = "") {
  frame.dataset.state = document.body.dataset.view = name;
  const [heading, paragraph] = [frame.querySelector("h2"), frame.querySelector("#message p")];
  heading.textContent = title;
  paragraph.textContent = text;
}

/** The image, in the shape of the model's input. */
export function showImage(address, recording, name) {
  const [height, width] = recording.size, photo = $("photo");
  frame.style.setProperty("--ratio", width / height);
  frame.style.aspectRatio = `${width} / ${height}`;
  photo.alt = name;
  photo.classList.toggle("tiny", Math.max(width, height) <= 128);
  if (photo.getAttribute("src") !== address) photo.src = address;
}

/** Lay one row over the image. */
export function showRow(stream, row, query) {
  const [rows, columns] = stream.grid, from = stream.prefix.length;
  const patches = row.subarray(from), best = largest(patches), max = patches[best];
  overlay.style.width = `${(100 * columns * stream.stride[1]) / stream.size[1]}%`;
  overlay.style.height = `${(100 * rows * stream.stride[0]) / stream.size[0]}%`;
  paint(overlay, row, from, stream.grid, max, state.paint === "light" ? "light" : "veil");
  overlay.style.opacity = state.paint === "off" ? 0 : state.opacity;
  paintRamp($("ramp"), state.paint === "light" ? "light" : "opaque");
  const uniform = 1 / row.length;
  $("maximum").textContent = `${percent(max)} (largest)`;
  $("uniform").hidden = uniform > max;
  $("uniform").style.left = `${(100 * uniform) / max}%`;
  $("uniform-text").textContent = `uniform ${percent(uniform)}`;
  const place = `row ${Math.floor(best / columns) + 1}, column ${(best % columns) + 1}`;
  const prefix = stream.prefix.map((name, i) => `${name} ${percent(row[i])}`);
  const parts = [`patches ${percent(total(row, from))}`, ...prefix].join(" · ");
  const text = `${tokenName(stream, query)} attends most to ${place}. In sum: ${parts}.`;
  $("readout").textContent = text[0].toUpperCase() + text.slice(1);
  announce(`${$("readout").textContent} Maximum ${percent(max)}.`);
}

/** The outline of the query and the hidden patches. */
export function drawMarks(stream, query, hidden) {
  const box = frame.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(box.width * scale), Math.round(box.height * scale)];
  if (marks.width !== width || marks.height !== height) { marks.width = width; marks.height = height; }
  const context = marks.getContext("2d");
  context.clearRect(0, 0, width, height);
  if (!stream) return;
  const w = (width * stream.stride[1]) / stream.size[1], h = (height * stream.stride[0]) / stream.size[0];
  for (const patch of hidden) hatch(context, (patch % stream.grid[1]) * w, Math.floor(patch / stream.grid[1]) * h, w, h, scale);
  const place = stream.overGrid ? placeOf(stream, query) : null;
  marks.setAttribute("aria-label", `Patches of the image. Query: ${tokenName(stream, query)}`);
  if (!place) return;
  for (const [colour, thickness] of [["rgb(0 0 0 / 0.75)", 5], ["#fff", 2.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = thickness * scale;
    context.strokeRect(place[1] * w, place[0] * h, w, h);
  }
}

function hatch(context, x, y, w, h, scale) {
  context.save();
  context.beginPath();
  context.rect(x, y, w + 0.5, h + 0.5);
  context.clip();
  context.fillStyle = "rgb(24 26 30 / 0.88)";
  context.fillRect(x, y, w + 1, h + 1);
  context.strokeStyle = "rgb(255 255 255 / 0.28)";
  context.lineWidth = scale;
  const step = 7 * scale;
  context.beginPath();
  for (let line = Math.floor((x + y) / step) * step; line < x + y + w + h + step; line += step) {
    context.moveTo(line - y, y);
    context.lineTo(line - y - h, y + h);
  }
  context.stroke();
  context.restore();
}

/**
 * Follow the pointer over the patches.
 * @param current () -> the stream on show, or null
 * @param on hover(token or null), choose(token), brush(patch, begins), and tool() -> "look" or "hide"
 */
export function followPointer(current, on) {
  let brushing = false;
  const patchAt = (event) => {
    const stream = current();
    if (!stream) return null;
    const box = frame.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * (stream.size[1] / stream.stride[1]));
    const row = Math.floor(((event.clientY - box.top) / box.height) * (stream.size[0] / stream.stride[0]));
    const inside = row >= 0 && column >= 0 && row < stream.grid[0] && column < stream.grid[1];
    return inside ? row * stream.grid[1] + column : null;
  };
  marks.addEventListener("pointerdown", (event) => {
    const patch = patchAt(event);
    if (patch === null || event.button !== 0) return;
    if (on.tool() === "hide") {
      brushing = true;
      marks.setPointerCapture(event.pointerId);
      on.brush(patch, true);
      event.preventDefault();
    }
  });
  marks.addEventListener("pointermove", (event) => {
    const patch = patchAt(event), stream = current();
    if (brushing) { if (patch !== null) on.brush(patch, false); return; }
    if (event.pointerType === "touch" || !stream || !stream.overGrid) return;
    on.hover(patch === null ? null : patch + stream.prefix.length);
  });
  marks.addEventListener("pointerleave", () => on.hover(null));
  marks.addEventListener("pointerup", () => { brushing = false; });
  marks.addEventListener("pointercancel", () => { brushing = false; });
  marks.addEventListener("click", (event) => {
    const patch = patchAt(event), stream = current();
    if (patch !== null && stream.overGrid && on.tool() === "look") on.choose(patch + stream.prefix.length);
  });
}
