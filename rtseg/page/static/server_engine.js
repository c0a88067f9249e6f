// The source of class maps that asks the server which gave out the page (`rtseg serve`).

export class ServerEngine {
  #network;

  constructor(network) {
    this.#network = network;
  }

  async start() {}

  get description() {
    return "The network runs on the server.";
  }

  get privacy() {
    return "Images are sent to the server that gave out this page, and to no other.";
  }

  async isKept() {
    return false;
  }

  // picture: see pictures.js. -> { height, width, classes, margins or null, milliseconds, note }
  async segment(picture) {
    const file = await picture.file();
    const most = this.#network.limits.bytes;
    if (most && file.size > most) {
      throw new Error(`The file has ${megabytes(file.size)} MB, and the server takes ${megabytes(most)}.`);
    }
    const began = performance.now();
    let answer;
    try {
      answer = await fetch("api/segment?result=raw", { method: "POST", body: file });
    } catch {
      throw new Error("The server does not answer: it may have ended. Give the image again once it runs.");
    }
    if (!answer.ok) throw new Error(await sentence(answer));
    const bytes = await answer.arrayBuffer();
    const [height, width] = answer.headers.get("X-Size").split(" ").map(Number);
    const milliseconds = JSON.parse(answer.headers.get("X-Milliseconds") || "{}");
    const there = Object.values(milliseconds).reduce((sum, value) => sum + value, 0);
    milliseconds["on the way"] = Math.max(0, performance.now() - began - there);
    const wide = this.#network.classes.length > 256;
    const pixels = height * width;
    const numbers = bytes.slice(0, pixels * (wide ? 2 : 1));
    const classes = wide ? new Uint16Array(numbers) : new Uint8Array(numbers);
    let margins = null;
    if (answer.headers.get("X-Margin") === "1") {
      const thousandths = new Uint16Array(bytes.slice(numbers.byteLength, numbers.byteLength + 2 * pixels));
      margins = Float32Array.from(thousandths, (value) => value / 1000);
    }
    return { height, width, classes, margins, milliseconds, note: "" };
  }
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

// What the server says of an error, in JSON or as text.
async function sentence(answer) {
  const text = (await answer.text()).trim();
  try {
    const said = JSON.parse(text);
    return String(said.error ?? said.detail ?? text);
  } catch {
    return text || `The server says ${answer.status}.`;
  }
}
