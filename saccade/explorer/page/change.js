// "Change it": hide patches, switch heads and blocks off, turn the temperature.

import { $, choices, element } from "./controls.js";
import { state } from "./state.js";

let tool = "look", panelBuilt = false;

/** What a click does: "look", "hide" (patches) or "off" (heads and blocks). */
export const changeTool = () => tool;

export function toggleHidden(hide, patch) {
  return hide.includes(patch) ? hide.filter((other) => other !== patch) : [...hide, patch];
}

/**
 * Draw the panel.
 * @param change called with new values of the change's parameters
 */
export function changePanel(stream, change, { undo, changed }) {
  $("change-panel").hidden = false;
  if (!panelBuilt) build(change);
  $("undo").disabled = !undo;
  $("reset").disabled = !changed;
  drawTool(stream);
  choices($("fill"), [["mask", "mask", "no token attends to them"], ["zero", "zero", "their embedding is zero"], ["mean", "mean", "their embedding is the mean patch"]],
    state.fill, (fill) => change({ fill }));
  $("fill").hidden = !stream.overGrid;
  $("temperature").value = Math.log2(state.temperature);
  $("temperature-text").textContent = state.temperature === 1 ? "1 (as trained)" : state.temperature.toFixed(2);
  $("change-list").replaceChildren(...summary().map((line) => element("li", {}, line)));
}

function build(change) {
  panelBuilt = true;
  const slider = element("input", { id: "temperature", type: "range", min: "-3", max: "3", step: "0.25", "aria-describedby": "temperature-text",
    onchange: () => change({ temperature: 2 ** Number(slider.value) }) });
  slider.addEventListener("input", () => { $("temperature-text").textContent = (2 ** Number(slider.value)).toFixed(2); });
  $("change").replaceChildren(
    element("fieldset", { id: "tool" }, element("legend", {}, "Click to")),
    element("p", { class: "note", id: "tool-note" }),
    element("fieldset", { id: "fill" }, element("legend", {}, "Hide by")),
    element("label", { class: "field slider" }, "Temperature ", slider, element("output", { id: "temperature-text" })),
    element("ul", { id: "change-list" }));
}

const NOTES = {
  look: "Hover or click patches and heads.",
  hide: "Draw over the image to hide patches, draw again to show them. Key: H.",
  off: "Click heads, or a layer’s number for the whole block. Keys: X, B.",
};

function drawTool(stream) {
  choices($("tool"), [["look", "look"], ["hide", "hide patches"], ["off", "switch off"]], tool, (value) => { tool = value; drawTool(stream); });
  $("tool-note").textContent = NOTES[tool];
  document.body.dataset.tool = tool;
}

function summary() {
  const lines = [], plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : noun.endsWith("ch") ? "es" : "s"}`;
  if (state.hide.length) lines.push(`${plural(state.hide.length, "patch")} hidden`);
  if (state.heads.length) lines.push(`${plural(state.heads.length, "head")} off: ${state.heads.map((head) => head.split(".").map((n) => +n + 1).join("·")).join(", ")}`);
  if (state.blocks.length) lines.push(`${plural(state.blocks.length, "block")} off: ${state.blocks.map((block) => block + 1).join(", ")}`);
  return lines;
}
