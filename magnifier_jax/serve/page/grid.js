// Images as cards. One card is in the order of the Tab key; arrows lead to the others.

import {thumbnail} from "./api.js";

export class Grid {
  // `acts` has open(entry), add(entry), mark(entry, "right" or "wrong"), why(entry) and markOf(id).
  constructor(list, template, acts) {
    this.list = list;
    this.template = template;
    this.acts = acts;
    this.entries = new Map();
    list.addEventListener("keydown", (event) => this.key(event));
    list.addEventListener("focusin", (event) => this.here(event.target.closest(".card")));
  }

  clear() {
    this.entries.clear();
    this.list.replaceChildren();
  }

  add(entries) {
    const cards = entries.map((entry) => this.card(entry));
    this.list.append(...cards);
    if (!this.list.querySelector('.picture[tabindex="0"]')) this.here(this.list.firstElementChild);
  }

  card(entry) {
    const card = this.template.content.firstElementChild.cloneNode(true);
    card.dataset.id = entry.id;
    this.entries.set(entry.id, entry);
    const say = (name, text) => { card.querySelector(`.${name}`).textContent = text; };
    say("rank", entry.rank ? `${entry.rank}` : "");
    say("distance", entry.distance === undefined ? "" : entry.distance.toFixed(3));
    say("who", whoIsOn(entry));
    say("time", timeOf(entry));
    say("size", sizeOf(entry));
    say("name", entry.name);
    card.querySelector(".name").title = entry.name;
    const image = card.querySelector("img");
    image.src = thumbnail(entry.id);
    image.addEventListener("error", () => image.parentElement.classList.add("lost"));
    const picture = card.querySelector(".picture");
    picture.setAttribute("aria-label", description(entry));
    picture.title = "Search by this image (Enter)";
    picture.addEventListener("click", () => this.acts.open(entry));
    for (const mark of ["right", "wrong"]) {
      const button = card.querySelector(`.mark.${mark}`);
      button.addEventListener("click", () => this.acts.mark(entry, mark));
    }
    card.querySelector(".add").addEventListener("click", () => this.acts.add(entry));
    card.querySelector(".why").addEventListener("click", () => this.acts.why(entry));
    for (const button of card.querySelectorAll("button")) button.tabIndex = -1;
    this.showMark(card);
    return card;
  }

  // Shows the marks as they are now.
  showMarks() {
    for (const card of this.list.children) this.showMark(card);
  }

  showMark(card) {
    const mark = this.acts.markOf(card.dataset.id);
    for (const name of ["right", "wrong"]) {
      card.classList.toggle(`is-${name}`, mark === name);
      card.querySelector(`.mark.${name}`).setAttribute("aria-pressed", String(mark === name));
    }
  }

  // Lets Tab lead to this card's buttons, and to no other's.
  here(card) {
    if (!card) return;
    for (const button of this.list.querySelectorAll('button[tabindex="0"]')) button.tabIndex = -1;
    for (const button of card.querySelectorAll("button")) button.tabIndex = 0;
  }

  focus(card) {
    this.here(card);
    card.querySelector(".picture").focus();
  }

  focusFirst() {
    if (this.list.firstElementChild) this.focus(this.list.firstElementChild);
  }

  columns() {
    const cards = [...this.list.children];
    const first = cards[0]?.offsetTop;
    const second = cards.findIndex((card) => card.offsetTop > first);
    return second < 0 ? cards.length : second;
  }

  key(event) {
    const card = event.target.closest(".card");
    if (!card || event.ctrlKey || event.altKey || event.metaKey) return;
    const cards = [...this.list.children];
    const place = cards.indexOf(card);
    const steps = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns(), ArrowUp: -this.columns(),
      Home: -place, End: cards.length - 1 - place,
    };
    const entry = this.entries.get(card.dataset.id);
    const marks = !this.list.classList.contains("browsing");
    if (event.key in steps) {
      const next = cards[place + steps[event.key]];
      if (next) this.focus(next);
    } else if (marks && event.key.toLowerCase() === "a") {
      this.acts.add(entry);
    } else if (marks && event.key.toLowerCase() === "r") {
      this.acts.mark(entry, "right");
    } else if (marks && event.key.toLowerCase() === "w") {
      this.acts.mark(entry, "wrong");
    } else if (marks && event.key.toLowerCase() === "y") {
      this.acts.why(entry);
    } else {
      return;
    }
    event.preventDefault();
  }
}

export function whoIsOn(entry) {
  const who = [];
  if (entry.identity !== null) who.push(`${entry.identity}`);
  if (entry.camera !== null) who.push(`camera ${entry.camera}`);
  return who.join(" · ");
}

// The time in UTC, as the filter takes it.
export function timeOf(entry) {
  return entry.time ? entry.time.slice(0, 19).replace("T", " ") : "";
}

// How many images a tracklet has.
function sizeOf(entry) {
  return entry.images > 1 ? `${entry.images.toLocaleString("en")} images` : "";
}

function description(entry) {
  const known = entry.rank ? `Match ${entry.rank}, distance ${entry.distance.toFixed(3)}` : "Image";
  return [known, whoIsOn(entry), timeOf(entry), sizeOf(entry), entry.name].filter(Boolean)
    .join(", ");
}
