// Images of the page: the strip, and new ones by choosing, dropping, pasting or the camera.

import { $, element, notice } from "./controls.js";

/** The strip of images; `choose(key)` is called with the one that is pressed. */
export function showStrip(images, selected, thumbnail, choose) {
  $("strip").replaceChildren(...images.map(({ key, name }) => element("button",
    { type: "button", class: "thumb", title: name, "aria-label": name, "aria-pressed": String(key === selected), onclick: () => choose(key) },
    element("img", { src: thumbnail(key), alt: "", loading: "lazy", width: "40", height: "40" }))));
  $("strip").hidden = images.length === 0;
}

/** New images by every way there is. `add(file)` opens one. */
export function acceptImages(add) {
  $("open").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    const [file] = $("file").files;
    if (file) add(file);
    $("file").value = "";
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (file) add(file);
  });
  let depth = 0;
  const carriesFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => { if (carriesFile(event)) { depth++; $("dropzone").hidden = false; } });
  addEventListener("dragleave", (event) => { if (carriesFile(event) && --depth <= 0) $("dropzone").hidden = true; });
  addEventListener("dragover", (event) => { if (carriesFile(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    if (!carriesFile(event)) return;
    event.preventDefault();
    depth = 0;
    $("dropzone").hidden = true;
    const [file] = event.dataTransfer.files;
    if (file) add(file);
  });
  offerCamera(add);
}

async function offerCamera(add) {
  const media = navigator.mediaDevices;
  if (!media?.enumerateDevices) return;
  const devices = await media.enumerateDevices().catch(() => []);
  $("camera").hidden = !devices.some((device) => device.kind === "videoinput");
  $("camera").addEventListener("click", async () => {
    try {
      add(await photograph(media));
    } catch {
      notice("The camera cannot be used: the browser or the system refuses it.");
    }
  });
}

/** One frame of the camera as a file. */
async function photograph(media) {
  const stream = await media.getUserMedia({ video: true });
  try {
    const video = element("video", { muted: true, playsinline: true });
    video.srcObject = stream;
    await video.play();
    await new Promise((resolve) => setTimeout(resolve, 400)); // the first frames are dark
    const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    return new File([blob], "camera.jpg", { type: "image/jpeg" });
  } finally {
    for (const track of stream.getTracks()) track.stop();
  }
}
