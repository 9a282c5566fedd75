// Keeps a page up to date, counts deadlines down, reads files, and copies. Without it all but the
// files still works.
"use strict";

// What the server's clock said when the page was made, by this browser's clock.
let offset = 0;

function countDown() {
  for (const place of document.querySelectorAll("[data-until]")) {
    const left = Math.floor((Number(place.dataset.until) - (Date.now() + offset)) / 1000);
    const parts = [Math.floor(left / 86400) + " d", Math.floor(left / 3600) % 24 + " h", Math.floor(left / 60) % 60 + " min", left % 60 + " s"];
    const first = parts.findIndex((part) => !part.startsWith("0 "));
    place.textContent = left > 0 ? "(" + parts.slice(first, first + 2).join(" ") + " left)" : "(over)";
  }
}

function setClock() {
  const place = document.querySelector("[data-now]");
  if (place) offset = Number(place.dataset.now) - Date.now();
}

function prepare(root) {
  for (const input of root.querySelectorAll("input[data-file]")) {
    input.addEventListener("change", () => {
      const file = input.files[0];
      const field = (name) => input.form.elements["file." + name];
      field("name").value = field("type").value = field("data").value = "";
      if (!file) return;
      const reader = new FileReader();
      reader.addEventListener("load", () => {
        field("name").value = file.name;
        field("type").value = file.type;
        field("data").value = reader.result.slice(reader.result.indexOf(",") + 1);
        input.dataset.ready = "yes";
      });
      reader.readAsDataURL(file);
    });
  }
  for (const button of root.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent);
      button.textContent = "Copied";
    });
  }
}

// A part in which somebody is at work stays as it is.
function isInUse(part) {
  if (part.contains(document.activeElement)) return true;
  if ([...part.querySelectorAll("details")].some((details) => details.open)) return true;
  return [...part.querySelectorAll("input, textarea, select")].some((field) =>
    field.type === "checkbox" || field.type === "radio" ? field.checked !== field.defaultChecked
      : field.type === "hidden" ? false
      : field.tagName === "SELECT" ? [...field.options].some((option) => option.selected !== option.defaultSelected && option.index > 0)
      : field.value !== field.defaultValue);
}

let isAsking = false;
let isStale = false;

async function refresh() {
  isStale = true;
  if (isAsking) return;
  isAsking = true;
  while (isStale) {
    isStale = false;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of document.querySelectorAll("[data-live]")) {
          const next = fresh.getElementById(part.id);
          if (next && next.innerHTML !== part.innerHTML && !isInUse(part)) {
            part.replaceWith(next);
            prepare(next);
          }
        }
        setClock();
        countDown();
      }
    } catch {
      // The desk is away; the next event says when it is back.
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  isAsking = false;
}

setClock();
countDown();
prepare(document);
setInterval(countDown, 1000);
if (document.querySelector("[data-live]")) {
  const changes = new EventSource("/changes");
  changes.addEventListener("changed", refresh);
  window.addEventListener("pagehide", () => changes.close());
}
