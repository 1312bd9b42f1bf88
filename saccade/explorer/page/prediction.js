// The prediction: classes with bars, the changed run beside the model as it is; for other tasks the drawn result.

import { boxList } from "./boxes.js";
import { $, element } from "./controls.js";
import { percent, points } from "./numbers.js";
import { textResult } from "./texts.js";

const SHOWN = 6;

/**
 * @param original result of the model as it is
 * @param changed result of the changed run, or null
 * @param drawn pictures of the result: those of every pixel or others, of the model as it is and of the changed run; called with a title
 * @param onBox for the boxes of a detector, see showBoxes
 * @param onClass called with the label of a class that is pressed; null where classes are not pressed
 */
export function showPrediction(original, changed, drawn, onBox, onClass) {
  const panel = $("prediction");
  if (!original) {
    panel.replaceChildren(element("p", { class: "note" }, $("labels-form").hidden ? "This model makes no prediction from an image alone." : "Type labels and press Enter."));
  } else if (original.top) {
    panel.replaceChildren(...classRows(original.top, changed?.top ?? null, onClass));
  } else if (original.boxes) {
    const count = changed ? [element("p", { class: "flip" }, `${original.boxes.length} before the change`)] : [];
    panel.replaceChildren(boxList((changed ?? original).boxes, onBox), ...count);
  } else if (original.masks || original.text !== undefined) {
    const shown = changed ? [["after the change", changed], ["before", original]] : [["", original]];
    panel.replaceChildren(...shown.flatMap(([name, result]) => [...(name ? [element("h3", {}, name)] : []), ...textResult(result)]));
  } else {
    const shown = changed ? [["after the change", drawn[1]], ["before", drawn[0]]] : [["", drawn[0]]];
    panel.replaceChildren(...shown.map(([name, picture]) => picture(name)));
  }
}

/** A drawn result as it is. */
export function drawnFigure(src, name) {
  return element("figure", {}, ...(name ? [element("figcaption", { class: "note" }, name)] : []),
    element("img", { src, alt: `The prediction drawn over the image${name && ", "}${name}`, class: "drawn" }));
}

function classRows(original, changed, onClass) {
  const before = new Map(original.map(({ label, score }) => [label, score]));
  const after = changed && new Map(changed.map(({ label, score }) => [label, score]));
  const names = original.slice(0, SHOWN).map(({ label }) => label);
  for (const { label } of changed?.slice(0, 3) ?? []) if (!names.includes(label)) names.push(label);
  const rows = names.map((label) => classRow(label, before.get(label) ?? 0, after && (after.get(label) ?? 0), onClass));
  const [winner] = changed ?? original;
  const head = [element("p", { class: "winner" }, element("b", {}, winner.label), ` ${percent(winner.score)}`)];
  if (changed && winner.label !== original[0].label) head.push(element("p", { class: "flip" }, `was ${original[0].label} ${percent(original[0].score)}`));
  const list = element("ul", { class: after ? "classes changed" : "classes" }, ...rows);
  const key = after ? [element("p", { class: "key" }, element("i", { class: "before" }), "original ", element("i", { class: "after" }), "changed")] : [];
  return [...head, list, ...key];
}

function classRow(label, before, after, onClass) {
  const bars = element("div", { class: "bars", "aria-hidden": "true" }, bar("before", before));
  const value = after ?? before;
  const row = element("li", {}, onClass
    ? element("button", { type: "button", class: "name", title: `${label}: show its relevance`, "data-label": label, onclick: () => onClass(label) }, label)
    : element("span", { class: "name", title: label }, label), element("span", { class: "value" }, percent(value)), bars);
  if (after !== null) {
    bars.append(bar("after", after));
    const difference = after - before;
    const kind = Math.abs(difference) < 0.0005 ? "same" : difference > 0 ? "up" : "down";
    row.append(element("span", { class: `difference ${kind}` }, points(difference), element("span", { class: "quiet" }, " percentage points")));
  }
  return row;
}

function bar(kind, value) {
  const made = element("div", { class: `bar ${kind}` });
  made.style.width = `${100 * value}%`;
  return made;
}

/** Mark the class whose relevance is on show. */
export function markClass(label) {
  for (const button of document.querySelectorAll("[data-label]")) button.setAttribute("aria-pressed", String(button.dataset.label === label));
}
