"use strict";
(() => {
  const buttons = Array.from(document.querySelectorAll("button.zoom"));
  const dialog = document.querySelector("dialog.large");
  if (!buttons.length || !dialog || !dialog.showModal) return;
  const image = dialog.querySelector("img");
  const caption = dialog.querySelector(".caption");
  const count = dialog.querySelector(".count");
  const key = dialog.querySelector(".key");
  let at = 0;

  // A copy of the page's legend, with the classes that the panel shows.
  function legend({ kind, classes }) {
    const whole = document.querySelector(kind === "errors" ? ".of-errors" : ".of-classes");
    if (!whole || kind === "image") return [];
    const copy = whole.cloneNode(true);
    const shown = new Set((classes || "").split(" "));
    if (classes) for (const entry of copy.querySelectorAll("li")) if (!shown.has(entry.dataset.class)) entry.remove();
    return [copy];
  }

  function show(index) {
    at = (index + buttons.length) % buttons.length;
    const small = buttons[at].querySelector("img");
    image.src = small.src;
    image.alt = small.alt;
    image.className = buttons[at].dataset.kind;
    caption.textContent = buttons[at].dataset.caption;
    count.textContent = `${at + 1} of ${buttons.length}`;
    key.replaceChildren(...legend(buttons[at].dataset));
  }

  function step(by) {
    const alike = buttons.filter((button) => button.dataset.kind === buttons[at].dataset.kind);
    const to = (alike.indexOf(buttons[at]) + by + alike.length) % alike.length;
    show(buttons.indexOf(alike[to]));
  }

  buttons.forEach((button, index) =>
    button.addEventListener("click", () => {
      show(index);
      dialog.showModal();
    }),
  );
  const moves = {
    ArrowLeft: () => show(at - 1),
    ArrowRight: () => show(at + 1),
    ArrowUp: () => step(-1),
    ArrowDown: () => step(1),
    Home: () => show(0),
    End: () => show(buttons.length - 1),
  };
  dialog.addEventListener("keydown", (event) => {
    if (!moves[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    moves[event.key]();
  });
  dialog.querySelector(".previous").addEventListener("click", () => show(at - 1));
  dialog.querySelector(".next").addEventListener("click", () => show(at + 1));
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    image.removeAttribute("src");
    buttons[at].focus();
  });
})();
