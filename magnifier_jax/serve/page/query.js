// What is searched for.

import * as api from "./api.js";

// An image that is searched for: an uploaded file, or an image of the gallery.
export class QueryImage {
  constructor({file = null, entry = null}) {
    this.file = file;
    this.entry = entry;
    this.url = file ? URL.createObjectURL(file) : api.wholeImage(entry.id);
    this.name = file ? file.name || "pasted image" : entry.name;
    this.embedded = null;
  }

  async embed(signal) {
    this.embedded = this.file ? await api.embed(this.file, signal)
      : await api.partsOf(this.entry.id, signal);
  }
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

  async embed(signal) {
    for (const image of this.images) {
      if (image.file && !image.embedded) await image.embed(signal);
    }
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
