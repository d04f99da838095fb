// The body parts of a query, drawn over its image and listed beside it, to be chosen.

const BACKGROUND = 0;

function rgb(color) {
  const number = parseInt(color.slice(1), 16);
  return [number >> 16, (number >> 8) & 255, number & 255];
}

export class PartPicker {
  // `changed` is called with the names of the chosen parts, or null for the whole image.
  constructor(elements, changed) {
    Object.assign(this, elements);
    this.changed = changed;
    this.embedded = null;
    this.chosen = null;
    this.under = null;
    this.canvas.addEventListener("click", (event) => this.pick(event));
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.hover(null));
    this.byImage.addEventListener("click", () => this.choose(null));
    this.byParts.addEventListener("click", () => this.choose(this.chosen ?? this.visible()));
  }

  // Shows what an image holds; null before it is known.
  show(embedded, chosen) {
    this.embedded = embedded?.parts.some((part) => part.visible) ? embedded : null;
    this.chosen = chosen;
    this.under = null;
    this.fieldset.hidden = !this.embedded;
    this.fill();
    this.draw();
  }

  visible() {
    return this.embedded.parts.filter((part) => part.visible).map((part) => part.name);
  }

  choose(names) {
    this.chosen = names;
    this.mark();
    this.draw();
    this.changed(names);
  }

  // Adds a part or takes it out. From the whole image a click on it means this part alone, and
  // an unticked box all but this one.
  toggle(name, {alone = false} = {}) {
    if (this.chosen === null) {
      this.choose(alone ? [name] : this.visible().filter((other) => other !== name));
      return;
    }
    const without = this.chosen.filter((other) => other !== name);
    const rest = without.length < this.chosen.length ? without : [...this.chosen, name];
    this.choose(rest.length ? rest : null);
  }

  fill() {
    this.list.replaceChildren();
    for (const part of this.embedded?.parts ?? []) {
      const row = document.createElement("li");
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.disabled = !part.visible;
      box.dataset.part = part.name;
      box.addEventListener("change", () => this.toggle(part.name));
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = part.color;
      label.append(box, swatch, part.visible ? part.name : `${part.name}, not seen`);
      row.append(label);
      if (part.visible) {
        const only = document.createElement("button");
        only.type = "button";
        only.className = "link";
        only.textContent = "only";
        only.setAttribute("aria-label", `Search by the ${part.name} only`);
        only.addEventListener("click", () => this.choose([part.name]));
        row.append(only);
        row.addEventListener("pointerenter", () => this.hover(part.part));
        row.addEventListener("pointerleave", () => this.hover(null));
      } else {
        label.className = "unseen-part";
      }
      this.list.append(row);
    }
    this.mark();
  }

  mark() {
    this.byImage.setAttribute("aria-pressed", String(this.chosen === null));
    this.byParts.setAttribute("aria-pressed", String(this.chosen !== null));
    for (const box of this.list.querySelectorAll("input")) {
      box.checked = !box.disabled && (this.chosen?.includes(box.dataset.part) ?? true);
    }
  }

  partAt(event) {
    const map = this.embedded?.part_map;
    if (!map) return null;
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * map.width);
    const row = Math.floor(((event.clientY - box.top) / box.height) * map.height);
    const number = map.cells[row * map.width + column];
    const part = this.embedded.parts.find((one) => one.part === number);
    return number !== BACKGROUND && part?.visible ? part : null;
  }

  pick(event) {
    const part = this.partAt(event);
    if (part) this.toggle(part.name, {alone: true});
  }

  point(event) {
    this.hover(this.partAt(event)?.part ?? null);
  }

  hover(number) {
    if (number === this.under) return;
    this.under = number;
    const part = this.embedded?.parts.find((one) => one.part === number);
    this.tip.hidden = !part;
    this.tip.textContent = part?.name ?? "";
    this.canvas.style.cursor = part ? "pointer" : "default";
    this.draw();
  }

  // Each part's cells are drawn small and stretched, which rounds their edges.
  draw() {
    const pen = this.canvas.getContext("2d");
    const map = this.embedded?.part_map;
    this.canvas.hidden = !map;
    if (!map) return;
    const scale = 10;
    this.canvas.width = map.width * scale;
    this.canvas.height = map.height * scale;
    pen.imageSmoothingQuality = "high";
    const small = new OffscreenCanvas(map.width, map.height);
    const cells = new ImageData(map.width, map.height);
    const looks = new Map(this.embedded.parts.map((part) => [part.part, this.look(part)]));
    const around = this.chosen === null ? [0, 0, 0, 0] : [14, 16, 22, 150];
    map.cells.forEach((number, place) => cells.data.set(looks.get(number) ?? around, 4 * place));
    small.getContext("2d").putImageData(cells, 0, 0);
    pen.drawImage(small, 0, 0, this.canvas.width, this.canvas.height);
  }

  look(part) {
    const chosen = part.visible && (this.chosen?.includes(part.name) ?? true);
    if (part.part === this.under) return [...rgb(part.color), 190];
    if (!chosen) return [14, 16, 22, 150];
    return [...rgb(part.color), this.chosen === null ? 70 : 120];
  }
}
