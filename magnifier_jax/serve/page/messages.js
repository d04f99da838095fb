// What the page says beside its images.

export const $ = (id) => document.getElementById(id);

export function say(text) {
  $("status").textContent = text;
}

export function busy(is) {
  $("progress").hidden = !is;
  $("grid").setAttribute("aria-busy", String(is));
}

// Says something beside what has just been said.
export function alsoSay({title, text}) {
  const box = $("message");
  if (box.hidden) return message({title, text, error: true});
  const words = document.createElement("p");
  words.textContent = `${title}. ${text}`;
  box.querySelector("p").after(words);
}

export function message({title, text, error = false, buttons = []}) {
  const box = $("message");
  box.className = error ? "message error" : "message";
  box.setAttribute("role", error ? "alert" : "status");
  const heading = document.createElement("h3");
  heading.textContent = title;
  const words = document.createElement("p");
  words.textContent = text;
  const row = document.createElement("div");
  row.className = "buttons";
  for (const [label, act] of buttons) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = label;
    button.addEventListener("click", act);
    row.append(button);
  }
  box.replaceChildren(heading, words, ...(buttons.length ? [row] : []));
  box.hidden = false;
}
