// Sends an image or a text to a model of this server and shows the answer. All text goes through textContent.

const $ = (id) => document.getElementById(id);
let models = [];

function headers() {
  return $("token").value ? { authorization: `Bearer ${$("token").value}` } : {};
}

async function fetchJson(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  const content = await response.json();
  if (response.status === 401) $("token-label").hidden = false;
  if (!response.ok) throw new Error(content.error ?? `status ${response.status}`);
  return content;
}

async function loadModels() {
  try {
    models = (await fetchJson("v1/models")).models;
  } catch (error) {
    return showStatus(error.message, true);
  }
  $("model").replaceChildren(...models.map(({ name }) => new Option(name, name)));
  showStatus("");
  showModel();
}

function current() {
  return models.find(({ name }) => name === $("model").value);
}

function showModel() {
  const model = current();
  const labels = model.labels.length ? `, ${model.labels.length} classes` : "";
  $("about").textContent = `${model.architecture}, ${model.task}${labels}`;
  $("images").hidden = model.inputs !== "images";
  $("texts").hidden = model.inputs !== "texts";
}

function showStatus(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

async function predict(query, options) {
  if (!current()) return;
  showStatus("…");
  const start = performance.now();
  try {
    const { drawn, ...content } = await fetchJson(`v1/models/${current().name}:predict${query}`, options);
    $("figure").hidden = !drawn;
    if (drawn) $("drawn").src = `data:image/png;base64,${drawn[0]}`;
    $("json").textContent = JSON.stringify(content.predictions[0], null, 2);
    $("json").hidden = false;
    showStatus(`${Math.round(performance.now() - start)} ms`);
  } catch (error) {
    $("figure").hidden = $("json").hidden = true;
    showStatus(error.message, true);
  }
}

function predictImage(file) {
  if (file) predict("?draw=1", { method: "POST", body: file, headers: { "content-type": "application/octet-stream" } });
}

$("model").addEventListener("change", showModel);
$("token").addEventListener("change", loadModels);
$("file").addEventListener("change", () => predictImage($("file").files[0]));
$("texts").addEventListener("submit", (event) => {
  event.preventDefault();
  const body = JSON.stringify({ instances: [$("text").value] });
  predict("", { method: "POST", body, headers: { "content-type": "application/json" } });
});
document.addEventListener("paste", (event) => predictImage(event.clipboardData.files[0]));
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") predictImage(event.dataTransfer.files[0]);
  });
}
loadModels();
