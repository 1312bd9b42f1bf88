// Keys: arrows change layer and head, W A S D the patch, Escape returns to the default query.

const MOVES = { w: [-1, 0], s: [1, 0], a: [0, -1], d: [0, 1] };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @param on layerHead(layers, heads), patch(rows, columns), release(), undo(), toggle("head" | "block" | "patch"), away() -> whether keys are for something else */
export function listenToKeys(on) {
  addEventListener("keydown", (event) => {
    const { target } = event;
    if (on.away() || target.closest("select, textarea, input:not([type=radio]):not([type=checkbox])") || event.altKey) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !event.shiftKey) {
      event.preventDefault();
      on.undo();
      return;
    }
    if (event.ctrlKey || event.metaKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key in ARROWS && target.type !== "radio") {
      event.preventDefault();
      on.layerHead(...ARROWS[key]);
    } else if (key in MOVES) {
      on.patch(...MOVES[key]);
    } else if (key === "Escape") {
      on.release();
    } else if (key === "x") {
      on.toggle("head");
    } else if (key === "b") {
      on.toggle("block");
    } else if (key === "h") {
      on.toggle("patch");
    }
  });
}
