// The tab of attention distance: a dot a head, in this image or on average over several.

import { choices, element } from "./controls.js";
import { measurement } from "./measuring.js";
import { plot, svgElement, table } from "./plots.js";
import { state, writeAddress } from "./state.js";
import { view } from "./view.js";

export async function showDistance(model, on) {
  const averages = view.source.measure && state.over === "several";
  const field = element("fieldset", { id: "over" }, element("legend", {}, "Over"));
  choices(field, [["image", "this image"], ["several", "several images"]], averages ? "several" : "image", (value) => { state.over = value; writeAddress(); on.again(); });
  const parts = view.source.measure ? [field] : [];
  let distance = null;
  if (averages) {
    const { result, controls } = await measurement(model, "distance", on);
    parts.push(controls);
    distance = result;
  } else if (state.image) {
    distance = await view.source.distance({ model: model.key, image: state.image, change: "" });
  } else {
    parts.push(element("p", { class: "nothing" }, "Open an image first: the distance is measured in it."));
  }
  if (!distance) return [element("section", { class: "whole" }, ...parts)];
  return [element("section", {}, ...parts, ...drawn(distance, on)), numbers(distance)];
}

function drawn({ mean_pixels: means, std_pixels: spreads, uniform_pixels: uniform, images, note }, on) {
  const top = 1.05 * Math.max(1, uniform ?? 0, ...means.flat().filter((value) => value !== null));
  const mean = (row) => { const known = row.filter((value) => value !== null); return known.reduce((sum, value) => sum + value, 0) / known.length; };
  const chart = plot({ title: "Mean attention distance by layer and head", names: means.map((_, i) => `${i + 1}`), top, unit: "pixels of the model’s input", across: "layer" },
    (x, y, { width, left, right }) => [
      ...(uniform ? [svgElement("line", { class: "uniform", x1: left, x2: width - right, y1: y(uniform), y2: y(uniform) })] : []),
      svgElement("polyline", { class: "mean", points: means.map((row, i) => (Number.isFinite(mean(row)) ? `${x(i)},${y(mean(row))}` : "")).join(" ") }),
      ...means.flatMap((row, layer) => row.map((value, head) => (value === null ? "" : dot(x(layer), y(value), layer, head, value, images > 1 ? spreads[layer][head] : null, on))))]);
  const line = uniform ? `The dashed line is attention that is even over all patches (${uniform.toFixed(1)} pixels). ` : "";
  return [chart, element("p", { class: "note" }, `A dot is a head, the line their mean; ${images === 1 ? "in this image" : note || `${images} images`}. ${line}Click a dot to look at its head.`)];
}

function dot(cx, cy, layer, head, value, spread, on) {
  const text = `Layer ${layer + 1}, head ${head + 1}: ${value.toFixed(1)} pixels${spread === null ? "" : ` ± ${spread.toFixed(1)}`}`;
  const selected = state.layer === layer && state.head === head;
  return svgElement("circle", { class: selected ? "head selected" : "head", cx, cy, r: 5.5, "data-head": `${layer}.${head}`, onclick: () => on.head(layer, head) }, svgElement("title", {}, text));
}

function numbers({ mean_pixels: means, std_pixels: spreads, images, layers }) {
  const heads = Math.max(...means.map((row) => row.length));
  const text = (value, spread) => (value === null ? "–" : `${value.toFixed(1)}${images > 1 ? ` ± ${spread.toFixed(1)}` : ""}`);
  const rows = means.map((row, layer) => [element("span", { title: layers[layer] }, `${layer + 1}`), ...row.map((value, head) => text(value, spreads[layer][head]))]);
  return element("section", {}, element("h3", {}, "Numbers"), element("p", { class: "note" }, images > 1 ? "Pixels, mean ± standard deviation over the images." : "Pixels."),
    table("Attention distance by layer and head", [["layer", "text"], ...Array.from({ length: heads }, (_, head) => [`head ${head + 1}`, "number"])], rows));
}
