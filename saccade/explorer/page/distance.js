// The tab of attention distance: a dot a head, in this image or on average over several; in a text in tokens.

import { choices, element } from "./controls.js";
import { measurement } from "./measuring.js";
import { plot, svgElement, table } from "./plots.js";
import { state, typedLabels, writeAddress } from "./state.js";
import { view } from "./view.js";

export async function showDistance(model, on) {
  const several = view.source.measure && !model.readsTexts, averages = several && state.over === "several";
  const field = element("fieldset", { id: "over" }, element("legend", {}, "Over"));
  choices(field, [["image", "this image"], ["several", "several images"]], averages ? "several" : "image", (value) => { state.over = value; writeAddress(); on.again(); });
  const parts = several ? [field] : [], { input } = view;
  let sets = [];
  if (averages) {
    const { result, controls } = await measurement(model, "distance", on);
    parts.push(controls);
    sets = result?.sets ?? [];
  } else if (input) {
    sets = (await view.source.distance({ model: model.key, image: input, change: "" })).sets;
  } else {
    parts.push(element("p", { class: "nothing" }, `Open ${model.readsTexts ? "a text" : "an image"} first: the distance is measured in it.`));
  }
  if (model.readsLabels && !averages) sets = [...sets, ...(await ofLabel(model))];
  if (!sets.length) return [element("section", { class: "whole" }, ...parts)];
  const titled = sets.length > 1;
  return sets.flatMap((set, i) => [
    element("section", {}, ...(i ? [] : parts), ...(titled ? [element("h3", {}, titleOf(set))] : []), ...drawn(set, on)), numbers(set, titled)]);
}

const titleOf = ({ title }) => `${title[0].toUpperCase()}${title.slice(1)}`;

/** The distance within the text of the label that is chosen, or of the first; nothing without labels. */
async function ofLabel(model) {
  const label = typedLabels().includes(state.label) ? state.label : typedLabels()[0];
  if (!label) return [];
  const { sets } = await view.source.distance({ model: model.key, image: await view.source.textKey(label), change: "" });
  return sets.map((set) => ({ ...set, title: `text of “${label}”` }));
}

function drawn({ mean_pixels: means, std_pixels: spreads, uniform_pixels: uniform, images, note, unit, stream, causal }, on) {
  const top = 1.05 * Math.max(1, uniform ?? 0, ...means.flat().filter((value) => value !== null));
  const mean = (row) => { const known = row.filter((value) => value !== null); return known.reduce((sum, value) => sum + value, 0) / known.length; };
  const chart = plot({ title: "Mean attention distance by layer and head", names: means.map((_, i) => `${i + 1}`), top, unit: unit === "tokens" ? "tokens" : "pixels of the model’s input", across: "layer" },
    (x, y, { width, left, right }) => [
      ...(uniform ? [svgElement("line", { class: "uniform", x1: left, x2: width - right, y1: y(uniform), y2: y(uniform) })] : []),
      svgElement("polyline", { class: "mean", points: means.map((row, i) => (Number.isFinite(mean(row)) ? `${x(i)},${y(mean(row))}` : "")).join(" ") }),
      ...means.flatMap((row, layer) => row.map((value, head) => (value === null ? "" : dot(x(layer), y(value), layer, head, value, images > 1 ? spreads[layer][head] : null, { unit, stream, on }))))]);
  const all = unit === "tokens" ? (causal ? "all tokens up to the query" : "all tokens") : "all patches";
  const line = uniform ? `The dashed line is uniform attention over ${all} (${uniform.toFixed(1)} ${unit}). ` : "";
  const where = images === 1 ? `in this ${unit === "tokens" ? "text" : "image"}` : note || `${images} images`;
  return [chart, element("p", { class: "note" }, `Each dot is a head, and the line is their mean (${where}). ${line}Click a dot to see its head.`)];
}

function dot(cx, cy, layer, head, value, spread, { unit, stream, on }) {
  const text = `Layer ${layer + 1}, head ${head + 1}: ${value.toFixed(1)} ${unit}${spread === null ? "" : ` ± ${spread.toFixed(1)}`}`;
  const selected = state.layer === layer && state.head === head && (unit === "pixels" || state.stream === stream);
  const choose = () => on.head(layer, head, unit === "tokens" ? stream : "");
  return svgElement("circle", { class: selected ? "head selected" : "head", cx, cy, r: 5.5, "data-head": `${layer}.${head}`, onclick: choose }, svgElement("title", {}, text));
}

function numbers({ mean_pixels: means, std_pixels: spreads, images, layers, unit, title }, titled) {
  const heads = Math.max(...means.map((row) => row.length)), name = unit === "tokens" ? "Tokens" : "Pixels";
  const text = (value, spread) => (value === null ? "–" : `${value.toFixed(1)}${images > 1 ? ` ± ${spread.toFixed(1)}` : ""}`);
  const rows = means.map((row, layer) => [element("span", { title: layers[layer] }, `${layer + 1}`), ...row.map((value, head) => text(value, spreads[layer][head]))]);
  return element("section", {}, element("h3", {}, titled ? `Numbers: ${title}` : "Numbers"), element("p", { class: "note" }, images > 1 ? `${name}, mean ± standard deviation over the images.` : `${name}.`),
    table(`Attention distance by layer and head${titled ? `, ${title}` : ""}`, [["layer", "text"], ...Array.from({ length: heads }, (_, head) => [`head ${head + 1}`, "number"])], rows));
}
