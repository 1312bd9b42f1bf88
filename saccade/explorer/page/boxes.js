// The boxes of a detector, over the image and as a list. Each stands for the query that predicted it.

import { $, element } from "./controls.js";
import { percent } from "./numbers.js";

/** The token of a stream that stands for a box: its object query, or the patch at its centre. */
export function tokenOfBox(stream, box, view) {
  if (!stream.overGrid) return box.query ?? null;
  const [left, top, right, bottom] = fractions(box, view), [rows, columns] = stream.grid;
  const row = Math.floor((((top + bottom) / 2) * stream.size[0]) / stream.stride[0]);
  const column = Math.floor((((left + right) / 2) * stream.size[1]) / stream.stride[1]);
  const inside = row >= 0 && column >= 0 && row < rows && column < columns;
  return inside ? stream.prefix.length + row * columns + column : null;
}

/** A box in pixels of the original as fractions of what the model reads. */
function fractions({ box }, [left, top, right, bottom]) {
  const [width, height] = [right - left, bottom - top];
  return [(box[0] - left) / width, (box[1] - top) / height, (box[2] - left) / width, (box[3] - top) / height];
}

/**
 * Draw the boxes over the image.
 * @param on hover(box or null), choose(box)
 */
export function showBoxes(boxes, view, on) {
  $("boxes").replaceChildren(...(boxes ?? []).map((box, number) => {
    const [left, top, right, bottom] = fractions(box, view);
    const made = element("button", { type: "button", class: "box", "data-box": number, "aria-label": `${box.label} ${percent(box.score)}`, ...listeners(box, on) },
      element("span", { "aria-hidden": "true" }, `${box.label} ${percent(box.score)}`));
    Object.assign(made.style, { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%` });
    return made;
  }));
}

/** The same as a list. */
export function boxList(boxes, on) {
  if (!boxes.length) return element("p", { class: "note" }, "No object above the threshold.");
  return element("ul", { class: "objects" }, ...boxes.map((box, number) => element("li", {},
    element("button", { type: "button", "data-box": number, ...listeners(box, on) },
      element("span", {}, box.label), element("span", { class: "value" }, percent(box.score))))));
}

function listeners(box, on) {
  return { onpointerenter: () => on.hover(box), onpointerleave: () => on.hover(null), onfocus: () => on.hover(box), onblur: () => on.hover(null), onclick: () => on.choose(box) };
}

/** Mark the boxes whose token is the query, and those that suppression would remove. */
export function markBoxes(boxes, isQuery, removed) {
  for (const part of document.querySelectorAll("[data-box]")) {
    const selected = isQuery(boxes[part.dataset.box]);
    part.toggleAttribute("data-selected", selected);
    part.toggleAttribute("data-removed", removed[part.dataset.box] ?? false);
    part.setAttribute("aria-pressed", String(selected));
  }
}

const IOU = 0.6;

function iou([a, b, c, d], [e, f, g, h]) {
  const both = Math.max(0, Math.min(c, g) - Math.max(a, e)) * Math.max(0, Math.min(d, h) - Math.max(b, f));
  return both / Math.max((c - a) * (d - b) + (g - e) * (h - f) - both, 1e-9);
}

/** Which boxes non-maximum suppression would remove: those that overlap a better one of their class by an IoU above 0.6. */
export function suppressed(boxes) {
  const stay = [];
  return boxes.map((box) => {
    const removed = stay.some((better) => better.label === box.label && iou(better.box, box.box) > IOU);
    if (!removed) stay.push(box);
    return removed;
  });
}

/** The controls of a detector with several decoder layers. */
export function showRefinement(stages, state) {
  $("refinement").hidden = stages === 0;
  const slider = $("decoder-layer"), count = stages + 1;
  slider.max = count;
  slider.value = state.stage || count;
  $("decoder-layer-text").textContent = `${state.stage || count} of ${count}`;
  $("suppression").checked = state.nms === "marked";
}
