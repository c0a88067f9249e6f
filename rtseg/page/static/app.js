// The page: from what the visitor gives, over a source of class maps, to the viewer.

import { BrowserEngine } from "./browser_engine.js";
import { Film, openCamera } from "./film.js";
import { nameOf, readPicture } from "./pictures.js";
import { ServerEngine } from "./server_engine.js";
import { Stages } from "./stages.js";
import { Viewer, percent } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const [status, failure] = [$("status"), $("error")];
const stages = new Stages($("times").querySelector("table"));
let network;
let engine;
let viewer;
let film = null;
let work = Promise.resolve(); // one thing at a time
let turn = 0; // of what was given last; what was given before is dropped

function say(text) {
  status.textContent = text;
}

function fail(error) {
  failure.textContent = error?.message ?? String(error);
  failure.hidden = !failure.textContent;
}

function reachable(ready) {
  for (const id of ["file", "example", "camera"]) $(id).disabled = !ready;
}

function sentence(name, shares) {
  const most = [...shares.keys()].filter((k) => shares[k]).sort((a, b) => shares[b] - shares[a]).slice(0, 3);
  const found = most.map((k) => `${network.classes[k].name} ${percent(shares[k])}`).join(", ");
  return `${name}: ${found}.`;
}

// Segments a picture and shows it; whether it was still wanted.
async function show(picture, decode, mine, options = {}) {
  const { milliseconds, ...result } = await engine.segment(picture);
  if (mine !== turn) return null;
  const began = performance.now();
  if (!options.steady) forgetTimes();
  viewer.show(picture.canvas, result, options);
  stages.add({ decode, ...milliseconds, drawing: performance.now() - began });
  $("times").hidden = false;
  return result;
}

function forgetTimes() {
  stages.clear();
  $("rate").textContent = "";
}

async function openImage(file, mine) {
  say(`Segmenting ${nameOf(file)} …`);
  const began = performance.now();
  const picture = await readPicture(file, network.limits.pixels);
  const result = await show(picture, performance.now() - began, mine);
  if (result) say(`${sentence(nameOf(file), viewer.result.shares)} ${result.note}`.trim());
}

async function openFilm(source, name, mine) {
  const own = new Film();
  film = own;
  try {
    say(`Opening ${name} …`);
    await own.open(source, network.limits.pixels);
    forgetTimes();
    buttons(true);
    say(`${name}: the network takes the image that is shown whenever it is free.`);
    await own.play(
      (picture, decode) => show(picture, decode, mine, { steady: true }),
      () => ($("rate").textContent = rate(own)),
    );
    if (mine === turn) say(`${name} has ended.`);
  } finally {
    own.stop();
    if (film === own) {
      film = null;
      buttons(false);
    }
  }
}

function rate({ images, seconds, speed }) {
  const slowed = speed < 1 ? ` The film runs at ${Math.round(100 * speed)} % of its speed.` : "";
  return `${images} image${images === 1 ? "" : "s"}, ${(images / (seconds || 1)).toFixed(1)} images/s.${slowed}`;
}

function buttons(playing) {
  for (const id of ["pause", "stop"]) $(id).hidden = !playing;
  $("pause").textContent = "Pause";
}

// What was given last is what counts: a film that runs is stopped first.
function take(job) {
  const mine = ++turn;
  film?.stop();
  work = work.then(async () => {
    if (mine !== turn) return;
    fail("");
    try {
      await job(mine);
    } catch (error) {
      if (mine !== turn) return;
      say("");
      for (const id of ["viewer", "times"]) $(id).hidden = true; // what was given before would pass for this one
      fail(error);
    }
  });
  return work;
}

function open(file) {
  const isFilm = file.type.startsWith("video/");
  return take((mine) => (isFilm ? openFilm(file, nameOf(file), mine) : openImage(file, mine)));
}

function given(list) {
  const file = [...(list ?? [])][0];
  if (file) open(file);
}

async function example() {
  const answer = await fetch(network.example.file);
  if (!answer.ok) throw new Error(`The example cannot be loaded: the server says ${answer.status}.`);
  return Object.assign(await answer.blob(), { title: "The example" });
}

function listen() {
  $("file").addEventListener("change", (event) => {
    given(event.target.files);
    event.target.value = ""; // the same file may be given again
  });
  $("example").addEventListener("click", () => take(async (mine) => openImage(await example(), mine)));
  $("camera").addEventListener("click", () => take((mine) => openFilm(openCamera(), "The camera", mine)));
  $("stop").addEventListener("click", () => film?.stop());
  $("pause").addEventListener("click", async () => {
    await film?.toggle();
    $("pause").textContent = film?.paused ? "Go on" : "Pause";
  });
  const drop = $("drop");
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    if (!$("file").disabled) given(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    if (!$("file").disabled) given(event.clipboardData.files);
  });
}

async function keep() {
  if (!("serviceWorker" in navigator)) return;
  try {
    await navigator.serviceWorker.register("service_worker.js");
    await navigator.serviceWorker.ready;
    if (await engine.isKept()) $("engine").textContent += " The page is kept: it now works without a connection.";
  } catch {
    // a private window, or an address without https: the page needs its server each time
  }
}

async function start() {
  say("Loading …");
  const answer = await fetch("network.json", { cache: "no-cache" });
  if (!answer.ok) throw new Error(`network.json cannot be loaded: the server says ${answer.status}.`);
  network = await answer.json();
  $("model").textContent = [network.model, network.attention === "none" ? "" : network.attention].join(" ").trim();
  document.title = `What ${network.model} sees`;
  const of = network.dataset ? ` of ${network.dataset}` : "";
  $("about").textContent = `Each pixel gets one of ${network.classes.length} classes${of}.`;
  viewer = new Viewer($("viewer"), network.classes);
  engine = network.engine === "server" ? new ServerEngine(network) : new BrowserEngine(network, say);
  $("privacy").textContent = engine.privacy;
  $("example").hidden = !network.example;
  listen();
  await engine.start(new URLSearchParams(location.search).get("on"));
  $("engine").textContent = engine.description;
  reachable(true);
  say("Ready.");
  if (network.engine === "browser") keep();
}

// For tests, and for the curious.
globalThis.rtseg = { open, get viewer() { return viewer; }, get network() { return network; } };

start().catch((error) => {
  say("");
  fail(error);
});
