// Pictures from files and films: upright, as a canvas, and as what the sources of class maps take.

export class Picture {
  #file;
  #pixels;

  // canvas: the picture. file: the Blob that it came from, or null. pixels: ImageData of the canvas, or null.
  // transparent: whether it was in parts, whose colours a browser may have lost.
  constructor(canvas, file = null, pixels = null, transparent = false) {
    this.canvas = canvas;
    this.height = canvas.height;
    this.width = canvas.width;
    this.transparent = transparent;
    this.#file = file;
    this.#pixels = pixels;
  }

  // ImageData, a copy that may be given away.
  pixels() {
    const found = this.#pixels ?? contextOf(this.canvas).getImageData(0, 0, this.width, this.height);
    this.#pixels = null;
    return found;
  }

  // The file itself; of a film a JPEG of this image.
  async file() {
    if (this.#file) return this.#file;
    const made = await new Promise((resolve) => this.canvas.toBlob(resolve, "image/jpeg", 0.95));
    if (!made) throw new Error("This browser cannot write the image.");
    return made;
  }
}

export function contextOf(canvas) {
  return canvas.getContext("2d", { willReadFrequently: true });
}

export function checkSize(height, width, most) {
  if (!height || !width) throw new Error("It has no pixels.");
  if (height * width > most) {
    const [has, takes] = [height * width, most].map((pixels) => (pixels / 1e6).toFixed(1));
    throw new Error(`It has ${width} × ${height} = ${has} million pixels; at most ${takes} million fit. Make it smaller.`);
  }
}

// most: pixels. Throws an Error with a sentence for what is no image, or too large.
export async function readPicture(file, most) {
  let bitmap;
  try {
    // Values as they are stored, as rtseg reads them: no colour profile is applied.
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error(`${nameOf(file)} is not an image that this browser can open. It opens PNG, JPEG and WebP, and films as MP4 (H.264) and WebM.`);
  }
  try {
    checkSize(bitmap.height, bitmap.width, most);
    const canvas = document.createElement("canvas");
    canvas.height = bitmap.height;
    canvas.width = bitmap.width;
    const context = contextOf(canvas);
    context.drawImage(bitmap, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    const transparent = makeOpaque(pixels);
    if (transparent) context.putImageData(pixels, 0, 0); // what is shown is what the network sees
    return new Picture(canvas, file, pixels, transparent);
  } finally {
    bitmap.close();
  }
}

// Whether any pixel was transparent.
function makeOpaque({ data }) {
  let found = false;
  for (let at = 3; at < data.length; at += 4) {
    if (data[at] === 255) continue;
    data[at] = 255;
    found = true;
  }
  return found;
}

export function nameOf(file) {
  return file.title ?? (file.name ? `“${file.name}”` : "What you gave");
}
