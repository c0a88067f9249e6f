// Reads cases from the standard input, runs the page's modules on them, and writes what they give.
import fs from "node:fs";

const [folder] = process.argv.slice(2);
const { classMap } = await import(`${folder}/class_map.js`);
const { evaluationSize, resizeInto, seenSize } = await import(`${folder}/resize.js`);
const base64 = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");

function whyNone(compute) {
  try {
    return compute();
  } catch (error) {
    return error.message;
  }
}

const run = {
  classMap({ logits, dims, size, between, lost }) {
    const bytes = Buffer.from(logits, "base64");
    const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    if (lost) return whyNone(() => classMap(values.fill(NaN, -lost), dims, size, between));
    const { classes, margins } = classMap(values, dims, size, between);
    return [base64(classes), base64(margins)];
  },
  resize({ rgba, size, seen }) {
    const bytes = Uint8ClampedArray.from(Buffer.from(rgba, "base64"));
    return base64(resizeInto(new Uint8Array(seen[0] * seen[1] * 3), bytes, size, seen));
  },
  evaluationSize: ({ size, resize }) => evaluationSize(size, resize),
  seenSize: ({ size, input }) => seenSize(size, input),
};

const cases = JSON.parse(fs.readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(({ kind, ...given }) => run[kind](given))));
