// Files that are chosen, pasted or dropped.

import {$} from "./messages.js";

// Calls `use(files, {add})` for all of them; `add` says whether they join the query.
export function takeFiles(use) {
  for (const [id, add] of [["file", false], ["add-file", true]]) {
    $(id).addEventListener("change", (event) => {
      use([...event.target.files], {add});
      event.target.value = "";
    });
  }
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) =>
      one.type.startsWith("image/"));
    if (file) {
      event.preventDefault();
      use([file]);
    }
  });
  let inside = 0;
  const cover = (by) => {
    inside = Math.max(0, inside + by);
    $("drop-cover").hidden = !inside;
  };
  document.addEventListener("dragenter", () => cover(1));
  document.addEventListener("dragleave", () => cover(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    cover(0);
    use([...event.dataTransfer.files], {add: event.target.closest?.("#add") !== null});
  });
}
