// The page: reads the address, fetches what the view needs, and draws it.

import { Beside, offerBeside, sameToken } from "./beside.js";
import { markBoxes, showBoxes, showRefinement, suppressed, tokenOfBox } from "./boxes.js";
import { changePanel, changeTool } from "./change.js";
import { $, announce, choices, element, notice } from "./controls.js";
import { buildHeads, focusSelected, markHeads, overHeads, paintHeads } from "./heads.js";
import { acceptImages, showStrip } from "./images.js";
import { listenToKeys } from "./keyboard.js";
import { byteSize, newest } from "./numbers.js";
import { markClass, showPrediction } from "./prediction.js";
import { Pane, placeOf, showLegend, showRelevance, showState } from "./stage.js";
import { applyChange, canUndo, changeQuery, forgetSteps, isChanged, noChange, readAddress, state, undoChange, writeAddress } from "./state.js";

let source = null;
let models = [], images = [];
let original = null; // the recording of the model as it is
let recording = null; // the one on show
let run = null; // its address
let hovered = null;
let beside = null;
const pane = new Pane($("frame"));

const stream = () => recording?.streams.find(({ name }) => name === state.stream) ?? recording?.streams.at(boxes().length ? -1 : 0) ?? null;
const stages = () => recording?.result?.stages ?? [];
const boxes = () => stages()[state.stage - 1] ?? recording?.result?.boxes ?? [];
const query = () => hovered ?? state.query ?? defaultQuery();
const hasRelevance = () => Boolean(source.relevance && original?.result?.top && !models.find(({ key }) => key === state.model).readsLabels);
const defaultQuery = () => (stream()?.overGrid ? recording.query : boxes()[0]?.query ?? 0);
const onBox = { hover: (box) => hover(box && tokenOfBox(stream(), box, recording.view)), choose: (box) => choose(tokenOfBox(stream(), box, recording.view)) };

/** @param from where recordings come from */
export async function start(from) {
  source = from;
  beside = new Beside(source);
  readAddress();
  wire();
  try {
    await readServer();
  } catch (error) {
    showState("error", "The page could not load", error.message);
    return;
  }
  const options = models.map(({ key, name }) => element("option", { value: key, title: name }, name.split(/[\\/]/).at(-1)));
  $("model").replaceChildren(...options);
  $("model-field").hidden = models.length < 2 && !models[0];
  await open();
}

async function readServer() {
  const answer = await source.state();
  ({ models, images } = answer);
  source.canChange = answer.canChange;
  if (!source.canChange) Object.assign(state, noChange());
  showMemory(answer);
}

function showMemory({ memory, version }) {
  const text = memory ? `${byteSize(memory.used)} of ${byteSize(memory.budget)} in memory, ${memory.recordings} ${memory.recordings === 1 ? "run" : "runs"}` : "";
  $("memory").textContent = [text, `Saccade ${version}`].filter(Boolean).join(" · ");
}

/** Show the model and the image of the state, in its change. */
const open = newest(async () => {
  if (!models.some(({ key }) => key === state.model)) state.model = models[0].key;
  $("model").value = state.model;
  if (!state.image && images.length) state.image = images[0].key;
  showStrip(images, state.image, (key) => source.thumbnail(key), openImage);
  if (!state.image) {
    original = recording = null;
    showBoxes([], null, onBox);
    showState("empty", "No image yet", "Drop one here, paste one, or press “Open image”.");
    document.body.dataset.loaded = "empty";
    return;
  }
  const key = `${state.model}/${state.image}`, change = changeQuery();
  if (original?.key !== key) showState("loading", "Running the model", "and recording what attends to what");
  $("busy").classList.add("on");
  try {
    const plain = { model: state.model, image: state.image, change: "" }, changed = { ...plain, change };
    if (original?.key !== key) original = { ...(await source.recording(plain)), key, run: plain };
    recording = change ? { ...(await source.recording(changed)), key } : original;
    run = change ? changed : original.run;
    notice("");
  } catch (error) {
    if (change && original?.key === key) notice(error.message);
    else { recording = original = null; showState("error", "This cannot be shown", error.message); }
    document.body.dataset.loaded = "error";
    return;
  } finally {
    $("busy").classList.remove("on");
  }
  for (const one of recording.streams) one.size = recording.size;
  const name = images.find((image) => image.key === state.image)?.name ?? "the image";
  pane.showImage(source.shown(original.run), recording, name);
  document.title = `${name} · Saccade look`;
  clampState();
  await predict();
  showBoxes(boxes(), recording.view, onBox);
  showState("ready");
  draw();
  await openBeside();
  readServer().catch(() => {});
});

/** The prediction: of the model itself, or of the labels that are typed. */
async function predict() {
  const reads = models.find(({ key }) => key === state.model).readsLabels && source.labels;
  $("labels-form").hidden = !reads;
  if (document.activeElement !== $("labels")) $("labels").value = state.labels;
  let [before, after] = [original.result, run === original.run ? null : recording.result];
  if (reads && state.labels.trim()) {
    try {
      const at = run;
      before = await source.labels(original.run, state.labels);
      after = at === original.run ? null : await source.labels(at, state.labels);
    } catch (error) {
      notice(error.message);
    }
  }
  if (before?.boxes && state.stage) [before, after] = [original, run === original.run ? null : recording].map((each) => each && { boxes: each.result.stages[state.stage - 1] });
  showRefinement(stages().length, state);
  showPrediction(before, after, recording.drawn ? [original.run, run].map((at) => source.drawn(at)) : [], onBox, hasRelevance() ? (label) => set({ label, show: state.show === "relevance" && state.label === label ? "head" : "relevance" }) : null);
  markClass(state.show === "relevance" ? state.label : null);
}

/** Show what stands beside the first image, if anything does. */
async function openBeside() {
  offerBeside(models, images);
  const image = images.find(({ key }) => key === state.beside.split("/")[1]);
  await beside.open(image?.name ?? "", changeQuery());
  if (recording) draw();
}

/** Bring layer, head and query into the ranges of this model. */
function clampState() {
  const { layers, overGrid, queries, prefix } = stream();
  if (!Number.isInteger(state.layer) || state.layer < 0 || state.layer >= layers.length) state.layer = layers.length - 1;
  const { heads } = layers[state.layer];
  if (!Number.isInteger(state.head) || state.head < 0 || state.head >= heads) state.head = 0;
  if (!Number.isInteger(state.stage) || state.stage < 0 || state.stage > stages().length) state.stage = 0;
  const known = state.query === null || (Number.isInteger(state.query) && state.query < queries) || (state.query === "mean" && overGrid);
  if (!known || state.query === defaultQuery()) state.query = null;
  if (state.show === "rollout" && !overGrid) state.show = "head";
  if (state.show === "relevance" && !(hasRelevance() && overGrid)) state.show = "head";
  if (state.show === "relevance" && !original.result.top.some(({ label }) => label === state.label)) state.label = original.result.top[0].label;
  state.tokens = prefix.length;
}

/** Draw everything that depends on the state but needs no other run. */
function draw() {
  if (!recording) return;
  writeAddress();
  const current = stream(), { heads } = current.layers[state.layer];
  choices($("stream"), recording.streams.map(({ name }) => [name, name === "self" ? "patches" : "object queries"]), current.name,
    (name) => set({ stream: name, layer: -1, query: null }));
  $("stream").hidden = recording.streams.length < 2;
  const named = [...current.prefix.map((name, token) => [token, name]), ...(current.overGrid ? [["mean", "mean"]] : [])];
  choices($("query"), named, query(), (token) => set({ query: token }));
  $("query").hidden = named.length === 0;
  const ways = [["head", "head", "one head"], ["mean", "mean", "the mean of the heads of this layer"], ["max", "max", "the maximum over the heads of this layer"]];
  if (current.overGrid) ways.push(["rollout", "rollout", "attention rollout through all layers"]);
  if (hasRelevance() && current.overGrid) ways.push(["relevance", "relevance", "relevance of the patches for a class"]);
  choices($("show"), ways, state.show, (show) => set({ show }));
  choices($("paint"), [["colour", "colour"], ["light", "light"], ["off", "off"]], state.paint, (value) => set({ paint: value }));
  choices($("scale"), [["own", "each map to its maximum"], ["shared", "one scale for all"]], state.scale, (scale) => set({ scale }));
  $("opacity").value = state.opacity;
  const title = state.show === "rollout" ? "Rollout of all layers" : state.show === "relevance" ? `Relevance for ${state.label}` : `Layer ${state.layer + 1} of ${current.layers.length}, ${state.show === "head" ? `head ${state.head + 1} of ${heads}` : `${state.show} of ${heads} heads`}`;
  $("heads-note").textContent = title;
  drawSwitch(current);
  buildHeads(current, { head: chooseHead, mean: (layer) => set({ layer, show: "mean" }), block: chooseBlock });
  markHeads(current);
  markClass(state.show === "relevance" ? state.label : null);
  focusSelected();
  if (source.canChange) changePanel(stream(), change, { undo: canUndo(), changed: isChanged(), masks: models.find(({ key }) => key === state.model).masksPatches });
  refresh();
}

/** The button that switches the selected head, or the block of the selected layer, off and on. */
function drawSwitch(current) {
  const { index, block } = current.layers[state.layer], whole = isWhole(), one = state.show === "head";
  const off = one ? state.heads.includes(`${index}.${state.head}`) : state.blocks.includes(block);
  $("switch").hidden = $("key-off").hidden = !source.canChange || whole || (!one && block === null);
  $("switch").textContent = `Switch this ${one ? "head" : "block"} ${off ? "on" : "off"}`;
}

/** Fetch and draw the row of the query, then the maps of all heads. */
function refresh() {
  pane.drawMarks(stream(), state.show === "relevance" ? "mean" : query(), state.hide);
  if (beside.recording) beside.refresh(stream(), query());
  $("boxes").classList.toggle("through", stream().overGrid || changeTool() === "hide");
  markBoxes(boxes(), (box) => tokenOfBox(stream(), box, recording.view) === query(), state.nms ? suppressed(boxes()) : []);
  refreshRow();
  clearTimeout(refresh.timer);
  refresh.timer = setTimeout(refreshGrid, hovered === null ? 0 : 90);
}

const refreshRow = newest(async () => {
  const [current, token, at] = [stream(), query(), run];
  const { heads } = current.layers[state.layer];
  try {
    let row;
    if (state.show === "relevance") {
      const { label } = state, values = await source.relevance(at, label);
      if (at !== run || state.label !== label) return;
      row = new Float32Array(current.prefix.length + values.length);
      row.set(values, current.prefix.length);
      pane.showRow(current, row);
      showRelevance(current, row, label);
      document.body.dataset.loaded = "ready";
      $("frame").dataset.query = `relevance ${label}`;
      return;
    }
    if (state.show === "rollout") {
      row = await source.rollout(at, current, token);
    } else {
      const rows = await source.layer(at, current, state.layer, token), keys = rows.length / heads;
      row = state.show === "head" ? rows.subarray(state.head * keys, (state.head + 1) * keys) : overHeads(rows, heads, state.show);
    }
    if (at !== run) return;
    pane.showRow(current, row);
    showLegend(current, row, token);
    document.body.dataset.loaded = "ready";
    $("frame").dataset.query = token;
  } catch (error) {
    notice(error.message);
  }
});

const refreshGrid = newest(async () => {
  const [current, token, at] = [stream(), query(), run];
  try {
    const values = await source.grid(at, current, token);
    if (at === run) paintHeads(current, values);
  } catch (error) {
    notice(error.message);
  }
});

function set(values) {
  Object.assign(state, values);
  clampState();
  draw();
}

function change(values) {
  if (!source.canChange) return;
  if (values === "undo") undoChange();
  else applyChange(values === "reset" ? noChange() : values);
  draw();
  open();
}

const toggled = (list, item) => (list.includes(item) ? list.filter((other) => other !== item) : [...list, item]);
const toggleHead = (layer, head) => change({ heads: toggled(state.heads, `${stream().layers[layer].index}.${head}`) });

function toggleBlock(layer) {
  const { block } = stream().layers[layer];
  if (block !== null) change({ blocks: toggled(state.blocks, block) });
}

function chooseHead(layer, head) {
  if (changeTool() === "off") toggleHead(layer, head);
  else set({ layer, head, show: state.show === "max" ? "max" : "head" });
}

const isWhole = () => ["rollout", "relevance"].includes(state.show); // of all layers together

function chooseBlock(layer) {
  if (changeTool() === "off") toggleBlock(layer);
  else set({ layer, show: isWhole() ? "head" : state.show });
}

function openImage(key) {
  Object.assign(state, { image: key, query: null }, noChange());
  forgetSteps();
  hovered = null;
  open();
}

async function addImage(file) {
  notice("");
  $("busy").classList.add("on");
  try {
    const { key } = await source.upload(file);
    await readServer();
    openImage(key);
  } catch (error) {
    notice(error.message.startsWith(file.name) ? error.message : `${file.name}: ${error.message}`);
  } finally {
    $("busy").classList.remove("on");
  }
}

function hover(token) {
  if (hovered === token || !recording) return;
  hovered = token;
  refresh();
}

function choose(token) {
  hovered = null;
  set({ query: state.query === token ? null : token });
}

function movePatch(rows, columns) {
  const current = stream();
  if (!current?.overGrid) return;
  const [row, column] = placeOf(current, query()) ?? [-1, 0].map(() => 0);
  const [height, width] = current.grid;
  const next = [Math.min(Math.max(row + rows, 0), height - 1), Math.min(Math.max(column + columns, 0), width - 1)];
  hovered = null;
  set({ query: current.prefix.length + next[0] * width + next[1] });
}

function moveLayerHead(layers, heads) {
  if (!recording) return;
  const all = stream().layers, layer = Math.min(Math.max(state.layer + layers, 0), all.length - 1);
  const head = Math.min(Math.max(state.head + heads, 0), all[layer].heads - 1);
  set({ layer, head, show: heads || isWhole() ? "head" : state.show });
  announce($("heads-note").textContent);
}

function toggle(what) {
  if (!recording || !source.canChange) return;
  const patch = placeOf(stream(), query());
  if (what === "head") toggleHead(state.layer, state.head);
  else if (what === "block") toggleBlock(state.layer);
  else if (patch) change({ hide: toggled(state.hide, patch[0] * stream().grid[1] + patch[1]) });
}

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
    if (recording) predict();
  });
  $("switch").addEventListener("click", () => toggle(state.show === "head" ? "head" : "block"));
  $("decoder-layer").addEventListener("input", async () => {
    const number = Number($("decoder-layer").value), last = stages().length + 1;
    state.stage = number === last ? 0 : number;
    await predict();
    showBoxes(boxes(), recording.view, onBox);
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
  pane.follow(stream, { hover, brush, tool: changeTool, choose });
  const linked = (token) => (token === null ? null : sameToken(beside.stream(stream()), stream(), token, defaultQuery()));
  beside.pane.follow(() => beside.stream(stream()), { hover: (token) => hover(linked(token)), choose: (token) => choose(linked(token)), brush, tool: () => "look" });
  $("beside").addEventListener("change", () => { state.beside = $("beside").value; openBeside(); });
  if (source.canUpload) acceptImages(addImage);
  else $("open").hidden = true;
  listenToKeys({ layerHead: moveLayerHead, patch: movePatch, release: () => { hovered = null; if (recording) set({ query: null }); }, undo: () => change("undo"), toggle });
  new ResizeObserver(() => { if (recording) { pane.drawMarks(stream(), query(), state.hide); if (beside.recording) beside.refresh(stream(), query()); } }).observe($("frame"));
  addEventListener("hashchange", () => { readAddress(); hovered = null; forgetSteps(); open(); });
}
