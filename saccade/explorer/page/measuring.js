// Measurements that take long: choosing the images, starting, progress, stopping.

import { choices, element } from "./controls.js";
import { state, writeAddress } from "./state.js";
import { view } from "./view.js";

const PAUSE = 400; // milliseconds between two looks at the progress
let polling = 0;

/** How many images the page has, texts left out. */
export const pictureCount = () => view.images.filter(({ kind }) => kind !== "text").length;

/**
 * The newest measurement of a kind of a model on the images that are chosen, or null; and its controls.
 * @param on again() draws the tab anew; current() is whether it is still on show
 */
export async function measurement(model, kind, on) {
  const count = pictureCount();
  const { measurements } = await view.source.measurements();
  const running = measurements.find((one) => one.state === "running");
  const where = view.data && (state.measure === "data" || count === 0) ? "data" : "here";
  const mine = measurements.filter(({ key }) => key.model === model.key && key.kind === kind && key.images === where).at(-1) ?? null;
  const controls = element("div", { class: "measuring" });
  if (view.data) {
    const field = element("fieldset", { id: `images-${kind}` }, element("legend", {}, "Images"));
    choices(field, [["here", `the ${count} on this page`], ["data", view.data.split(/[\\/]/).at(-1)]], where, (value) => { state.measure = value; writeAddress(); on.again(); });
    controls.append(field);
  }
  const limit = element("input", { type: "number", min: 2, max: 10000, value: mine?.key.limit ?? 200, "aria-label": "Images at most" });
  if (where === "data") controls.append(element("label", { class: "field" }, "at most ", limit, " images"));
  const act = async (call) => {
    await call().catch((error) => { problem.textContent = error.message; });
    on.again();
  };
  const problem = element("p", { class: "nothing", role: "alert" });
  if (running) {
    const same = running === mine;
    const bar = element("progress", { max: Math.max(running.total, 1), "aria-label": "Progress" });
    if (running.total) bar.value = running.done;
    controls.append(bar, element("span", { class: "note", role: "status" }, `${same ? "" : "another measurement: "}${running.total ? `${running.done} of ${running.total}` : "starting"}`),
      element("button", { type: "button", id: "stop-measuring", onclick: () => act(() => view.source.stopMeasuring()) }, "Stop"));
    clearTimeout(polling);
    polling = setTimeout(() => { if (on.current()) on.again(); }, PAUSE);
  } else {
    controls.append(element("button", { type: "button", id: "start-measuring", disabled: where === "here" && count === 0,
      onclick: () => act(() => view.source.measure(model, kind, where, Number(limit.value))) }, mine?.result ? "Measure again" : "Measure"));
  }
  if (mine?.state === "stopped") controls.append(element("p", { class: "note" }, "Stopped."));
  if (mine?.state === "failed") problem.textContent = mine.error;
  controls.append(problem);
  return { result: mine?.result ?? null, controls, where };
}
