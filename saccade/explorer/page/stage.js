// The image, the attention over it, and the pointer: once, or twice beside each other.

import { paint, paintRamp } from "./colours.js";
import { competitionText } from "./competition.js";
import { $, announce } from "./controls.js";
import { largest, percent, total } from "./numbers.js";
import { state } from "./state.js";

/** What a token is called: a prefix token's name, or the place of its patch. */
export function tokenName(stream, query) {
  if (query === "mean") return stream.overGrid ? "mean of all patches" : "mean of all tokens";
  if (!stream.overGrid) return axisToken(stream.queryAxis, query);
  if (query < stream.prefix.length) return stream.prefix[query];
  const [row, column] = placeOf(stream, query);
  return `patch row ${row + 1}, column ${column + 1}`;
}

/** A token of a text in quotes, another by its name. */
const axisToken = ({ kind, tokens }, index) => (kind === "units" ? tokens[index] : `“${tokens[index].trim() || "␣"}”`);

/** (row, column) of a token that is a patch, null for others. */
export function placeOf(stream, token) {
  const patch = token - stream.prefix.length;
  return Number.isInteger(patch) && patch >= 0 ? [Math.floor(patch / stream.grid[1]), patch % stream.grid[1]] : null;
}

export function showState(name, title = "", text = "") {
  $("frame").dataset.state = document.body.dataset.view = name;
  const [heading, paragraph] = [$("message").querySelector("h2"), $("message").querySelector("p")];
  heading.textContent = title;
  paragraph.textContent = text;
}

/** What a row says in words and numbers, under its image. @param boxes where they stand for the keys, else null */
export function showLegend(stream, row, query, boxes) {
  const from = stream.prefix.length, patches = row.subarray(from), best = largest(patches), max = patches[best];
  drawRamp(stream);
  const uniform = 1 / row.length;
  $("maximum").textContent = `${percent(max)} (largest)`;
  $("uniform").hidden = uniform > max || max === 0;
  $("uniform").style.left = `${(100 * uniform) / max}%`;
  $("uniform-text").textContent = `uniform ${percent(uniform)}`;
  const whole = boxes ? competitionText(boxes, row) : stream.overImage ? `Total: ${sums(stream, row)}.` : "";
  const text = max > 0 ? `${tokenName(stream, query)} attends most to ${keyName(stream, best)}. ${whole}` : `${tokenName(stream, query)} is masked: the encoder does not read it.`;
  $("readout").textContent = text[0].toUpperCase() + text.slice(1);
  announce(`${$("readout").textContent} Maximum ${percent(max)}.`);
}

/** The same for the relevance of a class, whose scale has no unit. @param output whose gradient it is of */
export function showRelevance(stream, row, label, output) {
  const patches = row.subarray(stream.prefix.length), best = largest(patches);
  drawRamp(stream);
  $("uniform").hidden = true;
  $("uniform-text").textContent = "";
  $("maximum").textContent = `${patches[best].toPrecision(2)} (largest)`;
  $("readout").textContent = `Relevance for ${label}: largest at ${keyName(stream, best)}. Attention weighted by the gradient of the ${output}, through all layers.`;
  announce($("readout").textContent);
}

/** A key of a stream, counted behind the prefix tokens. */
function keyName({ grid, keyAxis, overImage }, key) {
  return overImage ? `row ${Math.floor(key / grid[1]) + 1}, column ${(key % grid[1]) + 1}` : axisToken(keyAxis, key);
}

function drawRamp({ overImage }) {
  if (overImage) paintRamp($("ramp"), state.paint === "light" ? "light" : "opaque");
  else $("ramp").getContext("2d").clearRect(0, 0, $("ramp").width, $("ramp").height); // the style sheet has the colours of tokens
}

/** How much goes to the patches, and how much to each prefix token. */
export function sums(stream, row) {
  const prefix = stream.prefix.map((name, i) => `${name} ${percent(row[i])}`);
  return [`patches ${percent(total(row, stream.prefix.length))}`, ...prefix].join(" · ");
}

/** One image with its overlay and marks. */
export class Pane {
  /** @param frame an element with an image, a canvas of class "overlay" and one of class "marks" */
  constructor(frame) {
    this.frame = frame;
    [this.photo, this.overlay, this.marks] = ["img.photo", ".overlay", ".marks"].map((part) => frame.querySelector(part));
  }

  /** The image, in the shape of the model's input. */
  showImage(address, recording, name) {
    const [height, width] = recording.size;
    this.frame.style.setProperty("--ratio", width / height);
    this.frame.style.aspectRatio = `${width} / ${height}`;
    this.photo.alt = name;
    this.photo.classList.toggle("tiny", Math.max(width, height) <= 128);
    if (this.photo.getAttribute("src") !== address) this.photo.src = address;
  }

  /** Lay one row over the image; the largest weight of its patches is the end of the scale. */
  showRow(stream, row) {
    if (!stream.overImage) { this.overlay.style.opacity = 0; return; }
    const [rows, columns] = stream.grid, from = stream.prefix.length, patches = row.subarray(from);
    this.overlay.style.width = `${(100 * columns * stream.stride[1]) / stream.size[1]}%`;
    this.overlay.style.height = `${(100 * rows * stream.stride[0]) / stream.size[0]}%`;
    paint(this.overlay, row, from, stream.grid, patches[largest(patches)], state.paint === "light" ? "light" : "veil");
    this.overlay.style.opacity = state.paint === "off" ? 0 : state.opacity;
  }

  /** The outline of the query and the hidden patches. */
  drawMarks(stream, query, hidden) {
    const { marks } = this, box = this.frame.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(box.width * scale), Math.round(box.height * scale)];
    if (marks.width !== width || marks.height !== height) { marks.width = width; marks.height = height; }
    const context = marks.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (!stream) return;
    const w = (width * stream.stride[1]) / stream.size[1], h = (height * stream.stride[0]) / stream.size[0];
    for (const patch of new Set([...hidden, ...stream.unread])) hatch(context, (patch % stream.grid[1]) * w, Math.floor(patch / stream.grid[1]) * h, w, h, scale);
    const place = stream.overGrid && query !== null ? placeOf(stream, query) : null;
    marks.setAttribute("aria-label", query === null ? "Patches of the image" : `Patches of the image. Query: ${tokenName(stream, query)}`);
    if (!place) return;
    for (const [colour, thickness] of [["rgb(0 0 0 / 0.75)", 5], ["#fff", 2.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = thickness * scale;
      context.strokeRect(place[1] * w, place[0] * h, w, h);
    }
  }

  /** The patch under the pointer, by its place in the grid; null outside of it. */
  patchAt(stream, event) {
    if (!stream) return null;
    const box = this.frame.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * (stream.size[1] / stream.stride[1]));
    const row = Math.floor(((event.clientY - box.top) / box.height) * (stream.size[0] / stream.stride[0]));
    const inside = row >= 0 && column >= 0 && row < stream.grid[0] && column < stream.grid[1];
    return inside ? row * stream.grid[1] + column : null;
  }

  /**
   * Follow the pointer over the patches.
   * @param current () -> the stream on show, or null
   * @param on hover(token or null), choose(token), brush(patch, begins), and tool() -> "look" or "hide"
   */
  follow(current, on) {
    const { marks } = this, end = () => { brushing = false; };
    let brushing = false;
    marks.addEventListener("pointerdown", (event) => {
      const patch = this.patchAt(current(), event);
      if (patch === null || event.button !== 0 || on.tool() !== "hide") return;
      brushing = true;
      marks.setPointerCapture(event.pointerId);
      on.brush(patch, true);
      event.preventDefault();
    });
    marks.addEventListener("pointermove", (event) => {
      const stream = current(), patch = this.patchAt(stream, event);
      if (brushing) { if (patch !== null) on.brush(patch, false); return; }
      if (event.pointerType === "touch" || !stream || !stream.overGrid) return;
      on.hover(patch === null ? null : patch + stream.prefix.length);
    });
    marks.addEventListener("pointerleave", () => on.hover(null));
    marks.addEventListener("pointerup", end);
    marks.addEventListener("pointercancel", end);
    marks.addEventListener("click", (event) => {
      const stream = current(), patch = this.patchAt(stream, event);
      if (patch !== null && stream.overGrid && on.tool() === "look") on.choose(patch + stream.prefix.length);
    });
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
