// Logits at the network's stride -> class and margin of every pixel: rtseg's own rule (rtseg/deploy/class_map).
//
// A pixel is a combination of its neighbouring logits, so a class can be among its two best only if the largest of
// the corners reaches the second best of all classes' smallest corners. Most cells have two such classes; only these
// are interpolated.

const { fround } = Math;
const ROUNDING = 2 ** -20; // interpolation rounds: a class stays if it misses the bound by no more than that

// PyTorch's rule for align_corners=False, in float32 as there: the logit before each position, and how far behind it.
function axis(n, out) {
  const scale = fround(n / out);
  const cell = new Int32Array(out);
  const share = new Float32Array(out);
  for (let i = 0; i < out; i++) {
    const position = Math.max(fround(fround(scale * fround(i + 0.5)) - 0.5), 0);
    cell[i] = Math.min(Math.floor(position), n - 1);
    share[i] = Math.min(Math.max(position - cell[i], 0), 1);
  }
  return { cell, share };
}

// n logits -> `between` positions -> `out` positions, in runs that combine the same two or three logits:
// c0 + near (c1 - c0) + far (c2 - c1).
export function taps(n, between, out) {
  const outer = axis(between, out);
  const inner = axis(n, between);
  const near = new Float32Array(out);
  const far = new Float32Array(out);
  const runs = [];
  for (let i = 0; i < out; i++) {
    const before = outer.cell[i];
    const behind = Math.min(before + 1, between - 1);
    const share = outer.share[i];
    const first = inner.cell[before];
    if (inner.cell[behind] > first) {
      near[i] = (1 - share) * inner.share[before] + share;
      far[i] = share * inner.share[behind];
    } else {
      near[i] = (1 - share) * inner.share[before] + share * inner.share[behind];
    }
    if (between === out) near[i] = inner.share[i];
    const last = runs[runs.length - 1];
    const count = far[i] > 0 ? 3 : 2;
    if (last && last.first === first && last.count === count) last.end = i + 1;
    else runs.push({ first, count, start: i, end: i + 1 });
  }
  return { runs, near, far };
}

// The two best of a cell's pixels are among these classes: fills `found`, and says how many there are.
function candidates(logits, places, count, number, largest, found) {
  let best = -Infinity;
  let second = -Infinity;
  for (let k = 0; k < number; k++) {
    let high = logits[places[0] + k];
    let low = high;
    for (let corner = 1; corner < count; corner++) {
      const value = logits[places[corner] + k];
      if (value > high) high = value;
      if (value < low) low = value;
    }
    largest[k] = high;
    if (low > best) {
      second = best;
      best = low;
    } else if (low > second) second = low;
  }
  const bound = Math.max(second - ROUNDING * Math.abs(second), -Number.MAX_VALUE);
  let n = 0;
  for (let k = 0; k < number; k++) if (largest[k] >= bound) found[n++] = k;
  return n;
}

// logits: Float32Array of (h, w, K), the classes of a position side by side. size, between: [height, width].
// -> classes, Uint8Array (Uint16Array above 256 classes), and margins, Float32Array: best minus second. Throws an Error
// with a sentence where no class has a number.
export function classMap(logits, [h, w, number], [height, width], between = null) {
  const classes = new (number > 256 ? Uint16Array : Uint8Array)(height * width);
  const margins = new Float32Array(height * width);
  const y = taps(h, between ? between[0] : height, height);
  const x = taps(w, between ? between[1] : width, width);
  const largest = new Float32Array(number);
  const found = new Int32Array(number);
  const [left, middle, right] = [0, 1, 2].map(() => new Float32Array(number));
  const [nine, seen] = [new Int32Array(9), new Int32Array(9)];
  for (const rows of y.runs) {
    for (const columns of x.runs) {
      let corners = 0;
      for (let down = 0; down < 3; down++) {
        for (let beside = 0; beside < 3; beside++) {
          const row = Math.min(rows.first + down, h - 1);
          const place = (row * w + Math.min(columns.first + beside, w - 1)) * number;
          nine[3 * down + beside] = place;
          if (down < rows.count && beside < columns.count) seen[corners++] = place;
        }
      }
      const n = candidates(logits, seen, corners, number, largest, found);
      if (!n) throw new Error("the network's output is not a number: reload the page");
      if (n < 2) {
        for (let row = rows.start; row < rows.end; row++) {
          classes.fill(found[0], row * width + columns.start, row * width + columns.end);
          margins.fill(Infinity, row * width + columns.start, row * width + columns.end);
        }
        continue;
      }
      for (let row = rows.start; row < rows.end; row++) {
        const [near, far] = [y.near[row], y.far[row]];
        for (let m = 0; m < n; m++) {
          const k = found[m];
          const down = (column) => {
            const [top, centre] = [logits[nine[column] + k], logits[nine[3 + column] + k]];
            return top + near * (centre - top) + (far ? far * (logits[nine[6 + column] + k] - centre) : 0);
          };
          left[m] = down(0);
          middle[m] = down(1);
          right[m] = columns.count === 3 ? down(2) : middle[m];
        }
        for (let column = columns.start; column < columns.end; column++) {
          const [along, beyond] = [x.near[column], x.far[column]];
          let [best, second, winner] = [-Infinity, -Infinity, found[0]];
          for (let m = 0; m < n; m++) {
            const value = left[m] + along * (middle[m] - left[m]) + beyond * (right[m] - middle[m]);
            if (value > best) {
              second = best;
              best = value;
              winner = found[m];
            } else if (value > second) second = value;
          }
          classes[row * width + column] = winner;
          margins[row * width + column] = best - second;
        }
      }
    }
  }
  return { classes, margins };
}
