// The page: one query at a time, its matches, and the gallery to start from.

import * as api from "./api.js";
import {download, table} from "./csv.js";
import {takeFiles} from "./files.js";
import {galleryFilters, showFilters, where} from "./filters.js";
import {Grid} from "./grid.js";
import {$, alsoSay, busy, message, say} from "./messages.js";
import {PartPicker} from "./parts.js";
import {Query, QueryImage, reasons} from "./query.js";
import {markRow, queryRow} from "./rows.js";
import {WhyWindow} from "./why.js";

const PAGE = 48; // images of the gallery on a page
const MORE = 24; // matches that are added at a time
const TOGETHER = 16; // images of one query

const state = {
  info: null,
  query: null,
  queries: new Map(), // by the number in the browser's history
  matches: [],
  more: false,
  tracklets: false,
  place: {offset: 0, total: 0},
  asking: null,
};

const acts = {
  open: (entry) => begin(new Query([new QueryImage({entry})])),
  add: (entry) => addImages([new QueryImage({entry})]),
  mark: (entry, mark) => setMark(entry, mark),
  markOf: (id) => state.query?.marks.get(id)?.mark,
  why: (entry) => why.show(state.query, entry),
  neighbor: (entry, step) =>
    state.matches[state.matches.findIndex((one) => one.id === entry.id) + step],
  closed: (entry) => {
    const card = grid.list.querySelector(`[data-id="${entry.id}"]`);
    if (card) grid.focus(card);
  },
};
const grid = new Grid($("grid"), $("card"), acts);
const why = new WhyWindow($("why"), acts);
const picker = new PartPicker({
  fieldset: $("parts"), canvas: $("query-parts"), tip: $("part-tip"), list: $("part-list"),
  byImage: $("by-image"), byParts: $("by-parts"),
}, (names) => {
  state.query.parts = names;
  soon(search);
});

// Runs what asks the server; what was asked before is dropped.
async function asking(work, again) {
  state.asking?.abort();
  const mine = new AbortController();
  state.asking = mine;
  busy(true);
  try {
    await work(mine.signal);
  } catch (error) {
    if (error.name === "AbortError" || state.asking !== mine) return;
    say("");
    const unusable = error.code === "upload";
    if (unusable) dropQuery();
    message({title: "That did not work", text: error.message, error: true,
      buttons: again && !unusable ? [["Try again", again]] : []});
  } finally {
    if (state.asking === mine) busy(false);
  }
}

let timer = 0;
function soon(work) {
  clearTimeout(timer);
  timer = setTimeout(work, 150);
}

// --- Queries ---

function begin(query, {remember = true} = {}) {
  state.query = query;
  if (remember) {
    const number = state.queries.size + 1;
    state.queries.set(number, query);
    const {entry} = query.images[0];
    const alone = entry && query.images.length === 1;
    history.pushState({number}, "", alone ? `#image=${entry.id}` : "#query");
  }
  $("drop").classList.add("small-drop");
  $("drop").querySelector("strong").textContent = "Search by another image";
  $("add").hidden = false;
  showQuery();
  showMarks();
  search();
}

// Shows one of the query's images, and all of them where there are several.
function showQuery() {
  const query = state.query;
  const {shown} = query;
  $("other-cameras-row").hidden = !query.images.some((image) =>
    image.entry && image.entry.camera !== null);
  $("cut-rates").hidden = state.tracklets || query.images.length > 1;
  $("query-figure").hidden = false;
  if ($("query-image").getAttribute("src") !== shown.url) $("query-image").src = shown.url;
  $("query-image").alt = `The query, ${shown.name}`;
  $("query-name").textContent = shown.name;
  picker.show(query.embedded, query.parts);
  $("query-list").hidden = query.images.length < 2;
  $("query-list").replaceChildren(...query.images.map((image) => queryRow(image, {
    shown: image === shown,
    look: () => {
      query.shown = image;
      showQuery();
      $("query-list").children[query.images.indexOf(image)].firstElementChild.focus();
      if (!image.embedded && state.info.parts.length) lookAtParts(query);
    },
    remove: () => {
      begin(new Query(query.images.filter((other) => other !== image)));
      ($("query-list").querySelector("button") ?? $("add-file")).focus();
    },
  })));
}

function addImages(images) {
  const there = new Set(state.query?.images.map((image) => image.entry?.id));
  const fresh = images.filter((image) => !image.entry || !there.has(image.entry.id));
  const count = fresh.length + (state.query?.images.length ?? 0);
  if (count > TOGETHER) {
    message({title: "Too many images", error: true,
      text: `A query takes ${TOGETHER} images at most, not ${count}.`});
  } else if (fresh.length) {
    begin(state.query ? state.query.with(fresh) : new Query(fresh));
  }
}

// Searches by files of one person, or adds them to the query.
function useFiles(files, {add = false} = {}) {
  if (!files.length) return;
  if (!add && files.length <= TOGETHER) state.query = null;
  const largest = state.info.largest_upload;
  addImages(files.map((file) => new QueryImage({file, largest})));
}

function options() {
  const query = state.query;
  const asked = {where: where(), right: query.applied.right, wrong: query.applied.wrong,
    other_cameras: $("other-cameras").checked, tracklets: state.tracklets};
  if (query.parts) asked.parts = query.parts;
  if ($("cut-on").checked) asked.max_distance = Number($("cut-number").value);
  return asked;
}

function search() {
  const query = state.query;
  if (!query) return browse(0);
  return asking(async (signal) => {
    const leftOut = await query.embed(signal);
    if (state.query === query) {
      if (leftOut.length) showQuery();
      else picker.show(query.embedded, query.parts);
    }
    const found = await query.ask((name) =>
      api.search({...name, ...options(), limit: MORE}, signal));
    state.matches = found.matches;
    show(found);
    if (leftOut.length) alsoSay({title: "Left out", text: reasons(leftOut)});
    const unknown = query.images.some((image) => !image.embedded);
    if (unknown && state.info.parts.length) lookAtParts(query);
  }, search);
}

// The parts of images of the gallery are looked at after their matches are shown.
async function lookAtParts(query) {
  try {
    for (const image of query.images) {
      if (!image.embedded) await image.embed();
    }
  } catch {
    return; // Without its file the image can still be searched for.
  }
  if (state.query === query) picker.show(query.embedded, query.parts);
}

function show(found) {
  $("find-row").hidden = $("pager").hidden = true;
  $("grid").classList.remove("browsing");
  $("results-title").textContent = "Matches";
  document.title = `Matches of ${state.query.name}`;
  const focused = document.activeElement?.closest(".card")?.dataset.id;
  grid.clear();
  grid.add(found.matches);
  if (focused) {
    const card = grid.list.querySelector(`[data-id="${focused}"]`) ?? grid.list.firstElementChild;
    if (card) grid.focus(card);
  }
  state.more = found.more;
  afterMatches(found);
}

function afterMatches(found) {
  const count = state.matches.length;
  const by = found.by === "parts" ? `by ${state.query.parts.join(", ")}` : "by the whole image";
  const refined = state.query.applied.right.length + state.query.applied.wrong.length;
  const several = state.query.images.length;
  const what = state.tracklets ? ["tracklet", "tracklets"] : ["match", "matches"];
  say(count ? `${count}${found.more ? " nearest" : ""} ${what[count === 1 ? 0 : 1]}, ` +
    `${by}${several > 1 ? ` of ${several} together` : ""}${refined ? ", refined" : ""}` : "");
  $("more").hidden = !found.more;
  $("message").hidden = true;
  if (found.nobody) {
    message({title: "Nobody",
      text: `No image is within ${Number($("cut-number").value).toFixed(2)} of the query: the ` +
        `nearest is at ${found.nearest.toFixed(3)}. ` + (found.by === "parts"
        ? "Nobody in this part of the gallery looks like that."
        : "The person is probably not in this part of the gallery."),
      buttons: [["Show the nearest anyway", () => {
        $("cut-on").checked = false;
        search();
      }]]});
  } else if (!count) {
    message({title: "No image to compare",
      text: found.by === "parts" ? "No image that passes the filters shows these body parts."
        : "No image passes the filters."});
  }
  showExport();
}

function moreMatches() {
  const place = state.matches.length;
  return asking(async (signal) => {
    const found = await state.query.ask((name) =>
      api.search({...name, ...options(), offset: place, limit: MORE}, signal));
    state.matches = [...state.matches, ...found.matches];
    grid.add(found.matches);
    afterMatches({...found, nobody: false});
    const first = grid.list.children[place];
    if (first) grid.focus(first);
  }, moreMatches);
}

// --- Marks ---

function setMark(entry, mark) {
  const marks = state.query.marks;
  if (marks.get(entry.id)?.mark === mark) marks.delete(entry.id);
  else marks.set(entry.id, {mark, entry});
  grid.showMarks();
  showMarks();
}

function showMarks() {
  const query = state.query;
  const marks = [...(query?.marks ?? [])];
  $("marks").hidden = !marks.length && !query?.applied.right.length && !query?.applied.wrong.length;
  $("mark-list").replaceChildren(...marks.map(([id, {mark, entry}]) =>
    markRow(id, {mark, entry, remove: () => setMark(entry, mark)})));
  const same = (mark) => query && String(query.marked(mark)) === String(query.applied[mark]);
  $("refine").disabled = !query || (same("right") && same("wrong"));
  showExport();
}

function refine() {
  const query = state.query;
  query.applied = {right: query.marked("right"), wrong: query.marked("wrong")};
  showMarks();
  search();
}

function clearMarks() {
  state.query.marks.clear();
  const refined = state.query.applied.right.length + state.query.applied.wrong.length;
  state.query.applied = {right: [], wrong: []};
  grid.showMarks();
  showMarks();
  if (refined) search();
}

function selection() {
  const marks = [...state.query.marks.values()];
  const shown = new Map(state.matches.map((match) => [match.id, match]));
  if (!marks.length) return state.matches.map((match) => ({...match, mark: null}));
  return marks.map(({mark, entry}) => ({...(shown.get(entry.id) ?? entry), mark}));
}

function showExport() {
  const marked = state.query?.marks.size ?? 0;
  const count = marked || state.matches.length;
  $("export").hidden = !state.query || !count;
  $("export").textContent = marked ? `Export ${marked} marked` : `Export ${count} shown`;
  $("export").title = "As a CSV file";
}

function exportTable() {
  const rows = selection().map((row) => ({...row, query: state.query.name}));
  download(table(rows), "matches.csv");
}

// --- The gallery ---

function browse(offset) {
  return asking(async (signal) => {
    const filters = {offset, limit: PAGE, ...galleryFilters()};
    const found = await api.images(filters, signal);
    state.place = {offset, total: found.total};
    state.matches = [];
    $("grid").classList.add("browsing");
    grid.clear();
    grid.add(found.images);
    $("results-title").textContent = "Gallery";
    document.title = "Search people";
    $("find-row").hidden = false;
    $("more").hidden = $("export").hidden = true;
    $("message").hidden = true;
    const last = Math.min(offset + PAGE, found.total);
    say(found.total ? `Click an image to search by it` : "");
    $("page-place").textContent =
      `${(offset + 1).toLocaleString("en")}–${last.toLocaleString("en")} of ` +
      `${found.total.toLocaleString("en")}`;
    $("pager").hidden = found.total <= PAGE;
    $("page-first").disabled = $("page-back").disabled = offset === 0;
    $("page-next").disabled = $("page-last").disabled = last >= found.total;
    if (!found.total) message({title: "No image", text: "No image passes the filters."});
  }, () => browse(offset));
}

function dropQuery() {
  state.query = null;
  state.matches = [];
  $("query-figure").hidden = true;
  $("drop").classList.remove("small-drop");
  $("drop").querySelector("strong").textContent = "Drop an image of a person";
  $("add").hidden = $("query-list").hidden = true;
  $("more").hidden = true;
  grid.clear();
  picker.show(null, null);
  showMarks();
}

function toGallery({remember = true} = {}) {
  if (remember) history.pushState({}, "", location.pathname);
  dropQuery();
  browse(0);
}

// Lists images, or tracklets.
function rankBy({tracklets}) {
  state.tracklets = tracklets;
  $("rank-images").setAttribute("aria-pressed", String(!tracklets));
  $("rank-tracklets").setAttribute("aria-pressed", String(tracklets));
  $("cut-rates").hidden = tracklets || state.query?.images.length > 1;
  if (state.query) search();
}

function changed() {
  if (state.query) soon(search);
  else soon(() => browse(0));
}

// --- The start ---

function showInfo(info) {
  state.info = info;
  $("gallery").textContent =
    `${info.gallery} · ${info.images.toLocaleString("en")} ${info.images === 1 ? "image" : "images"}`;
  showFilters(info);
  $("tracklets").hidden = !info.tracklets;
  $("cut-rates").replaceChildren(...info.thresholds.map(({rate, distance}) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "link";
    button.textContent = `${Number((100 * rate).toPrecision(3))} % false`;
    button.title = `${distance.toFixed(3)}: so many pairs of different people are nearer`;
    button.addEventListener("click", () => {
      $("cut-number").value = $("cut-range").value = distance.toFixed(3);
      $("cut-on").checked = true;
      if (state.query) search();
    });
    return button;
  }));
  if (info.max_distance !== null) {
    $("cut-on").checked = true;
    $("cut-number").value = $("cut-range").value = info.max_distance;
  }
}

function listen() {
  takeFiles(useFiles);
  $("camera-list").addEventListener("change", changed);
  for (const [id, ticked] of [["cameras-all", true], ["cameras-none", false]]) {
    $(id).addEventListener("click", () => {
      for (const box of $("camera-list").querySelectorAll("input")) box.checked = ticked;
      changed();
    });
  }
  for (const id of ["time-from", "time-to", "other-cameras"]) {
    $(id).addEventListener("change", changed);
  }
  for (const [id, tracklets] of [["rank-images", false], ["rank-tracklets", true]]) {
    $(id).addEventListener("click", () => rankBy({tracklets}));
  }
  $("cut-on").addEventListener("change", changed);
  for (const [id, other] of [["cut-range", "cut-number"], ["cut-number", "cut-range"]]) {
    $(id).addEventListener("input", () => {
      $(other).value = $(id).value;
      $("cut-on").checked = true;
      if (state.query) soon(search);
    });
  }
  $("find").addEventListener("input", changed);
  $("more").addEventListener("click", moreMatches);
  $("refine").addEventListener("click", refine);
  $("marks-clear").addEventListener("click", clearMarks);
  $("export").addEventListener("click", exportTable);
  $("browse").addEventListener("click", () => toGallery());
  $("help-open").addEventListener("click", () => $("help").showModal());
  const pages = {
    "page-first": () => 0,
    "page-back": () => Math.max(0, state.place.offset - PAGE),
    "page-next": () => state.place.offset + PAGE,
    "page-last": () => Math.floor((state.place.total - 1) / PAGE) * PAGE,
  };
  for (const [id, place] of Object.entries(pages)) {
    $(id).addEventListener("click", () => browse(place()));
  }
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }
  window.addEventListener("popstate", (event) => {
    const query = state.queries.get(event.state?.number);
    if (query) begin(query, {remember: false});
    else toGallery({remember: false});
  });
}

async function start() {
  $("filters").open = !matchMedia("(max-width: 760px)").matches;
  // The token is in the cookie now; here it would only be looked at, copied and kept.
  const image = /^#image=([0-9a-f]{16})$/.exec(location.hash)?.[1];
  history.replaceState({}, "", location.pathname + (image ? location.hash : ""));
  listen();
  await asking(async () => {
    showInfo(await api.info());
    if (image === undefined) await browse(0);
    else {
      const entry = await api.entry(image);
      begin(new Query([new QueryImage({entry})]), {remember: false});
    }
  }, () => location.reload());
}

start();
