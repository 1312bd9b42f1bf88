// Object queries among themselves: how much the query on show attends to that of every box.

import { percent, total } from "./numbers.js";

/** Whether the keys of a stream are the queries behind the boxes. */
export const isCompetition = (stream, hasBoxes) => hasBoxes && !stream.overImage && stream.isSelf;

/** Write the weight of each box's query to the box and to its row in the list; without a row take it away. */
export function paintCompetition(boxes, row) {
  for (const part of document.querySelectorAll("[data-box]")) {
    const box = boxes[part.dataset.box];
    if (row && box) part.dataset.weight = percent(row[box.query]);
    else delete part.dataset.weight;
    part.style.setProperty("--w", row && box ? row[box.query] / row.reduce((a, b) => Math.max(a, b), 0) : 0);
  }
}

/** The share of the attention that goes to queries with a box, in words. */
export function competitionText(boxes, row) {
  const inside = boxes.reduce((sum, box) => sum + row[box.query], 0);
  return `To queries with a box ${percent(inside)}, to queries without one ${percent(total(row) - inside)}.`;
}
