// Keeps a page up to date, counts deadlines down, reads files, copies, and has keys for the inbox.
// Without it all but the files still works.
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

function setClock(page) {
  offset = Number(page.body.dataset.now) - Date.now();
}

// Each part that is kept up to date, as the desk made it: before a deadline counted down in it.
const made = new WeakMap();

function prepare(root) {
  for (const input of root.querySelectorAll("input[data-file]")) {
    input.addEventListener("change", () => {
      const file = input.files[0];
      const field = (name) => input.form.elements["file." + name];
      const button = input.form.querySelector("[type=submit]");
      field("name").value = field("type").value = field("data").value = "";
      const isTooLarge = file && file.size > Number(input.dataset.most);
      input.setCustomValidity(isTooLarge ? "This file is too large: " + Math.floor(input.dataset.most / 1048576) + " MB are the most." : "");
      if (!file || isTooLarge) return;
      const reader = new FileReader();
      reader.addEventListener("load", () => {
        field("name").value = file.name;
        field("type").value = file.type;
        field("data").value = reader.result.slice(reader.result.indexOf(",") + 1);
      });
      reader.addEventListener("loadend", () => { button.disabled = false; });
      // What is not read yet cannot be sent.
      button.disabled = true;
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

// Whether somebody has filled in some of it.
function isFilledIn(part) {
  return [...part.querySelectorAll("input, textarea, select")].some((field) =>
    field.type === "checkbox" || field.type === "radio" ? field.checked !== field.defaultChecked
      : field.type === "hidden" ? false
      : field.tagName === "SELECT" ? [...field.options].some((option) => option.selected !== option.defaultSelected && option.index > 0)
      : field.value !== field.defaultValue);
}

// A part in which somebody is at work stays as it is.
function isInUse(part) {
  const isAt = part.contains(document.activeElement) && !document.activeElement.matches("a");
  return isAt || part.querySelector("details[open], .fault") || isFilledIn(part);
}

// Puts the new part in place of the old; who was at a link is at it again, or at what took its place.
function replace(part, next) {
  made.set(next, next.innerHTML);
  const links = [...part.querySelectorAll("a")];
  const nth = links.indexOf(document.activeElement);
  part.replaceWith(next);
  prepare(next);
  if (nth < 0) return;
  const now = [...next.querySelectorAll("a")];
  const same = now.find((link) => link.href === links[nth].href);
  (same || now[Math.min(nth, now.length - 1)] || document.getElementById("content")).focus();
}

// A form that was filled in stays to be read, but says when it is too late to send it.
function close(part, next) {
  if (!part.querySelector("form.answer") || next.querySelector("form.answer") || part.querySelector(".closed")) return;
  for (const button of part.querySelectorAll("[type=submit]")) button.disabled = true;
  const note = document.createElement("p");
  note.className = "fault closed";
  note.setAttribute("role", "alert");
  note.textContent = "It cannot be answered any more: below stands what became of it.";
  part.querySelector("h2").after(note);
}

// An answer that was not taken stands where its form was sent to, and nothing is to be read there.
const here = location.href.replace(/(\/questions\/[^/]+)\/(answer|again)$/, "$1");
let isAsking = false;
let isStale = false;

async function refresh() {
  isStale = true;
  if (isAsking) return;
  isAsking = true;
  while (isStale) {
    isStale = false;
    try {
      const answer = await fetch(here, { headers: { accept: "text/html" } });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of document.querySelectorAll("[data-live]")) {
          const next = fresh.getElementById(part.id);
          if (!next || next.innerHTML === made.get(part)) continue;
          if (isInUse(part)) close(part, next);
          else replace(part, next);
        }
        setClock(fresh);
        countDown();
      }
    } catch {
      // The desk is away; it is heard again when it is back.
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  isAsking = false;
}

// Only a page that is seen is told what happens: a browser has six connections to a desk, and each
// page that is told holds one.
let changes = null;

function listen() {
  stopListening();
  if (document.hidden) return;
  changes = new EventSource("/changes");
  // Something may have changed between the making of the page and this, or while nobody saw it.
  changes.addEventListener("open", refresh);
  changes.addEventListener("changed", refresh);
}

function stopListening() {
  changes?.close();
  changes = null;
}

// The next question of the list, or the one before.
function move(by) {
  const links = [...document.querySelectorAll(".questions a")];
  const nth = links.indexOf(document.activeElement);
  links[nth < 0 ? 0 : Math.max(0, Math.min(nth + by, links.length - 1))]?.focus();
}

// What was filled in is not left by a slip of a finger.
function back() {
  const content = document.getElementById("content");
  if (!content.querySelector(".fault") && !isFilledIn(content)) document.querySelector(".back a")?.click();
}

const help = document.getElementById("keys");
const areKeysOn = document.getElementById("keys-on");
const actions = {
  j: () => move(1), k: () => move(-1), "/": () => document.getElementById("words")?.focus(),
  u: back, Escape: back, "?": () => help.showModal(),
};

// A key alone does something, unless somebody types, reads the list of keys, or wants none.
function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || help.open) return;
  if (!areKeysOn.checked || event.target.closest("input, textarea, select, [contenteditable]")) return;
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
}

function prepareKeys() {
  const opener = document.querySelector("[data-keys]");
  opener.hidden = false;
  opener.addEventListener("click", () => help.showModal());
  areKeysOn.checked = localStorage.getItem("keys") !== "off";
  areKeysOn.addEventListener("change", () => localStorage.setItem("keys", areKeysOn.checked ? "on" : "off"));
  document.addEventListener("keydown", onKey);
}

for (const part of document.querySelectorAll("[data-live]")) made.set(part, part.innerHTML);
setClock(document);
countDown();
prepare(document);
setInterval(countDown, 1000);
if (document.querySelector("[data-live]")) {
  listen();
  document.addEventListener("visibilitychange", listen);
  window.addEventListener("pagehide", stopListening);
  // A page to which one comes back.
  window.addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
  // An answer needs a connection too, and leads to another page, as a rule; a form that only closes the list of keys
  // needs none.
  document.addEventListener("submit", (event) => {
    if (event.target.method === "dialog") return;
    stopListening();
    setTimeout(listen, 3000);
  });
}
prepareKeys();
