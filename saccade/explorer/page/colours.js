// Perceptually uniform colours that people with a colour vision deficiency read too: inferno of matplotlib (CC0).

const STOPS = ["000004", "0b0724", "210c4a", "3d0965", "57106e", "71196e", "8a226a", "a32c61", "bc3754", "d24644",
  "e45a31", "f1731d", "f98e09", "fcac11", "f9cb35", "f2ea69", "fcffa4"];

const TABLE = new Uint8ClampedArray(256 * 3);
for (let i = 0; i < 256; i++) {
  const place = (i / 255) * (STOPS.length - 1), left = Math.min(Math.floor(place), STOPS.length - 2);
  for (let channel = 0; channel < 3; channel++) {
    const [a, b] = [left, left + 1].map((stop) => parseInt(STOPS[stop].slice(2 * channel, 2 * channel + 2), 16));
    TABLE[3 * i + channel] = a + (b - a) * (place - left);
  }
}

/**
 * Paint one value a pixel into a canvas, which gets the size of the grid.
 * @param values rows * columns numbers from `from` on
 * @param max the value of the last colour
 * @param style "opaque"; "veil" lets an image below shine through where there is little; "light" darkens it there
 */
export function paint(canvas, values, from, [rows, columns], max, style = "opaque") {
  if (canvas.width !== columns || canvas.height !== rows) { canvas.width = columns; canvas.height = rows; }
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    const level = Math.min(255, Math.round(max > 0 ? (255 * values[from + i]) / max : 0));
    if (style === "light") {
      image.data[4 * i + 3] = 255 - level;
    } else {
      for (let channel = 0; channel < 3; channel++) image.data[4 * i + channel] = TABLE[3 * level + channel];
      image.data[4 * i + 3] = style === "veil" ? 255 * (0.5 + 0.5 * Math.sqrt(level / 255)) : 255;
    }
  }
  context.putImageData(image, 0, 0);
}

/** The scale itself, from 0 on the left to the maximum on the right. */
export function paintRamp(canvas, style) {
  paint(canvas, Float32Array.from({ length: 256 }, (_, i) => i), 0, [1, 256], 255, style);
}
