// Rows of the small lists beside the query: its images, and the marked ones.

import * as api from "./api.js";

export function queryRow(image, {shown, look, remove}) {
  const small = document.createElement("img");
  small.src = image.entry ? api.thumbnail(image.entry.id) : image.url;
  small.alt = "";
  const show = button("shown", {title: image.name, label: `Show ${image.name}`, act: look});
  show.setAttribute("aria-pressed", String(shown));
  show.append(small);
  const out = button("remove", {title: "Take it out of the query",
    label: `Take ${image.name} out of the query`, act: remove});
  out.textContent = "✕";
  return row(show, out);
}

export function markRow(id, {mark, entry, remove}) {
  const image = document.createElement("img");
  image.src = api.thumbnail(id);
  image.alt = "";
  const sign = document.createElement("span");
  sign.textContent = mark === "right" ? "✓" : "✕";
  const away = button(mark, {title: "Take the mark away",
    label: `${entry.name}, marked ${mark}: take the mark away`, act: remove});
  away.append(image, sign);
  return row(away);
}

function button(kind, {title, label, act}) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = kind;
  made.title = title;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

function row(...buttons) {
  const made = document.createElement("li");
  made.append(...buttons);
  return made;
}
