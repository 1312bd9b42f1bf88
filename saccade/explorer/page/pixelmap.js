// A prediction for every pixel: its picture with the scale or the legend of its colours, and the value under the pointer.

import { tokenOfBox } from "./boxes.js";
import { element } from "./controls.js";
import { percent } from "./numbers.js";

/**
 * The picture of a recording.
 * @param values () -> the sampled values, a promise of Float32Array
 * @param on choose(token), stream()
 */
export function pixelMap(recording, address, title, values, on) {
  const { scale, legend, caption, shape } = recording.pixelMap, { size, view } = placed(recording);
  const marker = element("i", { class: "place", "aria-hidden": "true", hidden: true });
  const picture = element("img", { src: address, class: "drawn", alt: `${caption || `${scale ? scale.name : "Classes"} of every pixel`}${title && `, ${title}`}` });
  picture.classList.toggle("tiny", Math.max(...size) <= 128);
  const under = element("p", { class: "note under" }, caption || `Point at a pixel to read its ${scale ? "value" : "class"}.`);
  const frame = element("div", { class: "map-frame" }, picture, marker);
  const place = (event) => {
    const box = picture.getBoundingClientRect();
    return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width].map((part) => Math.min(Math.max(part, 0), 0.9999));
  };
  frame.addEventListener("pointermove", async (event) => {
    if (!shape[0]) return;
    const at = place(event), all = await values(), [rows, columns] = shape;
    under.textContent = valueName(all[Math.floor(at[0] * rows) * columns + Math.floor(at[1] * columns)], recording.pixelMap);
  });
  frame.addEventListener("click", (event) => {
    const [y, x] = place(event).map((part, axis) => part * size[axis]);
    const token = tokenOfBox(on.stream(), { box: [x, y, x, y] }, view);
    if (token !== null && on.stream().overGrid) on.choose(token);
  });
  const key = scale ? [scaleBar(scale)] : legend.length ? [legendList(legend)] : [];
  return element("figure", { class: "pixel-map" }, ...(title ? [element("figcaption", { class: "note" }, title)] : []), frame, ...key, under);
}

/** The size of the picture, and what the model reads of it: left, top, right, bottom. */
function placed({ pixelMap: { size, ofView }, view }) {
  return { size, view: ofView ? [0, 0, size[1], size[0]] : view };
}

/** Outline a patch on the pictures, where it lies in the whole image. */
export function markPlace(recording, stream, place) {
  for (const marker of document.querySelectorAll(".map-frame .place")) {
    marker.hidden = !place;
    if (!place) continue;
    const { view: [left, top, right, bottom], size: [height, width] } = placed(recording), [rows, columns] = stream.size;
    const x = ((right - left) * stream.stride[1]) / columns, y = ((bottom - top) * stream.stride[0]) / rows;
    Object.assign(marker.style, {
      left: `${(100 * (left + place[1] * x)) / width}%`, top: `${(100 * (top + place[0] * y)) / height}%`,
      width: `${(100 * x) / width}%`, height: `${(100 * y) / height}%`,
    });
  }
}

function valueName(value, { scale, legend }) {
  if (scale) return `${value.toPrecision(3)} ${scale.unit}`.trim();
  return legend.find((entry) => entry.value === Math.round(value))?.label ?? "no class";
}

function scaleBar({ low, high, unit, name, colours }) {
  const bar = element("div", { class: "bar-of-colours", "aria-hidden": "true" });
  bar.style.background = `linear-gradient(90deg, ${colours.join(", ")})`;
  const text = (value) => `${value.toPrecision(3)} ${unit}`.trim();
  const middle = unit ? name : `${name}: largest where nearest`;
  return element("div", { class: "pixel-scale" }, bar, element("div", { class: "ends" }, element("span", {}, text(low)), element("span", {}, middle), element("span", {}, text(high))));
}

function legendList(legend) {
  return element("ul", { class: "pixel-legend" }, ...legend.map(({ label, colour, share }) => {
    const swatch = element("i", { "aria-hidden": "true" });
    swatch.style.background = colour;
    return element("li", {}, swatch, element("span", {}, label), element("span", { class: "value" }, percent(share)));
  }));
}
