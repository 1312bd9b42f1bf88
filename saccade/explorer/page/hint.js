// What a person does first: told once, until it is closed.

import { $ } from "./controls.js";

const KEY = "saccade-hint-closed";

/** The browser's memory of closed hints; null where a page has none, as in a notebook's frame. */
function storage() {
  try { return window.localStorage; } catch { return null; }
}

/** @param canChange whether the model can be run again */
export function offerHint(canChange) {
  $("hint-change").hidden = !canChange;
  $("hint").hidden = storage()?.getItem(KEY) === "yes";
  $("hint-close").addEventListener("click", () => {
    $("hint").hidden = true;
    try { storage()?.setItem(KEY, "yes"); } catch { /* a full or forbidden memory: the hint comes again */ }
    $("stage").focus();
  });
}
