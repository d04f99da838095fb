// The window that says why a match was found.

import * as api from "./api.js";
import {timeOf, whoIsOn} from "./grid.js";

const BRANCHES = ["#3b6fd4", "#d9603b", "#2f9e63", "#9a5fc4"];
const TITLES = {
  images: "The images",
  parts: "Body parts",
  global: "Global branch",
  adversarial: "Adversarial branch",
  fusion: "Fusion branch",
};

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function picture(base64) {
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  const image = element("img");
  image.src = URL.createObjectURL(new Blob([bytes], {type: "image/png"}));
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), {once: true});
  return image;
}

export class WhyWindow {
  // `acts` as of the grid, and neighbor(entry, step), which is the next match or undefined.
  constructor(dialog, acts) {
    this.dialog = dialog;
    this.acts = acts;
    const find = (name) => dialog.querySelector(`#why-${name}`);
    this.body = find("body");
    this.title = find("title");
    this.who = find("who");
    this.marks = {right: find("right"), wrong: find("wrong")};
    this.steps = {[-1]: find("back"), 1: find("next")};
    for (const mark of ["right", "wrong"]) {
      this.marks[mark].addEventListener("click", () => {
        this.acts.mark(this.entry, mark);
        this.showMark();
      });
    }
    for (const step of [-1, 1]) {
      this.steps[step].addEventListener("click", () => this.step(step));
    }
    find("search").addEventListener("click", () => {
      dialog.close();
      this.acts.open(this.entry);
    });
    dialog.addEventListener("keydown", (event) => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (step) this.step(step);
    });
    dialog.addEventListener("close", () => {
      this.asking?.abort();
      this.acts.closed(this.entry);
    });
  }

  step(step) {
    const next = this.acts.neighbor(this.entry, step);
    if (next) this.show(this.query, next);
  }

  showMark() {
    for (const [name, button] of Object.entries(this.marks)) {
      button.setAttribute("aria-pressed", String(this.acts.markOf(this.entry.id) === name));
    }
  }

  async show(query, entry) {
    this.query = query;
    this.entry = entry;
    this.asking?.abort();
    this.asking = new AbortController();
    this.title.textContent = `Why match ${entry.rank}`;
    this.who.textContent = [whoIsOn(entry), timeOf(entry), entry.name].filter(Boolean).join(" · ");
    this.showMark();
    for (const step of [-1, 1]) {
      this.steps[step].disabled = !this.acts.neighbor(entry, step);
    }
    this.body.replaceChildren(element("div", "progress"));
    if (!this.dialog.open) this.dialog.showModal();
    try {
      const found = await query.ask(({query: [uploaded], image: [image]}) =>
        api.why({query: uploaded, image, match: entry.id}, this.asking.signal), [query.shown]);
      this.fill(found);
    } catch (error) {
      if (error.name === "AbortError") return;
      const message = element("div", "message error");
      message.append(element("h3", "", "It cannot be explained"), element("p", "", error.message));
      this.body.replaceChildren(message);
    }
  }

  fill(found) {
    const reasons = element("div", "reasons");
    reasons.append(this.parts(found.parts), this.branches(found));
    const key = element("p", "quiet small");
    key.append("In the branches’ images, ", element("span", "key-alike", "red"),
      " is where the two look alike to the network, and ",
      element("span", "key-unlike", "blue"), " what speaks against it.");
    const summary = found.summary ? `${found.summary[0].toUpperCase()}${found.summary.slice(1)}.` :
      "";
    this.body.replaceChildren(
      element("p", "summary",
        `The distance of the whole images is ${found.distance.toFixed(3)}. ${summary}`),
      this.pairs(found.panels), key, reasons);
  }

  pairs(panels) {
    const pairs = element("div", "pairs");
    for (const panel of panels) {
      const title = TITLES[panel.name] ?? panel.name;
      const figure = element("figure", "pair");
      const both = element("div");
      const [query, match] = [picture(panel.query), picture(panel.match)];
      query.alt = `${title}: the query`;
      match.alt = `${title}: the match`;
      both.append(query, match);
      figure.append(both, element("figcaption", "", title));
      pairs.append(figure);
    }
    return pairs;
  }

  parts(parts) {
    const section = element("section");
    if (!parts.length) return section;
    section.append(element("h3", "", "How alike the parts are"));
    const list = element("ul", "bars");
    for (const part of parts) {
      const row = element("li");
      row.append(element("span", "", part.name));
      if (part.similarity === null) {
        const where = part.hidden_in.map((side) => `the ${side}`).join(" and ");
        row.append(element("span", "hidden-part", `hidden in ${where}`));
      } else {
        // A score is in standard deviations, of which three fill the bar.
        const share = Math.max(-1, Math.min(1, part.score === null ? part.similarity
          : part.score / 3));
        const fill = element("span", "fill");
        fill.style.background = part.color;
        fill.style.left = `${50 + Math.min(0, share) * 50}%`;
        fill.style.width = `${Math.abs(share) * 50}%`;
        const track = element("span", "track");
        track.append(fill);
        const value = part.score === null ? part.similarity.toFixed(2)
          : `${part.score >= 0 ? "+" : "−"}${Math.abs(part.score).toFixed(1)} σ`;
        row.append(track, element("span", "value", value));
      }
      list.append(row);
    }
    section.append(list);
    if (parts.some((part) => part.score !== null)) {
      section.append(element("p", "quiet small",
        "σ: standard deviations from what is usual for two images of one person; left of the " +
        "middle is less alike than usual."));
    }
    return section;
  }

  branches(found) {
    const section = element("section");
    section.append(element("h3", "", "What adds to the distance"));
    const stack = element("div", "stack");
    stack.setAttribute("aria-hidden", "true");
    const legend = element("ul", "legend");
    found.branches.forEach((branch, i) => {
      const color = BRANCHES[i % BRANCHES.length];
      const piece = element("span");
      piece.style.background = color;
      piece.style.flexGrow = String(branch.share);
      stack.append(piece);
      const row = element("li");
      const swatch = element("span", "swatch");
      swatch.style.background = color;
      row.append(swatch, TITLES[branch.name] ?? branch.name,
        element("span", "value", `${Math.round(100 * branch.share)} %`));
      legend.append(row);
    });
    section.append(stack, legend,
      element("p", "quiet small", "Shares of the squared distance; they sum to all of it."));
    return section;
  }
}
