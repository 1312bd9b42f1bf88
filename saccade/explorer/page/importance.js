// The tab of importance: what is lost without each head and each block.

import { element } from "./controls.js";
import { measurement, pictureCount } from "./measuring.js";

export async function showImportance(model, on) {
  const { result, controls, where } = await measurement(model, "importance", on);
  const explained = where === "data" ? "The change of the task’s metric on the data set, when a part adds nothing." : `The change of what the model predicts for the ${pictureCount()} images of this page, when a part adds nothing: no labels are needed.`;
  const first = element("section", { class: "whole" }, element("p", {}, explained), controls);
  if (!result) return [first];
  return [first, ...tables(result, on)];
}

const signed = (value) => (Math.abs(value) < 0.0005 ? "0" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(Math.abs(value) < 0.0995 ? 3 : 2)}`);

/** A cell in a colour as strong as the change; what may be nothing is faint. */
function cell(part, most, title, onclick) {
  if (!part) return element("td");
  const sure = part.low > 0 || part.high < 0;
  const text = signed(part.change), label = `${title}: ${text}, 95 % interval ${signed(part.low)} to ${signed(part.high)}${sure ? "" : ", may be nothing"}`;
  const inner = onclick ? element("button", { type: "button", title: label, "aria-label": label, onclick }, text) : element("span", { title: label }, text);
  const made = element("td", { class: part.change < 0 ? "loss" : "gain", "data-sure": sure }, inner);
  made.style.setProperty("--strength", `${Math.round((50 * Math.abs(part.change)) / most)}%`);
  return made;
}

function tables({ metric, value, parts, images, note, layers }, on) {
  const heads = parts.filter(({ head }) => head !== null), blocks = parts.filter(({ head }) => head === null);
  const largest = (some) => Math.max(1e-9, ...some.map(({ change }) => Math.abs(change))), most = largest(heads);
  const count = 1 + Math.max(...heads.map(({ head }) => head));
  const rows = layers.map((path, layer) => element("tr", {}, element("th", { scope: "row", title: path }, `${layer + 1}`),
    ...Array.from({ length: count }, (_, head) => cell(heads.find((part) => part.path === path && part.head === head), most, `Layer ${layer + 1}, head ${head + 1}`, () => on.headByPath(path, head)))));
  const names = element("tr", {}, element("th", { scope: "col" }, "layer"), ...Array.from({ length: count }, (_, head) => element("th", { scope: "col" }, `head ${head + 1}`)));
  const worst = [...parts].sort((a, b) => a.change - b.change)[0];
  const named = worst.head === null ? worst.path : `head ${worst.head + 1} of layer ${layers.indexOf(worst.path) + 1}`;
  return [
    element("section", {}, element("h3", {}, "Heads"), element("p", {}, `${metric[0].toUpperCase()}${metric.slice(1)} is ${value.toFixed(3)} on ${images} ${images === 1 ? "image" : "images"}. It changes most without ${named}: ${signed(worst.change)}.`),
      element("p", { class: "note" }, `${note ? `${note}. ` : ""}Faint numbers may be nothing: their 95 % interval includes 0. Click a head to look at it.`),
      element("div", { class: "table heat", role: "region", tabindex: "0", "aria-label": "Importance of heads" }, element("table", {}, element("caption", { class: "quiet" }, "Change without each head"), element("thead", {}, names), element("tbody", {}, ...rows)))),
    ...(blocks.length ? [element("section", {}, element("h3", {}, "Blocks"), element("div", { class: "table heat", role: "region", tabindex: "0", "aria-label": "Importance of blocks" },
      element("table", {}, element("caption", { class: "quiet" }, "Change without each block"), element("tbody", {}, ...blocks.map((part) => element("tr", {}, element("th", { scope: "row" }, part.path), cell(part, largest(blocks), part.path, null)))))))] : []),
  ];
}
