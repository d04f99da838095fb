// Which cameras and times pass, as the fields say.

import {$} from "./messages.js";

// Fills the fields with what the gallery has.
export function showFilters(info) {
  const known = info.cameras.reduce((sum, camera) => sum + camera.images, 0);
  const chips = info.cameras.map(({camera, images}) => [camera, camera, images]);
  if (known < info.images) chips.push(["", "unknown", info.images - known]);
  $("cameras").hidden = chips.length < 2;
  $("camera-list").replaceChildren(...chips.map(([value, text, images]) => {
    const chip = document.createElement("label");
    chip.className = "chip";
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.value = value;
    const count = document.createElement("span");
    count.className = "quiet";
    count.textContent = images.toLocaleString("en");
    chip.append(box, text, count);
    return chip;
  }));
  $("times").hidden = info.first === null;
  for (const id of ["time-from", "time-to"]) {
    [$(id).min, $(id).max] = [local(info.first), local(info.last)];
  }
}

// A time in UTC as its field takes it.
function local(time) {
  return time?.slice(0, 19) ?? "";
}

// What a search asks for.
export function where() {
  const boxes = [...$("camera-list").querySelectorAll("input")];
  const ticked = boxes.filter((box) => box.checked);
  const filters = {};
  if (ticked.length < boxes.length) {
    const numbers = (some) => some.filter((box) => box.value).map((box) => box.value);
    // Images of unknown cameras pass only what names the cameras to leave out.
    if (ticked.some((box) => !box.value)) {
      filters.without_cameras = numbers(boxes.filter((box) => !box.checked));
    } else {
      filters.cameras = numbers(ticked);
    }
  }
  for (const [id, name] of [["time-from", "since"], ["time-to", "until"]]) {
    if ($(id).value) filters[name] = `${$(id).value}Z`;
  }
  return filters;
}

// What a list of the gallery asks for.
export function galleryFilters() {
  const {cameras, without_cameras: without, ...filters} = where();
  if (cameras) filters.camera = cameras.length ? cameras : [""];
  if (without) filters.without_camera = without;
  if ($("find").value.trim()) filters.name = $("find").value.trim();
  return filters;
}
