// The tab of filters: what the first layer looks for.

import { element } from "./controls.js";
import { percent } from "./numbers.js";
import { view } from "./view.js";

const MEANING = {
  true: "The directions in which the filters of the patch embedding differ most, the strongest first. Under each: its share of the variance.",
  false: "Weights as colours; grey is 0, each filter is scaled to its largest weight. Under each: its share of the sum of squares.",
};

export async function showFilters(model) {
  const { sets } = await view.source.about(model, "filters");
  return Promise.all(sets.map(async (set) => {
    const picture = new Image();
    picture.src = set.picture;
    await picture.decode();
    const [height, width] = set.size, components = set.kind.startsWith("principal");
    const items = set.variance.map((share, i) => {
      const canvas = element("canvas", { width, height, role: "img", "aria-label": `${components ? "Component" : "Filter"} ${i + 1}, ${percent(share)}` });
      canvas.getContext("2d").drawImage(picture, i * width, 0, width, height, 0, 0, width, height);
      return element("li", {}, canvas, element("span", { "aria-hidden": "true" }, percent(share)));
    });
    const title = components ? "Principal components" : "Filters";
    return element("section", {}, element("h3", {}, title),
      element("p", { class: "note" }, `${set.count} ${set.kind}, ${height} × ${width} pixels${set.channels === 3 ? "" : `, ${set.channels === 1 ? "grey" : `mean of ${set.channels} channels`}`}. ${MEANING[components]}`),
      element("ul", { class: "filters" }, ...items));
  }));
}
