// The page: reads the address, fetches what the view needs, and draws it.

import { followAlignment } from "./alignment.js";
import { Beside, offerBeside, sameToken } from "./beside.js";
import { showBoxes, showRefinement, tokenOfBox } from "./boxes.js";
import { changePanel, changeTool } from "./change.js";
import { $, announce, choices, element, notice } from "./controls.js";
import { buildHeads, focusSelected, markHeads } from "./heads.js";
import { offerHint } from "./hint.js";
import { acceptImages, showStrip } from "./images.js";
import { listenToKeys } from "./keyboard.js";
import { addTextStreams } from "./labels.js";
import { byteSize, newest } from "./numbers.js";
import { pixelMap } from "./pixelmap.js";
import { drawnFigure, markClass, showPrediction } from "./prediction.js";
import { markImage, pane, refresh } from "./rows.js";
import { scoreMap, showScore } from "./score.js";
import { placeOf, showState } from "./stage.js";
import { applyChange, canUndo, changeQuery, forgetSteps, isChanged, noChange, readAddress, state, undoChange, writeAddress } from "./state.js";
import { buildTabs, showTab } from "./tabs.js";
import { buildTaps } from "./taps.js";
import { acceptTexts, inputOf } from "./texts.js";
import { buildStrips } from "./tokens.js";
import { boxes, clampState, currentModel, defaultQuery, hasBoxes, hasRelevance, headBeside, imageStream, isWhole, patchBeside, query, showTitle, stages, stream, toggled, view } from "./view.js";

const onBox = { hover: (box) => hover(box && tokenOfBox(stream(), box, view.recording.view)), choose: (box) => choose(tokenOfBox(stream(), box, view.recording.view)) };

const onTab = {
  look: () => { if (view.recording) draw(); },
  head: (layer, head, name) => lookAt(view.recording?.streams.find((each) => (name ? each.name === name : each.overGrid)), layer, head),
  headByPath: (path, head) => {
    const among = (each) => each.layers.findIndex((layer) => layer.path.split(":")[0] === path);
    const other = view.recording?.streams.find((each) => among(each) >= 0);
    lookAt(other, other ? among(other) : 0, head);
  },
};

/** Go from a tab to a head over the image. */
function lookAt(chosen, layer, head) {
  state.tab = "";
  if (chosen) set({ stream: chosen.name, layer, head, show: "head", query: null });
  showTab(onTab);
  $("stage").focus();
}

/** @param from where recordings come from */
export async function start(from) {
  view.source = from;
  view.beside = new Beside(view.source);
  readAddress();
  wire();
  try {
    await readServer();
  } catch (error) {
    showState("error", "The page could not load", error.message);
    return;
  }
  const options = view.models.map(({ key, name }) => element("option", { value: key, title: name }, name.split(/[\\/]/).at(-1)));
  $("model").replaceChildren(...options);
  $("model-field").hidden = view.models.length < 2 && !view.models[0];
  buildTabs(onTab);
  offerHint(view.source.canChange);
  await open();
}

async function readServer() {
  const answer = await view.source.state();
  Object.assign(view, { models: answer.models, images: answer.images, data: answer.data ?? "" });
  view.source.canChange = answer.canChange;
  if (!view.source.canChange) Object.assign(state, noChange());
  showMemory(answer);
}

function showMemory({ memory, version }) {
  const text = memory ? `${byteSize(memory.used)} of ${byteSize(memory.budget)} in memory, ${memory.recordings} ${memory.recordings === 1 ? "run" : "runs"}` : "";
  $("memory").textContent = [text, `Saccade ${version}`].filter(Boolean).join(" · ");
}

/** Show the model and the image of the state, in its change. */
const open = newest(async () => {
  if (!view.models.some(({ key }) => key === state.model)) state.model = view.models[0].key;
  const pictures = view.images.filter(({ kind }) => kind !== "text");
  if (!state.image && pictures.length) Object.assign(state, { image: pictures[0].key, model: pictures[0].model || state.model });
  $("model").value = state.model;
  showStrip(pictures, state.image, (key) => view.source.thumbnail(key), openImage);
  const { readsTexts } = currentModel(), input = await inputOf(view.source, currentModel(), view.images).catch((error) => notice(error.message));
  view.input = input ?? null;
  showTab(onTab);
  if (!input) {
    view.original = view.recording = null;
    showBoxes([], null, onBox);
    if (readsTexts) showState("empty", "No text yet", "Type one above and press Enter.");
    else showState("empty", "No image yet", "Drop one here, paste one, or press “Open image”.");
    document.body.dataset.loaded = "empty";
    return;
  }
  const key = `${state.model}/${input}`, change = changeQuery();
  if (view.original?.key !== key) showState("loading", "Running the model", "and recording what attends to what");
  $("busy").classList.add("on");
  try {
    const plain = { model: state.model, image: input, change: "" }, changed = { ...plain, change };
    if (view.original?.key !== key) view.original = { ...(await view.source.recording(plain)), key, run: plain };
    view.recording = change ? { ...(await view.source.recording(changed)), key } : view.original;
    view.run = change ? changed : view.original.run;
    notice("");
  } catch (error) {
    if (change && view.original?.key === key) notice(error.message);
    else { view.recording = view.original = null; showState("error", "The input cannot be shown", error.message); }
    document.body.dataset.loaded = "error";
    return;
  } finally {
    $("busy").classList.remove("on");
  }
  for (const one of view.recording.streams) one.size = view.recording.size;
  const name = readsTexts ? state.text : view.images.find((image) => image.key === state.image)?.name ?? "the image";
  if (!readsTexts) pane.showImage(view.source.shown(view.original.run), view.recording, name);
  document.title = `${name} · Saccade look`;
  await addTextStreams();
  clampState();
  await predict();
  showBoxes(boxes(), view.recording.view, onBox);
  showState("ready");
  draw();
  await openBeside();
  readServer().catch(() => {});
});

/** The prediction: of the model itself, or of the labels that are typed. */
async function predict() {
  const reads = currentModel().readsLabels && view.source.labels;
  $("labels-form").hidden = !reads;
  if (reads && view.source.recordedLabels) Object.assign(state, { labels: view.source.recordedLabels(view.original.run) });
  $("labels").readOnly = !view.source.canChange;
  if (document.activeElement !== $("labels")) $("labels").value = state.labels;
  let [before, after] = [reads ? null : view.original.result, reads || view.run === view.original.run ? null : view.recording.result];
  if (reads && state.labels.trim()) {
    try {
      const at = view.run;
      before = await view.source.labels(view.original.run, state.labels);
      after = at === view.original.run ? null : await view.source.labels(at, state.labels);
    } catch (error) {
      notice(error.message);
    }
  }
  if (before?.boxes && state.stage) [before, after] = [view.original, view.run === view.original.run ? null : view.recording].map((each) => each && { boxes: each.result.stages[state.stage - 1] });
  showRefinement(stages().length, state);
  showPrediction(before, after, view.recording.drawn ? [[view.original, view.original.run], [view.recording, view.run]].map(([one, at]) => drawnPicture(one, at)) : [], onBox, hasRelevance() ? chooseClass : null);
  markClass(state.show === "relevance" ? state.label : null);
}

/** The drawn result of a recording, as a function of its title. */
function drawnPicture(recording, at) {
  const address = view.source.drawn(at);
  if (!recording.pixelMap) return (title) => drawnFigure(address, title);
  return (title) => pixelMap(recording, address, title, () => view.source.values(at), { choose, stream });
}

/** Show the relevance of a class, or of a label with the attention within its text. */
async function chooseClass(label) {
  const again = state.show === "relevance" && state.label === label;
  Object.assign(state, { label, show: again ? "head" : "relevance" });
  await addTextStreams();
  set(stream().overGrid ? {} : { stream: "", layer: -1, query: null, show: again ? "head" : "relevance" });
}

/** Show what stands beside the first image, if anything does. */
async function openBeside() {
  if (currentModel().readsTexts) state.beside = "";
  offerBeside(view.models.filter(({ readsTexts }) => !readsTexts), view.images.filter(({ kind }) => kind !== "text"));
  const image = view.images.find(({ key }) => key === state.beside.split("/")[1]);
  await view.beside.open(image?.name ?? "", changeQuery());
  if (view.recording) draw();
}

/** Draw everything that depends on the state but needs no other run. */
function draw() {
  if (!view.recording) return;
  writeAddress();
  const current = stream();
  choices($("stream"), view.recording.streams.map(({ name, title }) => [name, title]), current.name,
    (name) => set({ stream: name, layer: -1, query: null }));
  $("stream").hidden = view.recording.streams.length < 2;
  const named = [...current.prefix.map((name, token) => [token, name]), ...(current.isSelf ? [["mean", "mean"]] : [])];
  choices($("query"), named, query(), (token) => set({ query: token }));
  $("query").hidden = named.length === 0;
  const ways = [["head", "head", "one head"], ["mean", "mean", "the mean of the heads of this layer"], ["max", "max", "the maximum over the heads of this layer"]];
  if (current.isSelf) ways.push(["rollout", "rollout", "attention rollout through all layers"]);
  if (hasRelevance() && current.overGrid) ways.push(["relevance", "relevance", "relevance of the patches for a class"]);
  choices($("show"), ways, state.show, (show) => set({ show }));
  choices($("paint"), [["colour", "colour"], ["light", "light"], ["off", "off"]], state.paint, (value) => set({ paint: value }));
  choices($("scale"), [["own", "each map to its maximum"], ["shared", "one scale for all"]], state.scale, (scale) => set({ scale }));
  $("opacity").value = state.opacity;
  $("heads-note").textContent = showTitle();
  drawSwitch(current);
  $("label-pair").hidden = state.show !== "relevance" || !currentModel().readsLabels;
  buildStrips(current, { boxes: hasBoxes(), hideable: currentModel().readsTexts && view.source.canChange }, { hover, choose, hide: hideToken });
  buildTaps(current, (layer) => set({ layer, show: "mean" }));
  buildHeads(current, { head: chooseHead, mean: (layer) => set({ layer, show: "mean" }), block: chooseBlock });
  markHeads(current);
  markClass(state.show === "relevance" ? state.label : null);
  focusSelected();
  showScore();
  if (view.source.canChange) changePanel(stream(), change, { undo: canUndo(), changed: isChanged(), model: currentModel() });
  refresh();
}

/** The button that switches the selected head, or the block of the selected layer, off and on. */
function drawSwitch(current) {
  const { index, block } = current.layers[state.layer], whole = isWhole(), one = state.show === "head";
  const off = one ? state.heads.includes(`${index}.${state.head}`) : state.blocks.includes(block);
  $("switch").hidden = $("key-off").hidden = !view.source.canChange || whole || (!one && block === null);
  $("switch").textContent = `Switch this ${one ? "head" : "block"} ${off ? "on" : "off"}`;
}

function set(values) {
  Object.assign(state, values);
  clampState();
  draw();
}

function change(values) {
  if (!view.source.canChange) return;
  if (values === "undo") undoChange();
  else applyChange(values === "reset" ? noChange() : values);
  draw();
  open();
}

const toggleHead = (layer, head) => change({ heads: toggled(state.heads, `${stream().layers[layer].index}.${head}`) });

function toggleBlock(layer) {
  const { block } = stream().layers[layer];
  if (block !== null) change({ blocks: toggled(state.blocks, block) });
}

function chooseHead(layer, head) {
  if (changeTool() === "off") toggleHead(layer, head);
  else set({ layer, head, show: state.show === "max" ? "max" : "head" });
}

function chooseBlock(layer) {
  if (changeTool() === "off") toggleBlock(layer);
  else set({ layer, show: isWhole() ? "head" : state.show });
}

function openImage(key) {
  const { model } = view.images.find((image) => image.key === key) ?? {};
  if (model && model !== state.model) Object.assign(state, { model, layer: -1 });
  Object.assign(state, { image: key, query: null }, noChange());
  forgetSteps();
  view.hovered = null;
  open();
}

async function addImage(file) {
  notice("");
  $("busy").classList.add("on");
  try {
    const { key } = await view.source.upload(file);
    await readServer();
    openImage(key);
  } catch (error) {
    notice(error.message.startsWith(file.name) ? error.message : `${file.name}: ${error.message}`);
  } finally {
    $("busy").classList.remove("on");
  }
}

function hover(token) {
  if (view.hovered === token || !view.recording) return;
  view.hovered = token;
  refresh();
}

function choose(token) {
  view.hovered = null;
  set({ query: state.query === token ? null : token });
}

function movePatch(rows, columns) {
  const token = patchBeside(rows, columns);
  if (token === null) return;
  view.hovered = null;
  set({ query: token });
}

function moveLayerHead(layers, heads) {
  if (!view.recording) return;
  set({ ...headBeside(layers, heads), show: heads || isWhole() ? "head" : state.show });
  announce($("heads-note").textContent);
}

function toggle(what) {
  if (!view.recording || !view.source.canChange) return;
  const patch = placeOf(stream(), query());
  if (what === "head") toggleHead(state.layer, state.head);
  else if (what === "block") toggleBlock(state.layer);
  else if (currentModel().readsTexts && stream().queryAxis.kind === "input" && Number.isInteger(query())) hideToken(query());
  else if (patch) change({ hide: toggled(state.hide, patch[0] * stream().grid[1] + patch[1]) });
}

const hideToken = (token) => change({ hide: toggled(state.hide, token) });

let brushHides = true;
function brush(patch, begins) {
  if (begins) brushHides = !state.hide.includes(patch);
  if (state.hide.includes(patch) === brushHides) return;
  const hide = brushHides ? [...state.hide, patch] : state.hide.filter((other) => other !== patch);
  if (begins) change({ hide });
  else { state.hide = hide; draw(); open(); }
}

function wire() {
  $("model").addEventListener("change", () => { Object.assign(state, { model: $("model").value, layer: -1, query: null }, noChange()); forgetSteps(); open(); });
  $("opacity").addEventListener("input", () => set({ opacity: Number($("opacity").value) }));
  $("labels-form").addEventListener("submit", (event) => {
    event.preventDefault();
    state.labels = $("labels").value;
    writeAddress();
    if (view.recording) addTextStreams().then(predict).then(() => set({}));
  });
  $("switch").addEventListener("click", () => toggle(state.show === "head" ? "head" : "block"));
  $("decoder-layer").addEventListener("input", async () => {
    const number = Number($("decoder-layer").value), last = stages().length + 1;
    state.stage = number === last ? 0 : number;
    await predict();
    showBoxes(boxes(), view.recording.view, onBox);
    set(stream().overGrid || stream().layers.length !== last ? {} : { layer: number - 1 });
  });
  $("suppression").addEventListener("change", () => set({ nms: $("suppression").checked ? "marked" : "" }));
  $("undo").addEventListener("click", () => change("undo"));
  $("reset").addEventListener("click", () => change("reset"));
  $("notice").querySelector("button").addEventListener("click", () => notice(""));
  $("skip").addEventListener("click", (event) => { event.preventDefault(); $("stage").focus(); });
  $("theme").addEventListener("click", () => {
    const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  followAlignment({ hover, choose });
  acceptTexts(() => { state.query = null; Object.assign(state, noChange()); forgetSteps(); open(); });
  const onPatch = (call) => (token) => { if (stream()?.overImage) call(token); };
  pane.follow(imageStream, { hover: onPatch(hover), brush, tool: changeTool, choose: onPatch(choose) });
  const linked = (token) => (token === null ? null : sameToken(view.beside.stream(stream()), stream(), token, defaultQuery()));
  view.beside.pane.follow(() => view.beside.stream(stream()), { hover: (token) => hover(linked(token)), choose: (token) => choose(linked(token)), brush, tool: () => "look" });
  $("beside").addEventListener("change", () => { state.beside = $("beside").value; openBeside(); });
  if (view.source.canUpload) acceptImages(addImage);
  else $("open").hidden = true;
  $("score").addEventListener("click", scoreMap);
  listenToKeys({ away: () => state.tab !== "", layerHead: moveLayerHead, patch: movePatch, release: () => { view.hovered = null; if (view.recording) set({ query: null }); }, undo: () => change("undo"), toggle });
  new ResizeObserver(() => { if (view.recording) { markImage(); if (view.beside.recording) view.beside.refresh(stream(), query()); } }).observe($("frame"));
  addEventListener("hashchange", () => { readAddress(); view.hovered = null; forgetSteps(); open(); });
}
