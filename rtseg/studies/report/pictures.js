// The validation images in the viewer. The page's one script has viewer.js before this, and so `Viewer`.

const KINDS = ["prediction", "truth", "errors"];
const UNLABELLED = 255;
const look = document.querySelector(".look");
const rows = Array.from(document.querySelectorAll(".example"));
const classes = named(".of-classes"); // what is not labelled is the last, if there is such
const known = classes.filter(({ number }) => number !== UNLABELLED);
const marks = named(".of-errors"); // right, wrong, and what is not labelled
const viewer = look && new Viewer(look.querySelector(".over"), known);
let at = 0; // the row that is shown
let kind = "prediction";
let turn = 0; // of what was asked for last

// [{ number, name, color }] of a legend of the page; what has no colour there lets the image through.
function named(legend) {
  return Array.from(document.querySelectorAll(`${legend} [data-class]`), (entry) => {
    const color = entry.querySelector(".swatch").style.backgroundColor.match(/\d+/g);
    return {
      number: Number(entry.dataset.class),
      name: entry.querySelector("bdi").textContent,
      color: color ? color.map(Number) : [0, 0, 0, 0],
    };
  });
}

// The class map that an image shows, each pixel a place in `classes`. Some browsers change the colours that a page
// reads, so that nobody is known again by them: that is an error, not another class.
function classMap(image) {
  const { naturalHeight: height, naturalWidth: width } = image;
  const context = Object.assign(document.createElement("canvas"), { height, width }).getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
  const places = new Map(classes.map(({ color }, k) => [new Uint32Array(Uint8Array.of(...color, 255).buffer)[0], k]));
  const found = Uint16Array.from(pixels, (pixel) => places.get(pixel) ?? classes.length);
  if (found.includes(classes.length)) throw new Error("a pixel has the colour of no class");
  return { height, width, classes: found, margins: null };
}

// What the viewer shows of a row: by kind a class map and its classes, and what a pixel is.
function layersOf({ prediction, truth }) {
  const [predicted, labelled] = [classMap(prediction), classMap(truth)];
  const errors = labelled.classes.map((k, i) => (k === known.length ? 2 : Number(k !== predicted.classes[i])));
  const all = errors.includes(2);
  const tell = (i) => {
    if (i === null) return "Click a pixel for its predicted and its true class";
    const name = known[predicted.classes[i]].name;
    return `predicted ${name}, ${["which is right", `true ${classes[labelled.classes[i]].name}`, "not labelled"][errors[i]]}`;
  };
  return {
    prediction: [predicted, { table: known, tell }],
    truth: [labelled, { table: all ? classes : known, tell }],
    errors: [{ ...labelled, classes: errors }, { table: all ? marks : marks.slice(0, 2), tell }],
  };
}

async function show() {
  const mine = ++turn;
  const buttons = Array.from(rows[at].querySelectorAll(".choose"));
  const images = Object.fromEntries(buttons.map((one) => [one.dataset.kind, one.firstElementChild]));
  await Promise.all(Object.values(images).map((image) => image.decode()));
  if (mine !== turn) return;
  viewer.show(images.image, ...layersOf(images)[kind]);
  for (const one of document.querySelectorAll(".choose")) {
    one.setAttribute("aria-pressed", String(rows[at].contains(one) && one.dataset.kind === kind));
  }
  look.querySelector(".what").replaceChildren(...rows[at].querySelector("figcaption").cloneNode(true).childNodes);
  look.querySelector(".count").textContent = `${at + 1} of ${rows.length}`;
  look.querySelector(`input[value=${kind}]`).checked = true;
}

function choose(row, of = kind) {
  at = (row + rows.length) % rows.length;
  if (KINDS.includes(of)) kind = of;
  show();
}

function listen() {
  look.hidden = false;
  for (const input of look.querySelectorAll("input[name=kind]")) input.addEventListener("change", () => choose(at, input.value));
  look.querySelector(".previous").addEventListener("click", () => choose(at - 1));
  look.querySelector(".next").addEventListener("click", () => choose(at + 1));
  for (const button of document.querySelectorAll(".choose")) {
    button.disabled = false;
    button.addEventListener("click", () => {
      choose(rows.indexOf(button.closest(".example")), button.dataset.kind);
      look.querySelector(".stage").focus();
    });
  }
}

// Without what the viewer needs the images stay as they are.
if (viewer) show().then(listen, (error) => console.warn(error));
