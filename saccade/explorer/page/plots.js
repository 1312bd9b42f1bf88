// Parts of the tabs: plots as SVG, tables, and choices of images to measure on.

import { element } from "./controls.js";

const SVG = new DOMParser().parseFromString("<svg></svg>", "text/html").querySelector("svg").namespaceURI; // no address in the page

export function svgElement(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Round numbers from 0 to at least `top`, about five. */
export function ticks(top) {
  const rough = Math.max(top, 1e-9) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  return Array.from({ length: Math.ceil(top / step - 1e-9) + 1 }, (_, i) => i * step);
}

/**
 * Axes with a name, and what `draw` puts into them.
 * @param names of the values across
 * @param draw (x, y, plot) -> SVG elements; x(i) is the middle of a name's place, y(value) its height
 */
export function plot({ title, names, top, unit, across }, draw) {
  const [width, height, left, bottom, right, above] = [Math.max(340, 60 + 46 * names.length), 300, 48, 40, 14, 14];
  const marks = ticks(top), most = marks.at(-1);
  const x = (i) => left + ((width - left - right) * (i + 0.5)) / names.length;
  const y = (value) => height - bottom - ((height - bottom - above) * value) / most;
  const every = Math.ceil(names.length / 24);
  const lines = marks.map((value) => svgElement("g", { class: "axis" }, svgElement("line", { x1: left, x2: width - right, y1: y(value), y2: y(value) }),
    svgElement("text", { x: left - 7, y: y(value) + 4, "text-anchor": "end" }, `${Number(value.toPrecision(6))}`)));
  const labels = names.map((name, i) => (i % every ? "" : svgElement("text", { class: "axis", x: x(i), y: height - bottom + 17, "text-anchor": "middle" }, name)));
  return element("div", { class: "plot", role: "region", tabindex: "0", "aria-label": title },
    element("p", { class: "note", "aria-hidden": "true" }, unit),
    svgElement("svg", { viewBox: `0 0 ${width} ${height}`, width, role: "img", "aria-label": title }, ...lines, ...labels,
      svgElement("text", { class: "axis", x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, across), ...draw(x, y, { width, left, right })));
}

/** A table: columns are [title, "number" or "text"]; a cell is text, a number or an element. */
export function table(caption, columns, rows) {
  const cell = (value, i) => element(i === 0 ? "th" : "td", { scope: i === 0 ? "row" : null, class: columns[i][1] }, value instanceof Node ? value : String(value));
  return element("div", { class: "table", role: "region", tabindex: "0", "aria-label": caption },
    element("table", {}, element("caption", { class: "quiet" }, caption),
      element("thead", {}, element("tr", {}, ...columns.map(([title, kind]) => element("th", { scope: "col", class: kind }, title)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(cell))))));
}

/** A bar of a table, as long as its share. */
export function tableBar(share, text) {
  const bar = element("i", { class: "share", "aria-hidden": "true" });
  bar.style.width = `${Math.max(100 * share, share > 0 ? 1 : 0)}%`;
  return element("span", { class: "shared" }, element("span", {}, text), element("span", { class: "track", "aria-hidden": "true" }, bar));
}

/** A number with the unit that suits it: 21.7 M. */
export function compact(value) {
  const units = ["", " k", " M", " G", " T"];
  let unit = 0;
  while (value >= 1000 && unit < 4) { value /= 1000; unit++; }
  return `${unit ? value.toPrecision(3) : value}${units[unit]}`;
}
