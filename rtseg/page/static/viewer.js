// A picture under the colours of its classes: how strong they are, a legend with shares, and each pixel's class and
// margin. It needs base.css and viewer.css, knows nothing of where class maps come from, and makes all of its elements.

const STEP = 1;
const LARGE_STEP = 10; // pixels, with Shift
const NAMED = 12; // of the classes that are not found
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

export class Viewer {
  #classes;
  #base = document.createElement("canvas");
  #colours = document.createElement("canvas");
  #stage = element("div", "stage");
  #mark = element("div", "mark");
  #said = element("p", "said");
  #legend = element("ul", "legend");
  #absent = element("p", "soft");
  #strength = document.createElement("input");
  #alone = null; // the class that is shown alone
  #chosen = null; // [row, column]
  #steady = false;
  #picture = null;
  #sentence = null; // of a pixel

  // What is shown: { height, width, classes, margins or null, shares }.
  result = null;

  // root: an empty element. classes: [{ id, name, color: [r, g, b] }], by class number; a fourth value is the opacity.
  constructor(root, classes) {
    this.#classes = classes;
    this.#base.setAttribute("aria-hidden", "true");
    this.#colours.className = "colours";
    this.#colours.setAttribute("aria-hidden", "true");
    this.#stage.tabIndex = 0;
    this.#stage.setAttribute("role", "application");
    this.#stage.setAttribute("aria-label", "The image. Arrow keys move from pixel to pixel, with Shift by ten.");
    this.#mark.hidden = true;
    this.#stage.append(this.#base, this.#colours, this.#mark);
    this.#stage.addEventListener("click", (event) => this.#click(event));
    this.#stage.addEventListener("keydown", (event) => this.#key(event));
    const side = element("div", "side");
    side.append(this.#slider(), element("h2", "", "Classes"), this.#legend, this.#absent);
    const picture = element("div", "picture");
    picture.append(this.#stage, this.#said);
    root.classList.add("viewer");
    root.hidden = true;
    root.append(picture, side);
    this.root = root;
  }

  #slider() {
    const [whole, label] = [element("div", "strength"), element("label", "", "Strength of the colours ")];
    const value = document.createElement("output"); // not in the label, which would then be its own
    Object.assign(this.#strength, { type: "range", min: 0, max: 100, value: 55 });
    const set = () => {
      this.#colours.style.opacity = this.#strength.value / 100;
      value.textContent = `${this.#strength.value} %`;
    };
    this.#strength.addEventListener("input", set);
    set();
    label.append(this.#strength);
    whole.append(value, label);
    return whole;
  }

  // picture: a canvas or an image of the result's size. steady: one of a film, whose legend keeps its order.
  // table: the classes of this class map and the next ones, where they are others. tell: what is said of a pixel by its
  // place in the class map, or of none (null).
  show(picture, result, { steady = false, table = this.#classes, tell = (at) => this.#classAndMargin(at) } = {}) {
    const { height, width, classes } = result;
    if (table !== this.#classes) this.#legend.replaceChildren(); // its entries are of other classes
    this.#classes = table;
    this.#sentence = tell;
    for (const canvas of [this.#base, this.#colours]) {
      if (canvas.height !== height || canvas.width !== width) Object.assign(canvas, { height, width });
    }
    this.#stage.style.maxWidth = `calc(${(width / height).toFixed(4)} * var(--tallest))`;
    this.#base.getContext("2d").drawImage(picture, 0, 0, width, height);
    const counts = new Uint32Array(this.#classes.length);
    for (let i = 0; i < classes.length; i++) counts[classes[i]]++;
    const shares = Array.from(counts, (count) => count / classes.length);
    if (!steady) this.#alone = null;
    this.result = { ...result, shares };
    this.#steady = steady;
    if (steady) this.#said.setAttribute("aria-live", "off"); // a film would never let a reader finish
    this.#paint();
    this.#list();
    this.root.hidden = false;
    if (this.#chosen && (steady || picture === this.#picture)) this.#tell();
    else this.#choose(null);
    this.#picture = picture;
  }

  #paint() {
    const { height, width, classes } = this.result;
    const table = new Uint32Array(this.#classes.length); // bytes in the order r, g, b, a
    const bytes = new Uint8Array(table.buffer);
    this.#classes.forEach(({ color: [r, g, b, opacity = 255] }, k) => {
      bytes.set([r, g, b, this.#alone === null || this.#alone === k ? opacity : 0], 4 * k);
    });
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < classes.length; i++) pixels[i] = table[classes[i]];
    this.#colours.getContext("2d").putImageData(image, 0, 0);
  }

  #list() {
    const { shares } = this.result;
    const there = [...shares.keys()].filter((k) => shares[k] > 0 || this.#alone === k);
    if (!this.#steady) there.sort((a, b) => shares[b] - shares[a]);
    const entries = new Map([...this.#legend.children].map((entry) => [Number(entry.dataset.class), entry]));
    const wanted = there.map((k) => {
      const entry = entries.get(k) ?? this.#entry(k);
      entry.querySelector(".share").textContent = percent(shares[k]);
      entry.querySelector(".bar i").style.width = `${100 * shares[k]}%`;
      entry.firstElementChild.setAttribute("aria-pressed", String(this.#alone === k));
      return entry;
    });
    const isSame = wanted.length === this.#legend.children.length && wanted.every((one, i) => one === this.#legend.children[i]);
    if (!isSame) this.#legend.replaceChildren(...wanted); // else the focus would be lost at each image of a film
    const absent = this.#classes.filter((_, k) => !shares[k]).map(({ name }) => name);
    const more = absent.length > NAMED ? ` and ${absent.length - NAMED} more` : "";
    this.#absent.textContent = absent.length ? `Not found: ${absent.slice(0, NAMED).join(", ")}${more}.` : "";
  }

  #entry(k) {
    const { name, color: [r, g, b, opacity = 255] } = this.#classes[k];
    const entry = document.createElement("li");
    entry.dataset.class = k;
    const button = element("button", "class");
    button.type = "button";
    button.title = "Show this class alone, or all again";
    const swatch = element("span", "swatch");
    swatch.style.backgroundColor = `rgb(${r} ${g} ${b} / ${opacity / 255})`;
    const bar = element("span", "bar");
    const filled = document.createElement("i");
    filled.style.backgroundColor = swatch.style.backgroundColor;
    bar.append(filled);
    button.append(swatch, element("bdi", "name", name), element("span", "share"), bar);
    button.addEventListener("click", () => {
      this.#alone = this.#alone === k ? null : k;
      this.#paint();
      this.#list();
    });
    entry.append(button);
    return entry;
  }

  #click(event) {
    const place = this.#stage.getBoundingClientRect();
    const { height, width } = this.result;
    const row = Math.floor(((event.clientY - place.top) / place.height) * height);
    const column = Math.floor(((event.clientX - place.left) / place.width) * width);
    this.#choose([row, column]);
  }

  #key(event) {
    const move = MOVES[event.key];
    if (event.key === "Escape") this.#choose(null);
    if (!move || !this.result || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const { height, width } = this.result;
    const step = event.shiftKey ? LARGE_STEP : STEP;
    const [row, column] = this.#chosen ?? [height >> 1, width >> 1];
    this.#choose(this.#chosen ? [row + step * move[0], column + step * move[1]] : [row, column]);
  }

  #choose(place) {
    this.#said.setAttribute("aria-live", "polite");
    const { height, width } = this.result;
    const within = (value, size) => Math.min(Math.max(value, 0), size - 1);
    this.#chosen = place && [within(place[0], height), within(place[1], width)];
    this.#mark.hidden = !place;
    if (place) {
      this.#mark.style.top = `${(100 * (this.#chosen[0] + 0.5)) / height}%`;
      this.#mark.style.left = `${(100 * (this.#chosen[1] + 0.5)) / width}%`;
    }
    this.#tell();
  }

  #tell() {
    const [row, column] = this.#chosen ?? [];
    const said = this.#sentence(this.#chosen && row * this.result.width + column);
    this.#said.textContent = this.#chosen ? `Row ${row}, column ${column}: ${said}.` : `${said}.`;
  }

  #classAndMargin(at) {
    if (at === null) return "Click a pixel for its class and its margin";
    const { classes, margins } = this.result;
    const { id, name } = this.#classes[classes[at]];
    if (!margins) return `${name} (id ${id})`;
    return `${name} (id ${id})${Number.isFinite(margins[at]) ? `, margin ${margins[at].toFixed(2)}` : ", no other class comes near"}`;
  }
}

function element(kind, className, text = "") {
  const made = document.createElement(kind);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

export function percent(share) {
  if (!share) return "–";
  return share >= 0.0005 ? `${(100 * share).toFixed(1)} %` : "< 0.1 %";
}
