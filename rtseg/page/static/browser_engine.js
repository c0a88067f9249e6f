// The source of class maps that computes in this browser. `ServerEngine` has the same methods.

import { allKept } from "./checked.js";

const ROADS = ["webgpu", "wasm"];

export class BrowserEngine {
  #worker;
  #waiting = new Map();
  #next = 0;
  #network;
  #started;
  #only;

  constructor(network, tell) {
    this.#network = network;
    // A worker from an address of its own would not be under the page's Content-Security-Policy; one from a blob is.
    const module = JSON.stringify(new URL("engine_worker.js", import.meta.url).href);
    const script = new Blob([`import ${module};`], { type: "text/javascript" });
    this.#worker = new Worker(URL.createObjectURL(script), { type: "module" });
    this.#worker.onmessage = ({ data }) => {
      if (data.tell) return tell(data.tell);
      const { resolve, reject } = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if (data.error) reject(new Error(data.error));
      else resolve(data.result);
    };
    this.#worker.onerror = (event) => {
      const error = new Error(`the network's thread ended: ${event.message ?? "it cannot be loaded"}`);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
  }

  #ask(kind, given, buffers = []) {
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, kind, ...given }, buffers);
    });
  }

  // only: "wasm" leaves WebGPU out, "webgpu" takes it also without a graphics card.
  async start(only) {
    this.#only = only;
    this.#started = await this.#ask("start", { network: this.#network, base: document.baseURI, only });
  }

  get description() {
    const { road, threads, why } = this.#started;
    const { version } = this.#network.runtime;
    if (road === "webgpu") return `onnxruntime-web ${version}, WebGPU.${this.#vain}`;
    const count = threads === 1 ? "one thread" : `${threads} threads`;
    return `onnxruntime-web ${version}, WebAssembly with ${count}, since ${why}.${this.#vain}`;
  }

  // What the address asks for and does not get, a sentence; else empty.
  get #vain() {
    if (!this.#only || this.#only === this.#started.road) return "";
    const known = ROADS.includes(this.#only) ? "which does not run here" : `which is unknown: ${ROADS.join(" or ")} is known`;
    return ` The address asks for on=${this.#only.slice(0, 40)}, ${known}.`;
  }

  get privacy() {
    return "The network runs in this browser: no image leaves your machine.";
  }

  // Whether the page works without a connection from now on.
  async isKept() {
    const files = this.#started.used.map(({ file, integrity }) => ({ url: new URL(file, document.baseURI).href, integrity }));
    return allKept(files);
  }

  // picture: see pictures.js. -> { height, width, classes, margins, milliseconds, note }
  async segment(picture) {
    const { height, width } = picture;
    const { data } = picture.pixels();
    const found = await this.#ask("segment", { rgba: data.buffer, size: [height, width] }, [data.buffer]);
    const [tall, wide] = found.seen;
    const notes = [];
    if (found.reduced) notes.push(`The network saw it at ${wide} × ${tall}, as this browser's memory is small.`);
    if (picture.transparent) notes.push("It is transparent in parts: rtseg predict sees the colours there, and a browser black.");
    return { height, width, note: notes.join(" "), ...found };
  }
}
