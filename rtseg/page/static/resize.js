// Images at the size that the network sees: the sizes of rtseg's evaluation, and OpenCV's INTER_LINEAR for bytes.

const MULTIPLE = 32; // of both sides of an image that evaluation resizes

// resize: [short side, long side] or null, see rtseg/data/evaluation.py.
export function evaluationSize([height, width], resize) {
  if (!resize) return [height, width];
  const [short, long] = resize;
  const scale = Math.min(long / Math.max(height, width), short / Math.min(height, width));
  return [height, width].map((side) => Math.max(1, Math.ceil(Math.floor(side * scale + 0.5) / MULTIPLE)) * MULTIPLE);
}

// The size that the network sees, and whether that is smaller than it should be: a browser has less memory.
export function seenSize(size, { size: fixed, resize, most_pixels: most }) {
  if (fixed) return { seen: fixed, reduced: false };
  const wanted = evaluationSize(size, resize);
  const pixels = wanted[0] * wanted[1];
  if (pixels <= most) return { seen: wanted, reduced: false };
  const scale = Math.sqrt(most / pixels);
  const seen = wanted.map((side) => Math.max(1, Math.floor((side * scale) / MULTIPLE)) * MULTIPLE);
  return { seen, reduced: true };
}

// Where each of `out` positions lies among n: the one before, the one behind, and shares of both in 2048ths, as OpenCV
// rounds them. Beyond the edge it counts a row twice, with both shares, and a column once.
function weights(n, out, isRow) {
  const scale = n / out;
  const [before, behind, first, second] = [0, 1, 2, 3].map(() => new Int32Array(out));
  for (let i = 0; i < out; i++) {
    const position = Math.fround((i + 0.5) * scale - 0.5);
    const cell = Math.floor(position);
    const isInside = cell >= 0 && cell < n - 1;
    const share = isRow || isInside ? Math.fround(position - cell) : 0;
    before[i] = Math.min(Math.max(cell, 0), n - 1);
    behind[i] = Math.min(Math.max(cell + 1, 0), n - 1);
    first[i] = even((1 - share) * 2048);
    second[i] = even(share * 2048);
  }
  return { before, behind, first, second };
}

function even(value) {
  const low = Math.floor(value);
  const rest = value - low;
  return rest > 0.5 || (rest === 0.5 && low % 2) ? low + 1 : low;
}

// rgba: bytes of a canvas, (height, width, 4). target: an array of (seen height, seen width, 3), any type.
export function resizeInto(target, rgba, [height, width], [tall, wide]) {
  if (height === tall && width === wide) {
    for (let from = 0, to = 0; to < target.length; from += 4) {
      target[to++] = rgba[from];
      target[to++] = rgba[from + 1];
      target[to++] = rgba[from + 2];
    }
    return target;
  }
  const [y, x] = [weights(height, tall, true), weights(width, wide, false)];
  const rows = [new Int32Array(wide * 3), new Int32Array(wide * 3)];
  const held = [-1, -1];
  const fill = (which, row) => {
    if (held[which] === row) return;
    held[which] = row;
    for (let column = 0, to = 0; column < wide; column++) {
      const left = (row * width + x.before[column]) * 4;
      const right = (row * width + x.behind[column]) * 4;
      for (let c = 0; c < 3; c++) {
        rows[which][to++] = rgba[left + c] * x.first[column] + rgba[right + c] * x.second[column];
      }
    }
  };
  for (let row = 0, to = 0; row < tall; row++) {
    const [top, below] = [y.before[row], y.behind[row]];
    const [a, b] = [top % 2, below % 2]; // a row is computed once for all that need it
    fill(a, top);
    fill(b, below);
    const [upper, lower, first, second] = [rows[a], rows[b], y.first[row], y.second[row]];
    for (let i = 0; i < upper.length; i++) {
      target[to++] = ((((upper[i] >> 4) * first) >> 16) + (((lower[i] >> 4) * second) >> 16) + 2) >> 2;
    }
  }
  return target;
}
