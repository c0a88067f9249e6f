// The network at work in a thread of its own, so that the page stays awake: onnxruntime-web, then the class map.

import { fetchChecked } from "./checked.js";
import { classMap } from "./class_map.js";
import { resizeInto, seenSize } from "./resize.js";

const MOST_THREADS = 8;
const TRIED = [192, 256]; // size of the image that tries out WebGPU, where the network takes any

let said; // network.json
let running; // { ort, session } of onnxruntime-web

const tell = (text) => postMessage({ tell: text });

function fileOf(part, base) {
  return { url: new URL(part.file, base).href, integrity: part.integrity };
}

async function load(road, model, base) {
  const { module, binary } = said.runtime[road];
  tell(`Loading onnxruntime-web ${said.runtime.version} for ${road}, ${(binary.bytes / 1e6).toFixed(0)} MB …`);
  const [script, wasm] = await Promise.all(
    [module, binary].map((part) => {
      const { url, integrity } = fileOf(part, base);
      return fetchChecked(url, integrity);
    }),
  );
  // Of the very bytes whose hash was checked; the address stays valid, since threads start from it, too.
  const ort = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  ort.env.logLevel = "error";
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = threads();
  tell(`Starting the network on ${road} …`);
  const session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: [road] });
  return { ort, session, road };
}

function threads() {
  return globalThis.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
}

// Why this browser runs no WebGPU; empty where it does. One without a graphics card is slower than WebAssembly.
async function lacksWebGPU(only) {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    if (!adapter) return "this browser has no WebGPU";
    const isSlow = adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter;
    return isSlow && only !== "webgpu" ? "its WebGPU has no graphics card" : "";
  } catch {
    return "this browser's WebGPU does not start";
  }
}

async function start({ network, base, only }) {
  said = network;
  const { url, integrity } = fileOf(said.graph, base);
  tell(`Loading the network, ${(said.graph.bytes / 1e6).toFixed(0)} MB …`);
  const model = await fetchChecked(url, integrity);
  let why = only === "wasm" ? "the address asks for it" : await lacksWebGPU(only);
  if (!why) {
    try {
      running = await load("webgpu", model, base);
      const [height, width] = said.input.size ?? TRIED;
      await logitsOf(new (arrayType())(height * width * 3), [height, width]);
      return report("");
    } catch (error) {
      why = `WebGPU failed (${String(error.message ?? error).slice(0, 200)})`;
    }
  }
  running = await load("wasm", model, base);
  return report(why);
}

function report(why) {
  const used = [said.graph, said.runtime[running.road].module, said.runtime[running.road].binary];
  return { road: running.road, threads: running.road === "wasm" ? threads() : 1, why, used };
}

function arrayType() {
  return said.input.type === "uint8" ? Uint8Array : Float32Array;
}

async function logitsOf(pixels, [height, width]) {
  const { ort, session } = running;
  const images = new ort.Tensor(said.input.type, pixels, [1, height, width, 3]);
  const { [said.output]: found } = await session.run({ [said.input.name]: images });
  const values = found.location === "cpu" ? found.data : await found.getData();
  const dims = found.dims.slice(1);
  images.dispose();
  return { values, dims, free: () => found.dispose() };
}

async function segment({ rgba, size }) {
  const began = performance.now();
  const { seen, reduced } = seenSize(size, said.input);
  const pixels = resizeInto(new (arrayType())(seen[0] * seen[1] * 3), new Uint8ClampedArray(rgba), size, seen);
  const resized = performance.now();
  const { values, dims, free } = await logitsOf(pixels, seen);
  const run = performance.now();
  const twice = said.upsampling === "twice" && (seen[0] !== size[0] || seen[1] !== size[1]);
  const { classes, margins } = classMap(values, dims, size, twice ? seen : null);
  free();
  const milliseconds = { resize: resized - began, network: run - resized, "class map": performance.now() - run };
  return { classes, margins, seen, reduced, milliseconds };
}

onmessage = async ({ data: { id, kind, ...given } }) => {
  try {
    const result = await { start, segment }[kind](given);
    const buffers = result.classes ? [result.classes.buffer, result.margins.buffer] : [];
    postMessage({ id, result }, buffers);
  } catch (error) {
    postMessage({ id, error: String(error.message ?? error) });
  }
};
