// "Interventions": hide patches, switch heads and blocks off, turn the temperature.

import { $, choices, element } from "./controls.js";
import { state } from "./state.js";

const PATCHES = { one: "patch", many: "patches", hide: "hide", hidden: "hidden", note: "Draw over the image to hide patches, draw again to show them. Key: H." };
const MASKED_PATCHES = { ...PATCHES, hide: "mask", hidden: "masked", note: "Draw over the image to mask patches, draw again to show them; the model reconstructs them. Key: H." };
const TOKENS = { one: "token", many: "tokens", hide: "hide", hidden: "hidden", note: "Click tokens to hide them: no token attends to them. Key: H." };
const MASKED = { one: "token", many: "tokens", hide: "mask", hidden: "masked", note: "Click tokens to mask them and see what the model fills in. Key: H." };

let tool = "look", panelBuilt = false, words = PATCHES;

/** What a click does: "look", "hide" (patches) or "off" (heads and blocks). */
export const changeTool = () => tool;

/**
 * Draw the panel.
 * @param change called with new values of the change's parameters
 * @param facts whether there is a step to undo, whether anything is changed, and the model
 */
export function changePanel(stream, change, { undo, changed, model }) {
  words = !model.readsTexts ? (model.masksPatches && state.fill === "drop" ? MASKED_PATCHES : PATCHES) : model.masksTokens ? MASKED : TOKENS;
  $("change-panel").hidden = false;
  if (!panelBuilt) build(change);
  $("undo").disabled = !undo;
  $("reset").disabled = !changed;
  drawTool(stream);
  choices($("fill"), model.masksPatches ? [MASK, ...FILLS.slice(1)] : FILLS, state.fill, (fill) => change({ fill }));
  $("fill").hidden = model.readsTexts; // tokens have no pixels
  $("temperature").value = Math.log2(state.temperature);
  $("temperature-text").textContent = state.temperature === 1 ? "1 (as trained)" : state.temperature.toFixed(2);
  $("change-list").replaceChildren(...summary(stream).map((line) => element("li", {}, line)));
}

function build(change) {
  panelBuilt = true;
  const slider = element("input", { id: "temperature", type: "range", min: "-3", max: "3", step: "0.25", "aria-describedby": "temperature-text",
    onchange: () => change({ temperature: 2 ** Number(slider.value) }) });
  slider.addEventListener("input", () => { $("temperature-text").textContent = (2 ** Number(slider.value)).toFixed(2); });
  $("change").replaceChildren(
    element("fieldset", { id: "tool" }, element("legend", {}, "Click to")),
    element("p", { class: "note", id: "tool-note" }),
    element("fieldset", { id: "fill" }, element("legend", {}, "Hiding method")),
    element("label", { class: "field slider" }, "Temperature ", slider, element("output", { id: "temperature-text" })),
    element("ul", { id: "change-list" }));
}

const FILLS = [["drop", "drop", "no token attends to them, as if they were not there"], ["zero", "zero", "their pixels get the mean colour of the training data"],
  ["mean", "mean", "their pixels get the mean colour of this image"], ["blur", "blur", "their pixels are blurred"]];

const MASK = ["drop", "mask", "the model reconstructs them, and these alone"];

const NOTES = {
  look: () => `Hover or click ${words.many} and heads.`,
  hide: () => words.note,
  off: () => "Click heads, or a layer’s number for the whole block. Keys: X, B.",
};

function drawTool(stream) {
  choices($("tool"), [["look", "look"], ["hide", `${words.hide} ${words.many}`], ["off", "switch off"]], tool, (value) => { tool = value; drawTool(stream); });
  $("tool-note").textContent = NOTES[tool]();
  document.body.dataset.tool = tool;
}

/** The number of a layer on this page: its place in the stream, or the model's own number of what lies outside of it. */
function layerNumber(stream, key, value) {
  const layer = stream.layers.findIndex((each) => each[key] === value);
  return layer < 0 ? `#${value}` : layer + 1;
}

function headName(stream, name) {
  const [attention, head] = name.split(".").map(Number);
  return `layer ${layerNumber(stream, "index", attention)} head ${head + 1}`;
}

function summary(stream) {
  const lines = [], plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : noun.endsWith("ch") ? "es" : "s"}`;
  if (state.hide.length) lines.push(`${plural(state.hide.length, words.one)} ${words.hidden}`);
  if (state.heads.length) lines.push(`${plural(state.heads.length, "head")} off: ${state.heads.map((head) => headName(stream, head)).join(", ")}`);
  if (state.blocks.length) lines.push(`${plural(state.blocks.length, "block")} off: ${state.blocks.map((block) => layerNumber(stream, "block", block)).join(", ")}`);
  return lines;
}
