// The tab of cost: where the parameters and the work are, and how the work grows with the image or the text.

import { element } from "./controls.js";
import { compact, plot, svgElement, table, tableBar } from "./plots.js";
import { view } from "./view.js";

export async function showCost(model) {
  const { params, sizes, parts } = await view.source.about(model, "cost");
  const texts = sizes[0].height === null, own = sizes.at(texts ? -1 : 0), macs = parts.reduce((sum, part) => sum + part.macs, 0);
  const rows = parts.map((part) => [`${part.part || "the model itself"}${part.kind ? `: ${part.kind}` : ""}`,
    tableBar(part.params / Math.max(params, 1), compact(part.params)), tableBar(part.macs / Math.max(macs, 1), compact(part.macs))]);
  const sizeOf = (size) => (texts ? [`${size.tokens}`] : [`${size.height}\u00a0×\u00a0${size.width}`, size.tokens ?? "–"]);
  const bySize = sizes.map((size) => [...sizeOf(size), compact(size.gmacs * 1e9), compact(size.attention_gmacs * 1e9),
    `${((100 * size.attention_gmacs) / Math.max(size.gmacs, 1e-12)).toFixed(0)} %`, `${size.activation_mb.toPrecision(3)} MB`]);
  const top = Math.max(...sizes.map((size) => size.gmacs));
  const bars = plot({ title: `Multiply-adds by ${texts ? "length of the text" : "image size"}`, names: sizes.map((size) => sizeOf(size)[0]), top, unit: "10⁹ multiply-adds", across: texts ? "tokens" : "image size in pixels" },
    (x, y) => sizes.flatMap((size, i) => [
      svgElement("rect", { class: "bar-rest", x: x(i) - 16, width: 32, y: y(size.gmacs), height: y(0) - y(size.gmacs) }),
      svgElement("rect", { class: "bar-attention", x: x(i) - 16, width: 32, y: y(size.attention_gmacs), height: y(0) - y(size.attention_gmacs) })]));
  return [
    element("section", {}, element("p", {}, `${params.toLocaleString("en")} parameters; ${compact(macs)} multiply-adds for ${texts ? `one text of ${own.tokens} tokens` : `one image of ${own.height} × ${own.width} pixels`}. FLOPs are twice as many.`),
      table("Cost by part", [["part", "text"], ["parameters", "number"], ["multiply-adds", "number"]], [...rows, ["all", compact(params), compact(macs)]])),
    element("section", {}, element("h3", {}, texts ? "By length of the text" : "By image size"),
      element("p", { class: "note" }, "Attention compares every token with every other: its cost grows with the square of the number of tokens, everything else linearly."),
      bars, element("p", { class: "key" }, element("i", { class: "attention" }), "scores and values of attention ", element("i", { class: "rest" }), "everything else"),
      table(texts ? "Cost by length of the text" : "Cost by image size", [...(texts ? [["tokens", "text"]] : [["pixels", "text"], ["tokens", "number"]]), ["multiply-adds", "number"], ["of that attention", "number"], ["share", "number"], ["activations in training", "number"]], bySize)),
  ];
}
