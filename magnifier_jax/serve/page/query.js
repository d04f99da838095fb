// What is searched for.

import * as api from "./api.js";

const MB = 2 ** 20; // bytes

// An image that is searched for: an uploaded file, or an image of the gallery.
export class QueryImage {
  // A file may have `largest` bytes.
  constructor({file = null, entry = null, largest = Infinity}) {
    this.file = file;
    this.largest = largest;
    this.entry = entry;
    this.url = file ? URL.createObjectURL(file) : api.wholeImage(entry.id);
    this.name = file ? file.name || "pasted image" : entry.name;
    this.embedded = null;
  }

  async embed(signal) {
    if (this.file?.size > this.largest) {
      const [size, most] = [Math.ceil(this.file.size / MB), Math.floor(this.largest / MB)];
      throw new api.Failure("upload", `It has ${size} MB; ${most} MB are allowed.`);
    }
    this.embedded = this.file ? await api.embed(this.file, signal)
      : await api.partsOf(this.entry.id, signal);
  }
}

// Why files cannot be searched for, one line each.
export function reasons(leftOut) {
  return leftOut.map(({image, reason}) => `${image.name}: ${reason}`).join("\n");
}

// What is known of a query: images of one person, which are searched for as one.
export class Query {
  constructor(images) {
    this.images = images;
    this.shown = images.at(-1);
    this.parts = null;
    this.marks = new Map(); // by id: {mark, entry}
    this.applied = {right: [], wrong: []};
  }

  // The same search with more images.
  with(images) {
    const more = new Query([...this.images, ...images]);
    more.parts = this.parts;
    more.marks = new Map(this.marks);
    more.applied = {...this.applied};
    return more;
  }

  get name() {
    const others = this.images.length - 1;
    return others ? `${this.images[0].name} and ${others} more` : this.images[0].name;
  }

  // The image that is shown, with the parts that any of them shows.
  get embedded() {
    if (!this.shown.embedded) return null;
    const seen = (number) => this.images.some((image) =>
      image.embedded?.parts.some((part) => part.part === number && part.visible));
    const parts = this.shown.embedded.parts.map((part) => ({...part, visible: seen(part.part)}));
    return {...this.shown.embedded, parts};
  }

  // Embeds its files. Those that are no usable images are left out, unless none is left: says
  // which and why.
  async embed(signal) {
    const leftOut = [];
    for (const image of this.images) {
      if (!image.file || image.embedded) continue;
      try {
        await image.embed(signal);
      } catch (error) {
        if (error.code !== "upload") throw error;
        leftOut.push({image, reason: error.message});
      }
    }
    const kept = this.images.filter((one) => !leftOut.some(({image}) => image === one));
    if (!kept.length) throw new api.Failure("upload", reasons(leftOut));
    this.images = kept;
    if (!kept.includes(this.shown)) this.shown = kept.at(-1);
    return leftOut;
  }

  // Asks with what the server calls the images, and sends those again that it has forgotten.
  async ask(request, images = this.images) {
    const uploaded = images.filter((image) => image.file);
    const entries = images.filter((image) => image.entry).map((image) => image.entry.id);
    for (const image of uploaded) {
      if (!image.embedded) await image.embed();
    }
    const names = () => ({query: uploaded.map((image) => image.embedded.query), image: entries});
    try {
      return await request(names());
    } catch (error) {
      if (error.code !== "query") throw error;
      for (const image of uploaded) await image.embed();
      return request(names());
    }
  }

  marked(mark) {
    return [...this.marks].filter(([, one]) => one.mark === mark).map(([id]) => id);
  }
}
